"""Delivery reports, read by the standard library's parser."""

from __future__ import annotations

import email
import email.policy
from datetime import timedelta
from email.message import EmailMessage, Message
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.lab.post.bounces import (
    Action,
    Fate,
    Reporter,
    Subject,
    addressee,
    delay_report,
    enhanced_code,
    failure_report,
    is_wanted,
    success_report,
)
from mailprobe.records.delivery_report import delivery_report
from tests.lab.post.letters import NOW

LETTER = b"From: a@a.test\r\nTo: bob@b.test\r\nMessage-ID: <1@a.test>\r\nSubject: x\r\n\r\nhello\r\n"
BY = Reporter(domain="b.test", host="mx.b.test", queue_id="REPORT1", at=NOW)
FAILED = Fate(
    address="bob@b.test",
    action=Action.FAILED,
    diagnostic="550 5.1.1 <bob@b.test>: no such user",
    remote="mx.c.test[127.0.0.9]",
    tried=NOW,
)


def letter(data: bytes = LETTER, **fields: Any) -> Subject:
    known = {"queue_id": "LETTER1", "sender": "a@a.test", "arrived": NOW - timedelta(hours=1), **fields}
    return Subject(data=data, **known)


def parsed(octets: bytes) -> EmailMessage:
    """Read a report, after making sure that it can travel."""
    assert b"\0" not in octets
    assert octets.count(b"\n") == octets.count(b"\r") == octets.count(b"\r\n")
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998
    message = email.message_from_bytes(octets, policy=email.policy.SMTPUTF8)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    assert message.get_content_type() == "multipart/report"
    assert [part.get_content_type() for part in message.iter_parts()][1].removeprefix("message/") == message.get_param(
        "report-type"
    )
    return message


def parts(octets: bytes) -> tuple[Message, Message, Message]:
    one, two, three = parsed(octets).iter_parts()
    return one, two, three


def groups(octets: bytes) -> list[dict[str, str]]:
    """Give the fields of the part for programs, the first group being the letter's."""
    status = parts(octets)[1]
    text = status.as_bytes(policy=email.policy.SMTPUTF8).decode()
    body = text.partition("\r\n\r\n")[2]
    blocks = [email.message_from_string(block, policy=email.policy.SMTPUTF8) for block in body.split("\r\n\r\n")]
    return [{name: str(value).replace("\t", "") for name, value in block.items()} for block in blocks if block.keys()]


def people(octets: bytes) -> str:
    part = parts(octets)[0]
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


# Whether and to whom


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (None, [Action.FAILED, Action.DELAYED]),
        ("", []),
        ("NEVER", []),
        ("FAILURE", [Action.FAILED]),
        ("delay", [Action.DELAYED]),
        ("SUCCESS", [Action.DELIVERED, Action.RELAYED, Action.EXPANDED]),
        ("SUCCESS,FAILURE", [Action.FAILED, Action.DELIVERED, Action.RELAYED, Action.EXPANDED]),
    ],
)
def test_a_report_is_written_when_it_is_wanted(notify: str | None, wanted: list[Action]) -> None:
    assert [action for action in Action if is_wanted(notify, action)] == wanted


@pytest.mark.parametrize(
    ("sender", "recipients", "to"),
    [
        ("a@a.test", ["bob@b.test"], "a@a.test"),
        ("", ["a@a.test"], "postmaster@b.test"),
        ("", ["postmaster@b.test"], None),
        ("", ["PostMaster@B.test"], None),
        ("", ["postmaster"], None),
        ("", ["a@a.test", "postmaster@a.test"], None),
        ("a@a.test", ["postmaster@b.test"], "a@a.test"),
    ],
)
def test_a_report_that_fails_goes_to_the_postmaster_once_and_then_nowhere(
    sender: str, recipients: list[str], to: str | None
) -> None:
    assert addressee(sender, recipients, "postmaster@b.test") == to


@pytest.mark.parametrize(
    ("reply", "action", "code"),
    [
        ("550 5.1.1 no", Action.FAILED, "5.1.1"),
        ("5.4.6 alias loop: a -> b", Action.FAILED, "5.4.6"),
        ("550 no such user", Action.FAILED, "5.0.0"),
        ("450 later", Action.DELAYED, "4.0.0"),
        ("no connection", Action.FAILED, "5.0.0"),
        ("no connection", Action.DELAYED, "4.0.0"),
        ("", Action.DELIVERED, "2.0.0"),
        ("550 127.5.1.1 is listed", Action.FAILED, "5.0.0"),
        ("550 5.7.1.2 x", Action.FAILED, "5.0.0"),
        ("5500 x", Action.FAILED, "5.0.0"),
    ],
)
def test_the_code_of_a_reply_is_found_or_made_up_of_what_is_known(reply: str, action: Action, code: str) -> None:
    assert enhanced_code(reply, action) == code


