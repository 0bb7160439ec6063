"""The letter of a trip: what it is made of, how it is known again, and what is said of one that has changed."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta

import pytest

from mailprobe.mail.trip_letter import body_of, difference, hops_of, token_of, write_letter
from mailprobe.model.errors import UsageError

NOW = datetime(2026, 3, 1, 12, 0, 0, 900_000, tzinfo=UTC)


def test_a_letter_is_known_by_its_token_in_header_subject_and_message_id() -> None:
    made = write_letter("alice@a.test", "bob@b.test", NOW)
    parsed = email.message_from_bytes(made.letter.octets, policy=email.policy.default)
    assert parsed["X-Mailprobe-Token"] == made.token
    assert parsed["Subject"] == f"mailprobe trip {made.token}"
    assert parsed["Message-ID"] == f"<{made.token}@a.test>" == made.letter.message_id
    assert (parsed["From"], parsed["To"]) == ("alice@a.test", "bob@b.test")
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert token_of(made.letter.octets) == made.token
    assert made.token in parsed.get_content()


def test_no_two_letters_share_a_token() -> None:
    assert len({write_letter("alice@a.test", "bob@b.test", NOW).token for _ in range(100)}) == 100


def test_any_server_can_carry_it() -> None:
    made = write_letter("alice@a.test", "bob@b.test", NOW)
    assert made.letter.octets.isascii()
    assert not made.letter.needs_8bit
    assert max(map(len, made.letter.octets.split(b"\r\n"))) <= 998
    assert b"\r\n.\r\n" in made.body
    assert b"\r\nFrom " in made.body
    assert b"  \r\n" in made.body


@pytest.mark.parametrize("address", ["", "alice", "a@b@c", "alice@a.test, bob@b.test", "alice@a.test\r\nBcc: x@y.test"])
def test_what_is_no_address_is_refused(address: str) -> None:
    for pair in ((address, "bob@b.test"), ("alice@a.test", address)):
        with pytest.raises(UsageError):
            write_letter(*pair, NOW)


def test_an_address_literal_and_another_script_make_no_odd_message_id() -> None:
    assert write_letter("alice@[192.0.2.1]", "bob@b.test", NOW).letter.message_id.endswith("@mailprobe.invalid>")
    assert write_letter("älice@straße.test", "bob@b.test", NOW).letter.message_id.isascii()


def test_letters_of_others_have_no_token() -> None:
    assert token_of(b"Subject: mailprobe trip mp-1\r\n\r\nX-Mailprobe-Token: mp-1\r\n") == ""
    assert token_of(b"X-Mailprobe-Token: other\r\n\r\n") == ""
    assert token_of(b"") == ""


BODY = write_letter("alice@a.test", "bob@b.test", NOW).body


@pytest.mark.parametrize(
    "arrived",
    [BODY, BODY + b"\r\n\r\n", BODY.rstrip(b"\r\n"), BODY.replace(b"\r\n", b"\n")],
    ids=["same", "more empty lines", "no last line end", "bare line feeds"],
)
def test_what_a_server_may_do_is_no_difference(arrived: bytes) -> None:
    assert difference(BODY, arrived) == ""


@pytest.mark.parametrize(
    ("arrived", "said"),
    [
        (
            BODY.replace(b"\r\nFrom ", b"\r\n>From "),
            "line 6 of the body was 'From is a word that mailboxes in one file",
        ),
        (BODY.replace(b"  \r\n", b"\r\n"), "line 7 of the body was 'two spaces at the end of the line  ' and is 'two"),
        (BODY.replace(b"\r\n..a", b"\r\n.a"), "line 5 of the body was '..a dot"),
        (BODY.replace(b"\ta tab", b"        a tab"), "line 8 of the body was '\\ta tab"),
        (BODY + b"-- \r\nfooter\r\n", "line 12 was added to the body: '-- '"),
        (BODY[: BODY.index(b"From")], "the body ends before line 6, 'From is a word"),
        (b"", "the body ends before line 1, 'mailprobe sent this letter"),
        (b"\x1b[31m" + BODY, "and is '\\x1b[31mmailprobe"),
    ],
)
def test_the_first_line_that_differs_is_named(arrived: bytes, said: str) -> None:
    found = difference(BODY, arrived)
    assert said in found
    assert found.isprintable()


def test_the_body_is_what_stands_below_the_header() -> None:
    assert body_of(b"A: b\r\n\r\nc\r\n") == b"c\r\n"
    assert body_of(b"A: b\n\nc\n") == b"c\n"
    assert body_of(b"A: b\r\n") == b""


ROAD = (
    b"Received: from mx.a.test (mx.a.test [192.0.2.1]) by mx.b.test with ESMTPS id Q2\r\n"
    b"\tfor <bob@b.test>; Sun, 01 Mar 2026 12:00:04 +0000\r\n"
    b"Received: from laptop ([192.0.2.9]) by mx.a.test with ESMTPA id Q1; Sun, 1 Mar 2026 13:00:02 +0100\r\n"
    b"Subject: x\r\n\r\n"
)


def test_the_road_begins_with_the_sending_and_is_told_in_its_order() -> None:
    first, second = hops_of(ROAD, NOW)
    assert (first.by, first.client, first.client_address, first.protocol) == (
        "mx.a.test",
        "laptop",
        "192.0.2.9",
        "ESMTPA",
    )
    assert (first.tls, first.queue_id, first.delay_s) == (False, "Q1", 2.0)
    assert (second.by, second.client, second.tls, second.delay_s) == ("mx.b.test", "mx.a.test", True, 2.0)
    assert second.at == datetime(2026, 3, 1, 12, 0, 4, tzinfo=UTC)


def test_a_hop_in_the_second_of_the_sending_took_no_time() -> None:
    (hop,) = hops_of(b"Received: by mx.a.test; Sun, 1 Mar 2026 12:00:00 +0000\r\n\r\n", NOW)
    assert hop.delay_s == 0.0


def test_a_hop_without_a_date_leaves_the_next_one_to_count_from_before_it() -> None:
    octets = (
        b"Received: by c.test; Sun, 1 Mar 2026 12:00:09 +0000\r\n"
        b"Received: by b.test\r\n"
        b"Received: by a.test; Sun, 1 Mar 2026 12:00:01 +0000\r\n\r\n"
    )
    assert [hop.delay_s for hop in hops_of(octets, NOW)] == [1.0, None, 8.0]


def test_a_letter_without_trace_has_no_road() -> None:
    assert hops_of(b"Subject: x\r\n\r\n", NOW + timedelta(days=1)) == ()
