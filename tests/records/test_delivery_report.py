"""Bounces in standard form and in prose, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.records.delivery_report import RECIPIENTS_LIMIT, DeliveryReport, delivery_report

POSTFIX = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.b.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: alice@a.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4T3fXk1z.1704110401/mx.b.test"
Content-Transfer-Encoding: 8bit

This is a MIME-encapsulated message.

--4T3fXk1z.1704110401/mx.b.test
Content-Description: Notification
Content-Type: text/plain; charset=utf-8

I'm sorry to have to inform you that your message could not be delivered.

--4T3fXk1z.1704110401/mx.b.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.b.test
Original-Envelope-Id: trip+2B1
X-Postfix-Queue-ID: 4T3fXk1z
Arrival-Date: Mon,  1 Jan 2024 12:00:01 +0000 (UTC)

Final-Recipient: rfc822; nobody@b.test
Original-Recipient: rfc822;sales@a.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.b.test
Diagnostic-Code: smtp; 550 5.1.1 <nobody@b.test>: Recipient address rejected:
    User unknown

Final-Recipient: rfc822; carol@b.test
Action: delayed
Status: 4.2.2 (mailbox full)
Will-Retry-Until: Sat, 6 Jan 2024 12:00:01 +0000

--4T3fXk1z.1704110401/mx.b.test
Content-Description: Undelivered Message
Content-Type: message/rfc822

Received: by out.a.test id 1; Mon, 1 Jan 2024 12:00:00 +0000
From: alice@a.test
Message-ID:
 <mp-1@a.test>
Subject: hello

hi

--4T3fXk1z.1704110401/mx.b.test--
"""

QMAIL = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.b.test
To: alice@a.test
Subject: failure notice