# What a report says


def test_a_failure_is_told_to_people_and_programs_and_the_letter_returned() -> None:
    report = failure_report(letter(envid="env+1 x"), [FAILED], BY)
    message = parsed(report)
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@b.test>"
    assert b"\r\nTo: <a@a.test>\r\n" in report
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == f"<REPORT1.{int(NOW.timestamp())}@mx.b.test>"
    assert message["In-Reply-To"] == message["References"] == "<1@a.test>"
    assert message["Date"] == "Mon, 04 Mar 2024 05:06:07 +0000"
    assert message["Content-Transfer-Encoding"] is None
    assert groups(report) == [
        {
            "Original-Envelope-Id": "env+1 x",
            "Reporting-MTA": "dns; mx.b.test",
            "X-Queue-Id": "LETTER1",
            "Arrival-Date": "Mon, 04 Mar 2024 04:06:07 +0000",
        },
        {
            "Final-Recipient": "rfc822; bob@b.test",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.c.test",
            "Diagnostic-Code": "smtp; 550 5.1.1 <bob@b.test>: no such user",
            "Last-Attempt-Date": "Mon, 04 Mar 2024 05:06:07 +0000",
        },
    ]
    text = people(report)
    assert "could not be delivered to the following, and is not tried again:\n\n    bob@b.test\n" in text
    assert "        mx.c.test[127.0.0.9] said: 550 5.1.1 <bob@b.test>: no such user\n" in text
    returned = parts(report)[2]
    assert returned.get_content_type() == "message/rfc822"
    assert LETTER in report


def test_only_the_header_is_returned_when_the_sender_asked_for_that() -> None:
    report = failure_report(letter(ret="HDRS"), [FAILED], BY)
    assert parts(report)[2].get_content_type() == "text/rfc822-headers"
    assert LETTER.partition(b"\r\n\r\n")[0] in report
    assert b"hello" not in report
    assert "the header of the letter" in " ".join(people(report).split())


def test_the_original_recipient_is_told_only_when_the_sender_gave_it() -> None:
    given_by = Fate(address="x@c.test", action=Action.FAILED, status="5.4.6", orcpt="rfc822;Bob@b.test")
    assert groups(failure_report(letter(), [given_by], BY))[1] == {
        "Original-Recipient": "rfc822; Bob@b.test",
        "Final-Recipient": "rfc822; x@c.test",
        "Action": "failed",
        "Status": "5.4.6",
    }


def test_our_own_words_are_not_passed_off_as_another_servers() -> None:
    fate = Fate(address="x@b.test", action=Action.FAILED, diagnostic="5.4.6 alias loop: a -> b -> a")
    group = groups(failure_report(letter(), [fate], BY))[1]
    assert (group["Diagnostic-Code"], group["Status"]) == ("x-mailprobe; 5.4.6 alias loop: a -> b -> a", "5.4.6")
    assert "said:" not in people(failure_report(letter(), [fate], BY))


def test_a_verdict_of_our_own_is_no_smtp_reply_even_if_it_looks_like_one() -> None:
    fate = Fate(address="x@b.test", action=Action.FAILED, diagnostic="552 5.2.2 the mailbox is full")
    group = groups(failure_report(letter(), [fate], BY))[1]
    assert (group["Diagnostic-Code"], group["Status"]) == ("x-mailprobe; 552 5.2.2 the mailbox is full", "5.2.2")
    assert "Remote-MTA" not in group


def test_a_recipient_is_told_of_once_however_many_ways_led_there() -> None:
    by_alias = [Fate(address=f"{user}@b.test", action=Action.FAILED, status="5.1.1") for user in ("E21", "x", "e21")]
    report = failure_report(letter(), by_alias, BY)
    assert [group["Final-Recipient"] for group in groups(report)[1:]] == ["rfc822; E21@b.test", "rfc822; x@b.test"]
    assert people(report).lower().count("e21@b.test") == 1
    asked_for = [msgspec.structs.replace(by_alias[0], orcpt=f"rfc822;{user}@b.test") for user in ("one", "two", "one")]
    report = failure_report(letter(), asked_for, BY)
    assert [group["Original-Recipient"] for group in groups(report)[1:]] == [
        "rfc822; one@b.test",
        "rfc822; two@b.test",
    ]


