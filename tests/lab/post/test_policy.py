"""Who is let in at an MTA server, and who is told to come back."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.headers import hops, missing, received, was_delivered_to, with_fields
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Site
from mailprobe.lab.world import Lab
from mailprobe.protocols.mailstore import Envelope
from tests.lab.post.letters import NOW
from tests.lab.post.sites import ALICE, RECEIVER, SENDER, connected, letter, relay, stored, submit

HERE, ERIN = "here.lab.test", "erin@here.lab.test"


@contextmanager
def lab_with(directory: Path | None = None, **post: Any) -> Iterator[Lab]:
    site = Site(domain=HERE, post=PostSite(users={"erin": "secret"}, aliases="list: erin\nlost: nobody\n", **post))
    with Lab(sites=[site], directory=directory, complain=lambda text: pytest.fail(text)) as lab:
        yield lab


def answer(client: smtplib.SMTP, sender: str, recipient: str) -> tuple[int, bytes]:
    client.rset()
    assert client.mail(sender)[0] == 250
    return client.rcpt(recipient)


@pytest.mark.parametrize(
    ("recipient", "code", "words"),
    [
        (ERIN, 250, b"2.1.5"),
        (f"ERIN+tag@{HERE}", 250, b"2.1.5"),
        (f"list@{HERE}", 250, b"2.1.5"),
        (f"lost@{HERE}", 250, b"2.1.5"),  # its members are found out later
        ("postmaster", 250, b"2.1.5"),
        (f"erin@mx.{HERE}", 250, b"2.1.5"),
        (f"ghost@{HERE}", 550, b"5.1.1"),
        (f"frank@{HERE}", 550, b"5.7.1"),
        ("erin@far.test", 554, b"5.7.1"),
    ],
)
def test_recipients_are_taken_or_refused_by_name(recipient: str, code: int, words: bytes) -> None:
    with lab_with(unwelcome=("frank",)) as lab, connected(lab, f"mx.{HERE}", 25) as client:
        found = answer(client, "eve@far.test", recipient)
        assert found[0] == code
        assert words in found[1]


def test_more_domains_can_be_taken_mail_for() -> None:
    with lab_with(domains=("old.test",)) as lab:
        relay(lab, "erin@old.test", site=HERE)
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


def test_a_stranger_is_put_off_until_the_time_is_over_and_others_are_not(tmp_path: Path) -> None:
    with lab_with(tmp_path, greylist_s=300) as lab:
        with connected(lab, f"mx.{HERE}", 25) as client:
            assert answer(client, "eve@far.test", ERIN) == (450, b"4.7.1 Greylisted: come back in 300 s")
            lab.order(Order("tick", seconds=200))
            assert answer(client, "eve@far.test", ERIN)[0] == 450
            assert answer(client, "adam@far.test", ERIN)[1].endswith(b"300 s")
        lab.order(Order("restart", site=HERE))
    with lab_with(tmp_path, greylist_s=300) as lab:
        lab.order(Order("tick", seconds=101))
        with connected(lab, f"mx.{HERE}", 25) as client:
            assert answer(client, "eve@far.test", ERIN)[0] == 250
            assert answer(client, "adam@far.test", ERIN)[0] == 450


def test_a_user_is_not_greylisted() -> None:
    with lab_with(greylist_s=300) as lab:
        submit(lab, ERIN, sender=ERIN, user="erin", site=HERE)
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


@pytest.mark.parametrize(("final", "code"), [(False, 452), (True, 552)])
def test_a_mailbox_that_has_no_room_at_all_is_told_of_at_once(final: bool, code: int) -> None:
    with lab_with() as lab:
        relay(lab, ERIN, site=HERE)
        lab.rest()
        octets = len(stored(lab, ERIN)[0])
    with lab_with(quota_octets=octets, quota_final=final) as lab:
        relay(lab, ERIN, site=HERE)
        lab.rest()
        with connected(lab, f"mx.{HERE}", 25) as client:
            assert answer(client, "eve@far.test", ERIN)[0] == code


def test_a_server_that_is_paused_takes_the_mail_of_users_only() -> None:
    with lab_with() as lab:
        lab.lab_file()
        lab.order(Order("pause", part="server"))
        with connected(lab, f"mx.{HERE}", 25) as client:
            assert client.mail("eve@far.test") == (421, b"4.3.2 The MTA server is paused; come back later")
        submit(lab, f"amir@{SENDER}")
        lab.rest()
        assert len(stored(lab, f"amir@{SENDER}")) == 1


def test_nobody_hands_mail_over_without_login() -> None:
    with lab_with() as lab, connected(lab, f"mx.{SENDER}", 587) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))
        client.ehlo("client.test")
        assert client.mail(ALICE)[0] == 530


def test_a_letter_that_came_round_too_often_is_refused() -> None:
    with lab_with() as lab:
        trace = b"Received: from a.test by b.test; Mon, 4 Mar 2024 05:06:07 +0000\r\n"
        with connected(lab, f"mx.{RECEIVER}", 25) as client:
            client.mail("eve@far.test")
            client.rcpt(f"bob@{RECEIVER}")
            assert client.data(trace * 50 + letter())[0] == 554
            client.mail("eve@far.test")
            client.rcpt(f"bob@{RECEIVER}")
            assert client.data(trace * 49 + letter())[0] == 250


# -- the fields -------------------------------------------------------------------------------------------------


def envelope(**otherwise: Any) -> Envelope:
    fields: dict[str, Any] = {
        "sender": "a@a.test",
        "recipients": ("b@b.test",),
        "client_name": "c.test",
        "server_name": "mx.b.test",
        "protocol": "ESMTP",
        "client_address": "127.0.0.1",
    }
    return Envelope(**{**fields, **otherwise})


def test_a_received_field_is_what_the_standard_says() -> None:
    assert received(envelope(), "ABC", NOW) == (
        b"Received: from c.test ([127.0.0.1])\r\n"
        b"\tby mx.b.test (mailprobe lab) with ESMTP\r\n"
        b"\tid ABC\r\n"
        b"\tfor <b@b.test>;\r\n"
        b"\tMon, 04 Mar 2024 05:06:07 +0000\r\n"
    )


@pytest.mark.parametrize("name", ["a b", "a\r\nX-Evil: 1", "x(y;z", "", "\x1b[31m", "n" * 5_000])
def test_a_clients_name_cannot_add_to_a_received_field(name: str) -> None:
    field = received(envelope(client_name=name), "ABC", NOW)
    assert field.startswith(b"Received: from ")
    assert field.count(b"\r\n") == 5
    assert field.replace(b"\r\n\t", b" ").count(b"\r\n") == 1
    assert b"\x1b" not in field
    assert len(max(field.split(b"\r\n"), key=len)) <= 998


def test_ipv6_clients_are_tagged() -> None:
    assert b"([IPv6:::1])" in received(envelope(client_address="::1"), "ABC", NOW)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"Received: a\r\nRECEIVED : b\r\n folded\r\nX: y\r\n\r\nReceived: not this one\r\n", 2),
        (b"received: a\nreceived: b\n\nreceived: c\n", 2),
        (b"\r\nReceived: body\r\n", 0),
        (b"", 0),
        (b"no header", 0),
        (b"Received: no end", 1),
        (b"Received: x\r\n" * 10_000, 10_000),
    ],
)
def test_hops_are_counted_in_the_header_only(data: bytes, count: int) -> None:
    assert hops(data) == count


def test_what_is_missing_is_named_once() -> None:
    assert missing(b"from: a\r\nDATE: b\r\nmessage-id : <c>\r\n\r\n", envelope(), "ABC", NOW) == b""
    assert missing(b"From: a\r\n\r\nDate: in the text\r\n", envelope(), "ABC", NOW).count(b"\r\n") == 2
    assert b"From:" not in missing(b"", envelope(sender=""), "ABC", NOW)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Subject: x\r\n\r\ntext", b"F: 1\r\nSubject: x\r\n\r\ntext"),
        (b"\r\ntext", b"F: 1\r\n\r\ntext"),
        (b"\ntext", b"F: 1\r\n\ntext"),
        (b"just text", b"F: 1\r\n\r\njust text"),
        (b"", b"F: 1\r\n\r\n"),
    ],
)
def test_fields_stand_before_a_header_or_apart_from_a_text(data: bytes, expected: bytes) -> None:
    assert with_fields(b"F: 1\r\n", data) == expected
    assert with_fields(b"", data) == data


def test_an_earlier_delivery_is_found_in_any_case() -> None:
    data = b"Delivered-To:  Bob@B.Test \r\nX: y\r\n\r\nDelivered-To: carol@b.test\r\n"
    assert was_delivered_to(data, "bob@b.test")
    assert not was_delivered_to(data, "carol@b.test")
