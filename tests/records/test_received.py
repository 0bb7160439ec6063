"""Received fields as real servers write them, and as nobody should."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.records.received import FIELD_LIMIT, HOPS_LIMIT, Hop, hops, received, trace

NOON = datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC)


def facts(hop: Hop) -> dict[str, object]:
    """Give what a hop tells, without its text."""
    found = {name: getattr(hop, name) for name in hop.__struct_fields__ if name != "text"}
    return {name: value for name, value in found.items() if value not in ("", None)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "from mail.a.test (out.a.test [192.0.2.1]) (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 "
            "(256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256) "
            "(No client certificate requested) by mx.b.test (Postfix) with ESMTPS id 4T3fXk1z for <bob@b.test>; "
            "Mon, 1 Jan 2024 13:00:01 +0100 (CET)",
            {
                "helo": "mail.a.test",
                "reverse_name": "out.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "ESMTPS",
                "tls": True,
                "tls_version": "TLSv1.3",
                "queue_id": "4T3fXk1z",
                "recipient": "bob@b.test",
                "at": NOON,
            },
            id="Postfix",
        ),
        pytest.param(
            "by mx.b.test (Postfix, from userid 1000) id 4T3fXk1z; Mon,  1 Jan 2024 12:00:01 +0000 (UTC)",
            {"by": "mx.b.test", "queue_id": "4T3fXk1z", "at": NOON},
            id="Postfix, a local user",
        ),
        pytest.param(
            "from helo.a.test (unknown [IPv6:2001:db8::1]) by mx.b.test (Postfix) with ESMTP id 1; "
            "Mon, 1 Jan 2024 12:00:01 -0000",
            {
                "helo": "helo.a.test",
                "address": "2001:db8::1",
                "by": "mx.b.test",
                "protocol": "ESMTP",
                "tls": False,
                "queue_id": "1",
                "at": NOON,
            },
            id="Postfix, IPv6 without a name, no zone",
        ),
        pytest.param(
            "from out.a.test ([192.0.2.1]:5678 helo=mail.a.test) by mx.b.test with esmtps  (TLS1.3) tls "
            "TLS_AES_256_GCM_SHA384 (Exim 4.96) (envelope-from <alice@a.test>) id 1rKHsz-0004Wd-2C for bob@b.test; "
            "Mon, 01 Jan 2024 12:00:01 +0000",
            {
                "helo": "mail.a.test",
                "reverse_name": "out.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "esmtps",
                "tls": True,
                "tls_version": "TLSv1.3",
                "queue_id": "1rKHsz-0004Wd-2C",
                "recipient": "bob@b.test",
                "at": NOON,
            },
            id="Exim",
        ),
        pytest.param(
            "from [192.0.2.1] (helo=tls1.a.test) by mx.b.test with esmtpa (Exim 4.96) id 1rK; "
            "Mon, 01 Jan 2024 12:00:01 +0000",
            {
                "helo": "tls1.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "esmtpa",
                "tls": False,
                "queue_id": "1rK",
                "at": NOON,
            },
            id="Exim, an address without a name, and a name that looks like TLS",
        ),
        pytest.param(
            "from AM0PR01.eurprd01.prod.outlook.com (2603:10a6:208:ff::27) by "
            "DB9PR01.eurprd01.prod.outlook.com (2603:10a6:10:1::2) with Microsoft SMTP Server (version=TLS1_2, "
            "cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.7135.20 via Frontend Transport; "
            "Mon, 1 Jan 2024 12:00:01 +0000",
            {
                "helo": "AM0PR01.eurprd01.prod.outlook.com",
                "address": "2603:10a6:208:ff::27",
                "by": "DB9PR01.eurprd01.prod.outlook.com",
                "via": "Frontend Transport",
                "protocol": "Microsoft SMTP Server",
                "tls": True,
                "tls_version": "TLSv1.2",
                "queue_id": "15.20.7135.20",
                "at": NOON,
            },
            id="Exchange",
        ),
        pytest.param(
            "from AM0PR01 ([fe80::1]) by AM0PR01 ([fe80::1%4]) with mapi id 15.20.7135.020; "
            "Mon, 1 Jan 2024 12:00:01 +0000",
            {
                "helo": "AM0PR01",
                "address": "fe80::1",
                "by": "AM0PR01",
                "protocol": "mapi",
                "queue_id": "15.20.7135.020",
                "at": NOON,
            },
            id="Exchange, inside",
        ),
        pytest.param(
            "from mail.a.test (mail.a.test. [192.0.2.1]) by mx.google.com with ESMTPS id "
            "f1-20020a50.2024.01.01.04.00.01 for <bob@b.test> (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 "
            "bits=256/256); Mon, 01 Jan 2024 04:00:01 -0800 (PST)",
            {
                "helo": "mail.a.test",
                "reverse_name": "mail.a.test",
                "address": "192.0.2.1",
                "by": "mx.google.com",
                "protocol": "ESMTPS",
                "tls": True,
                "tls_version": "TLSv1.3",
                "queue_id": "f1-20020a50.2024.01.01.04.00.01",
                "recipient": "bob@b.test",
                "at": NOON,
            },
            id="Gmail",
        ),
        pytest.param(
            "by 2002:a05:6402:1ac1:b0:566:1234:5678 with SMTP id ba1csp123456edb; Mon, 1 Jan 2024 04:00:01 -0800 (PST)",
            {
                "by": "2002:a05:6402:1ac1:b0:566:1234:5678",
                "protocol": "SMTP",
                "tls": False,
                "queue_id": "ba1csp123456edb",
                "at": NOON,
            },
            id="Gmail, inside",
        ),
        pytest.param("(qmail 12345 invoked from network); 1 Jan 2024 12:00:01 -0000", {"at": NOON}, id="qmail, itself"),
        pytest.param(
            "from unknown (HELO mail.a.test) (192.0.2.1) by mx.b.test with SMTP; 1 Jan 2024 12:00:01 -0000",
            {
                "helo": "mail.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "SMTP",
                "tls": False,
                "at": NOON,
            },
            id="qmail",
        ),
        pytest.param(
            "from mail.a.test (out.a.test [::ffff:192.0.2.1]) (AUTH: LOGIN bob@b.test, TLS: "
            "TLSv1/SSLv3,256bits,AES256-SHA) by mx.b.test with esmtp; Mon, 01 Jan 2024 12:00:01 +0000",
            {
                "helo": "mail.a.test",
                "reverse_name": "out.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "esmtp",
                "tls": True,
                "tls_version": "TLSv1",
                "at": NOON,
            },
            id="Courier",
        ),
        pytest.param(
            "from mail.a.test (IDENT:root@out.a.test [192.0.2.9] (may be forged)) by mx.b.test (8.17.1/8.17.1) with "
            "ESMTPS id 401C01 (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO) for <bob@b.test>; "
            "Mon, 1 Jan 2024 12:00:01 GMT",
            {
                "helo": "mail.a.test",
                "reverse_name": "out.a.test",
                "address": "192.0.2.9",
                "by": "mx.b.test",
                "protocol": "ESMTPS",
                "tls": True,
                "tls_version": "TLSv1.3",
                "queue_id": "401C01",
                "recipient": "bob@b.test",
                "at": NOON,
            },
            id="Sendmail",
        ),
        pytest.param(
            "from localhost ([127.0.0.1]) by localhost (mx.b.test [127.0.0.1]) (amavisd-new, port 10024) with LMTP "
            "id abc for <bob@b.test>; Mon, 1 Jan 2024 12:00:01 +0000 (UTC)",
            {
                "helo": "localhost",
                "address": "127.0.0.1",
                "by": "localhost",
                "protocol": "LMTP",
                "tls": False,
                "queue_id": "abc",
                "recipient": "bob@b.test",
                "at": NOON,
            },
            id="amavis",
        ),
        pytest.param(
            "by hermes--x (Yahoo Inc. Hermes SMTP Server) with ESMTPA ID abc123; Mon, 01 Jan 2024 12:00:01 +0000",
            {"by": "hermes--x", "protocol": "ESMTPA", "tls": False, "queue_id": "abc123", "at": NOON},
            id="Yahoo, keywords in capitals",
        ),
        pytest.param(
            "from mail.a.test ([192.0.2.1]) by mx.b.test with UTF8SMTPSA id 4 Mon, 1 Jan 2024 12:00:01 +0000",
            {
                "helo": "mail.a.test",
                "address": "192.0.2.1",
                "by": "mx.b.test",
                "protocol": "UTF8SMTPSA",
                "tls": True,
                "queue_id": "4",
                "at": NOON,
            },
            id="the semicolon is missing",
        ),
    ],
)
def test_a_field_is_read_in_the_form_of(text: str, told: dict[str, object]) -> None:
    assert facts(received(text)) == told


@pytest.mark.parametrize(
    ("protocol", "tls"),
    [
        ("SMTP", False),
        ("ESMTPA", False),
        ("ESMTPS", True),
        ("ESMTPSA", True),
        ("LMTP", False),
        ("LMTPSA", True),
        ("UTF8SMTP", False),
        ("UTF8SMTPS", True),
        ("UTF8LMTPS", True),
        ("HTTP", None),
        ("local", None),
    ],
)
def test_tls_follows_from_the_keyword(protocol: str, tls: bool | None) -> None:
    assert received(f"from a.test by b.test with {protocol} id 1; Mon, 1 Jan 2024 12:00:01 +0000").tls is tls


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Sat, 31 Feb 2024 10:00:00 +0000", "1 Jan 99999 10:00:00", "1 Jan 2024 99:99:99 +9999"]
)
def test_a_date_that_cannot_be_read_is_none(date: str) -> None:
    hop = received(f"from a.test by b.test with ESMTP id 1; {date}")
    assert hop.at is None
    assert hop.by == "b.test"


HEADER = (
    b"Return-Path: <alice@a.test>\r\n"
    b"Delivered-To: bob@b.test\r\n"
    b"Received: from relay.test ([192.0.2.2])\r\n\tby mx.b.test with ESMTPS id 3;\r\n"
    b" Mon, 1 Jan 2024 12:00:05 +0000\r\n"
    b"Authentication-Results: mx.b.test;\r\n dkim=pass header.d=a.test\r\n"
    b"Received: from out.a.test ([192.0.2.1]) by relay.test with ESMTP id 2; Mon, 1 Jan 2024 12:00:07 +0000\r\n"
    b"Received: by out.a.test id 1\r\n"
    b"Received: from laptop by out.a.test with ESMTPSA id 0; Mon, 1 Jan 2024 13:00:01 +0100\r\n"
    b"Subject: hello\r\n"
    b"\r\n"
    b"Received: from nobody by nobody; Mon, 1 Jan 2024 12:00:00 +0000\r\n"
)


@pytest.mark.parametrize("octets", [HEADER, HEADER.replace(b"\r\n", b"\n")])
def test_hops_come_oldest_first_and_their_delays_show_skewed_clocks(octets: bytes) -> None:
    found = hops(octets)
    assert [hop.queue_id for hop in found] == ["0", "1", "2", "3"]
    assert [hop.delay_s for hop in found] == [None, None, 6.0, -2.0]


def test_a_trace_has_what_servers_wrote_on_top() -> None:
    found = trace(HEADER)
    assert found.return_path == "alice@a.test"
    assert found.delivered_to == ("bob@b.test",)
    assert found.authentication_results == ("mx.b.test; dkim=pass header.d=a.test",)
    assert len(found.hops) == 4


def test_the_null_return_path_is_empty_and_a_missing_one_is_none() -> None:
    assert trace(b"Return-Path: <>\r\n\r\n").return_path == ""
    assert trace(b"Subject: x\r\n\r\n").return_path is None


def test_a_header_without_an_end_and_a_letter_without_a_header_are_read() -> None:
    assert [hop.by for hop in hops(b"Received: by a.test")] == ["a.test"]
    assert hops(b"\r\nReceived: by a.test\r\n") == ()
    assert hops(b"") == ()


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "from " * 50_000,
        "a;" * 50_000,
        '"' * 100_001,
        "from [" + ":" * 90_000,
        "1 " * 50_000,
        "(a(" * 9_999,
    ],
)
def test_hostile_fields_are_cut_off(text: str) -> None:
    assert len(received(text).text) == FIELD_LIMIT


def test_endless_hops_are_cut_off() -> None:
    assert len(hops(b"Received: by a.test; Mon, 1 Jan 2024 12:00:00 +0000\r\n" * 5_000)) == HOPS_LIMIT


@given(st.text(alphabet='frombyvaithd ()[]"\\;<>@.:0123456789,+-%\t=', max_size=300))
def test_any_field_gives_a_hop(text: str) -> None:
    assert received(text).text == text


@given(st.binary(max_size=500))
def test_any_octets_give_hops(octets: bytes) -> None:
    assert len(hops(b"Received: " + octets)) >= 0