def test_a_delay_says_until_when_and_that_nothing_need_be_done() -> None:
    until = NOW + timedelta(days=5)
    fate = Fate(address="bob@b.test", action=Action.DELAYED, diagnostic="451 4.3.0 later", tried=NOW, until=until)
    report = delay_report(letter(), [fate], BY)
    group = groups(report)[1]
    assert (group["Action"], group["Status"]) == ("delayed", "4.3.0")
    assert group["Will-Retry-Until"] == "Sat, 09 Mar 2024 05:06:07 +0000"
    assert "there is no need to send it again" in " ".join(people(report).split())
    assert b"hello" not in report


def test_success_tells_apart_delivered_relayed_and_expanded() -> None:
    actions = (Action.DELIVERED, Action.RELAYED, Action.EXPANDED)
    report = success_report(letter(), [Fate(address=f"{action}@b.test", action=action) for action in actions], BY)
    assert [(group["Action"], group["Status"]) for group in groups(report)[1:]] == [
        ("delivered", "2.0.0"),
        ("relayed", "2.0.0"),
        ("expanded", "2.0.0"),
    ]
    assert all(f"    {action}@b.test\n" in people(report) for action in actions)


def test_a_report_that_failed_is_told_to_the_postmaster_as_that() -> None:
    report = failure_report(letter(sender=""), [FAILED], BY, "postmaster@b.test")
    assert b"\r\nTo: <postmaster@b.test>\r\n" in report
    assert "could not be delivered itself" in " ".join(people(report).split())


def test_our_own_reader_finds_all_of_it() -> None:
    fate = Fate(address="ü@b.test", action=Action.FAILED, diagnostic="550 5.1.1 no", remote="x", orcpt="utf-8;ä@b.test")
    report = delivery_report(failure_report(letter(envid="id"), [FAILED, fate], BY))
    assert report is not None
    assert (report.standard, report.reporter, report.envelope_id) == (True, "mx.b.test", "id")
    assert report.message_id == "<1@a.test>"
    assert [(each.address, each.original, each.action, each.status) for each in report.recipients] == [
        ("bob@b.test", "", "failed", "5.1.1"),
        ("ü@b.test", "ä@b.test", "failed", "5.1.1"),
    ]


def test_the_longest_addresses_are_told_whole_and_longer_ones_fit_a_line() -> None:
    longest = f"{'ü' * 32}@{'y' * 250}.test"
    report = failure_report(letter(sender=longest), [Fate(address=longest, action=Action.FAILED)], BY)
    assert report.count(longest.encode()) == 3
    parsed(failure_report(letter(sender="ü" * 5000), [Fate(address="ü x " * 5000, action=Action.FAILED)], BY))


def test_a_hundred_recipients_have_a_group_each() -> None:
    fates = [Fate(address=f"u{number}@b.test", action=Action.FAILED) for number in range(100)]
    assert len(groups(failure_report(letter(), fates, BY))) == 101


# UTF-8 (RFC 6533)