Hi. This is the qmail-send program at mx.b.test.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<nobody@b.test>:
Sorry, no mailbox here by that name. (#5.1.1)

<carol@c.test>:
192.0.2.3 does not like recipient.
Remote host said: 552 5.2.2 mailbox full
Giving up on 192.0.2.3.

--- Below this line is a copy of the message.

Return-Path: <alice@a.test>
Received: (qmail 1 invoked from network); 1 Jan 2024 12:00:00 -0000
From: alice@a.test
Message-ID: <mp-2@a.test>
Subject: hello

<dave@d.test>:
this is no recipient
"""

EXIM = b"""\
Return-path: <>
X-Failed-Recipients: nobody@b.test
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@out.a.test>
To: alice@a.test
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  nobody@b.test
    host mx.b.test [192.0.2.2]
    SMTP error from remote mail server after RCPT TO:<nobody@b.test>:
    550 5.1.1 User unknown

------ This is a copy of the message, including all the headers. ------

Message-ID: <mp-3@a.test>
From: alice@a.test

hi
"""


def crlf(octets: bytes) -> bytes:
    return octets.replace(b"\n", b"\r\n")


def read(octets: bytes) -> DeliveryReport:
    report = delivery_report(octets)
    assert report is not None
    return report


@pytest.mark.parametrize("octets", [POSTFIX, crlf(POSTFIX)])
def test_a_standard_report_tells_all_of_each_recipient(octets: bytes) -> None:
    report = read(octets)
    assert (report.standard, report.reporter) == (True, "mx.b.test")
    assert (report.envelope_id, report.message_id) == ("trip+1", "<mp-1@a.test>")
    failed, delayed = report.recipients
    assert (failed.address, failed.original) == ("nobody@b.test", "sales@a.test")
    assert (failed.action, failed.status, failed.remote) == ("failed", "5.1.1", "mail.b.test")
    assert failed.diagnostic.startswith("550 5.1.1 <nobody@b.test>: Recipient address rejected:")
    assert failed.diagnostic.endswith("User unknown")
    assert (delayed.action, delayed.status) == ("delayed", "4.2.2")
    assert delayed.will_retry_until == datetime(2024, 1, 6, 12, 0, 1, tzinfo=UTC)


def test_a_report_in_a_wrapper_is_found() -> None:
    wrapped = (
        b"Subject: [list] fwd\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n"
        b"Content-Type: text/plain\n\nlook\n--outer\n" + POSTFIX[POSTFIX.index(b"MIME-Version") :] + b"\n--outer--\n"
    )
    assert read(wrapped).recipients[0].address == "nobody@b.test"


def test_returned_headers_are_enough_to_know_the_letter() -> None:
    octets = POSTFIX.replace(b"Content-Type: message/rfc822", b"Content-Type: text/rfc822-headers")
    assert read(octets).message_id == "<mp-1@a.test>"


def test_a_report_that_returns_nothing_may_name_the_letter_it_answers() -> None:
    head, _, _ = POSTFIX.partition(b"--4T3fXk1z.1704110401/mx.b.test\nContent-Description: Undelivered Message")
    octets = head.replace(b"To: alice", b"In-Reply-To: <mp-9@a.test>\nTo: alice", 1)
    assert read(octets).message_id == "<mp-9@a.test>"


def test_a_report_for_addresses_beyond_ascii_is_read() -> None:
    octets = (
        POSTFIX.replace(b"message/delivery-status", b"message/global-delivery-status")
        .replace(b"rfc822; nobody@b.test", b"utf-8; gr\\x{FC}\\x{DF}e@b.test")
        .replace(b"rfc822; carol@b.test", "utf-8; grüße@b.test".encode())
        .replace(b"Content-Type: message/rfc822", b"Content-Type: message/global")
    )
    report = read(octets)
    assert [each.address for each in report.recipients] == ["grüße@b.test", "grüße@b.test"]
    assert report.message_id == "<mp-1@a.test>"


def test_an_encoded_status_part_is_decoded() -> None:
    octets = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/plain\n\nx\n--b\n"
        b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
        b"UmVwb3J0aW5nLU1UQTogZG5zOyBteC5iLnRlc3QKCkZpbmFsLVJlY2lwaWVudDogcmZjODIy\n"
        b"OyBib2JAYi50ZXN0CkFjdGlvbjogZmFpbGVkClN0YXR1czogNS4xLjEK\n--b--\n"
    )
    assert read(octets).recipients[0].address == "bob@b.test"


def test_a_report_outside_multipart_report_is_read_and_called_non_standard() -> None:
    report = read(POSTFIX.replace(b"multipart/report; report-type=delivery-status;", b"multipart/mixed;"))
    assert not report.standard
    assert report.recipients[0].status == "5.1.1"


def test_qmail_is_read_by_its_paragraphs() -> None:
    report = read(QMAIL)
    assert not report.standard
    assert report.message_id == "<mp-2@a.test>"
    assert [(each.address, each.action, each.status) for each in report.recipients] == [
        ("nobody@b.test", "failed", "5.1.1"),
        ("carol@c.test", "failed", "5.2.2"),
    ]
    assert report.recipients[0].diagnostic == "Sorry, no mailbox here by that name. (#5.1.1)"


@pytest.mark.parametrize("octets", [EXIM, crlf(EXIM)])
def test_prose_gives_addresses_codes_and_the_letter(octets: bytes) -> None:
    report = read(octets)
    (recipient,) = report.recipients
    assert not report.standard
    assert report.message_id == "<mp-3@a.test>"
    assert (recipient.address, recipient.action, recipient.status) == ("nobody@b.test", "failed", "5.1.1")


def test_prose_without_a_list_of_recipients_is_read_too() -> None:
    octets = (
        b"Return-Path: <>\nFrom: Postmaster <postmaster@b.test>\nSubject: Undeliverable: hello\n\n"
        b"Your message could not be delivered.\nbob@b.test\n   554 mailbox not found\n"
    )
    (recipient,) = read(octets).recipients
    assert (recipient.address, recipient.status) == ("bob@b.test", "5.0.0")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n",
        b"From: alice@a.test\nSubject: my flight is delayed\n\nbob@b.test told me 550 times\n",
        b"From: alice@a.test\nSubject: hello\n\n550 5.1.1 bob@b.test\n",
        b"Return-Path: <>\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nback on 5.1.2024, bob@b.test\n",
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n\n--b--\n",
    ],
)
def test_an_ordinary_letter_is_no_report(octets: bytes) -> None:
    assert delivery_report(octets) is None


def test_every_beginning_of_a_report_can_be_read() -> None:
    for length in range(0, len(POSTFIX), 7):
        delivery_report(POSTFIX[:length])


MULTIPART = b"Content-Type: multipart/report; boundary=b\n\n"


@pytest.mark.parametrize(
    "octets",
    [
        MULTIPART + b"--b\n" * 400_000,
        MULTIPART + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 40_000,
        b"From: mailer-daemon\nSubject: failure\n\n" + b"a" * 1_800_000,
        b"Content-Type: multipart/report; boundary=" + b"b" * 1_000_000,
        b"X: " + b"\n " * 900_000,
    ],
)
def test_hostile_reports_come_to_nothing(octets: bytes) -> None:
    assert delivery_report(octets) is None


def test_endless_recipients_are_cut_off() -> None:
    status = MULTIPART + b"--b\nContent-Type: message/delivery-status\n\n"
    assert len(read(status + b"Final-Recipient: rfc822; a@b.test\n\n" * 50_000).recipients) <= RECIPIENTS_LIMIT + 1
    prose = b"From: mailer-daemon\nSubject: failure\n\n" + b"550 a@b.test 550 \n" * 100_000
    assert len(read(prose).recipients) == 1


@given(st.binary(max_size=300), st.integers(0, len(POSTFIX)))
def test_octets_put_anywhere_do_no_harm(octets: bytes, at: int) -> None:
    delivery_report(POSTFIX[:at] + octets + POSTFIX[at:])