def test_addresses_in_utf8_make_a_report_of_the_international_form() -> None:
    data = "From: ä@a.test\r\nMessage-ID: <ä@a.test>\r\n\r\nhello\r\n".encode()
    fate = Fate(address="ü@b.test", action=Action.FAILED, diagnostic="550 5.1.1 ö?", remote="x", orcpt="utf-8;ü@b.test")
    report = failure_report(letter(data, sender="ä@a.test"), [fate], BY)
    message = parsed(report)
    assert "\r\nTo: <ä@a.test>\r\n".encode() in report
    assert "\r\nIn-Reply-To: <ä@a.test>\r\n".encode() in report
    assert message["Content-Transfer-Encoding"] == "8bit"
    kinds = [part.get_content_type() for part in message.iter_parts()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global"]
    for text in ("Final-Recipient: utf-8; ü@b.test\r\n", "Original-Recipient: utf-8; ü@b.test\r\n", "    ü@b.test\r\n"):
        assert text.encode() in report
    assert "smtp; 550 5.1.1 ö?\r\n".encode() in report
    headers = failure_report(letter(data, sender="ä@a.test", ret="HDRS"), [fate], BY)
    assert parts(headers)[2].get_content_type() == "message/global-headers"


def test_utf8_recipients_of_an_ascii_sender_leave_the_header_ascii() -> None:
    report = failure_report(letter(), [Fate(address="ü@b.test", action=Action.FAILED)], BY)
    assert report.partition(b"\r\n\r\n")[0].isascii()
    assert parts(report)[1].get_content_type() == "message/global-delivery-status"
    assert parts(report)[2].get_content_type() == "message/rfc822"


def test_without_utf8_addresses_a_report_is_ascii_whatever_a_server_says() -> None:
    fate = Fate(address="bob@b.test", action=Action.FAILED, diagnostic="550 5.1.1 ünbekannt", remote="mx.ü.test")
    report = failure_report(letter(), [fate], BY)
    assert report.isascii()
    assert groups(report)[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 ?nbekannt"


# Hostile input


HOSTILE = "550 5.1.1 no\r\nBcc: x@evil.test\r\n\r\n--boundary\r\n\x1b[2J\x00\x9b2J\u2028\udcff" + "x" * 5000


def test_a_hostile_reply_stays_one_harmless_bounded_field() -> None:
    fate = Fate(address="bob@b.test", action=Action.FAILED, diagnostic=HOSTILE, remote="mx\r\nX: y[1.2.3.4]\x1b")
    report = failure_report(letter(), [fate], BY)
    assert len(report) < 10_000
    assert b"\x1b" not in report
    assert b"\r\nBcc:" not in report
    assert b"\r\nX: y" not in report
    assert set(groups(report)[1]) == {"Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"}
    assert len(list(parsed(report).iter_parts())) == 3


@pytest.mark.parametrize("field", ["sender", "envid"])
def test_hostile_envelopes_stay_where_they_belong(field: str) -> None:
    fields: dict[str, Any] = {field: "a\r\nBcc: x@evil.test\r\n\r\n\x1b"}
    report = failure_report(letter(**fields), [FAILED], BY)
    assert parsed(report)["Bcc"] is None
    assert b"\x1b" not in report
    assert len(groups(report)) == 2


def test_a_boundary_that_stands_in_the_letter_is_not_used() -> None:
    boundary = parsed(failure_report(letter(), [FAILED], BY)).get_boundary()
    data = LETTER + f"--{boundary}--\r\n".encode()
    report = failure_report(letter(data), [FAILED], BY)
    assert parsed(report).get_boundary() != boundary
    assert data in report


@pytest.mark.parametrize(
    "data",
    [
        LETTER + b"x" * 50_000,
        LETTER + b"\0",
        LETTER + b"bare\nline\r\n",
        LETTER + b"bare\rline\r\n",
        LETTER + b"y" * 999 + b"\r\n",
        b"Subject: " + b"z" * 2000 + b"\r\n\r\nhello",
        b"Subject: a\0b\nbare: c\rd: e\r\n\r\nhello",
        b"a: b\r\n" * 20_000 + b"\r\nhello",
        b"no header at all",
        b"\r\n\r\nhello",
        b"",
    ],
)
def test_a_letter_that_is_too_large_or_cannot_travel_is_returned_as_its_header(data: bytes) -> None:
    report = failure_report(letter(data), [FAILED], BY)
    assert len(report) < 53_000
    if data not in (b"no header at all", b"\r\n\r\nhello", b""):
        assert parts(report)[2].get_content_type() == "text/rfc822-headers"
    parsed(report)


def test_a_letter_of_8_bits_is_returned_as_it_came() -> None:
    data = LETTER + bytes(range(128, 256)) + b"\r\n"
    report = failure_report(letter(data), [FAILED], BY)
    assert data in report
    assert parsed(report)["Content-Transfer-Encoding"] == "8bit"
    assert parts(report)[2].get_content_type() == "message/rfc822"


@given(
    data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda octets: LETTER + octets),
    texts=st.lists(st.text(max_size=30), min_size=5, max_size=5),
    action=st.sampled_from(Action),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
)
def test_whatever_comes_together_is_a_report_of_three_parts(
    data: bytes, texts: list[str], action: Action, ret: str
) -> None:
    fate = Fate(address=texts[0], action=action, diagnostic=texts[1], remote=texts[2], orcpt=texts[3], status=texts[4])
    report = failure_report(letter(data, sender=texts[4], envid=texts[1], ret=ret), [fate], BY)
    assert len(list(parsed(report).iter_parts())) == 3
    assert report.count(b"\r\nAction: ") == 1
