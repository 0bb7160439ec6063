"""Mailboxes in memory."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailprobe.lab.maildrop import (
    MAILBOX_LETTERS,
    MAILBOX_OCTETS,
    MAILBOXES_PER_USER,
    RELAYED_KEPT,
    Maildrop,
    MemoryMailbox,
)
from mailprobe.protocols.mailstore import Envelope, MailboxBusyError, MailboxFullError

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)


def envelope(*recipients: str) -> Envelope:
    return Envelope(
        sender="c@c.test",
        recipients=recipients,
        client_name="c.test",
        server_name="mx.a.test",
        protocol="ESMTP",
    )


def inbox(mail: Maildrop, user: str = "alice") -> MemoryMailbox:
    mailbox = mail.mailbox(user, "inbox")
    assert mailbox is not None
    return mailbox


@pytest.mark.parametrize(
    ("address", "accepted"),
    [
        ("alice@a.test", True),
        ("ALICE+tag@b.test", True),
        ('"bob"@a.test', True),
        ("postmaster", True),
        ("abuse@a.test", True),
        ("carol@a.test", False),
        ("", False),
    ],
)
def test_addresses_name_users_by_their_local_part(address: str, accepted: bool) -> None:
    verdict = Maildrop().refuse_recipient(envelope(), address)
    assert (verdict is None) is accepted
    assert verdict is None or (verdict.code, verdict.enhanced) == (550, "5.1.1")


def test_delivery_adds_trace_lines_and_reaches_everybody_once() -> None:
    mail = Maildrop(clock=lambda: NOW)
    mail.deliver(envelope("alice@a.test", "alice+x@a.test", "bob@a.test", "x@b.test"), b"\r\nhello\r\n")
    letter = inbox(mail).get(1)
    assert letter is not None
    assert letter.data == (
        b"Return-Path: <c@c.test>\r\nReceived: from c.test by mx.a.test\r\n"
        b"\twith ESMTP; Mon, 04 Mar 2024 05:06:07 +0000\r\n\r\nhello\r\n"
    )
    assert (inbox(mail).uids(), inbox(mail, "bob").uids()) == ((1,), (1,))
    assert mail.relayed[0][1] == letter.data


def test_uids_are_never_given_twice() -> None:
    mailbox = inbox(Maildrop())
    mailbox.append(b"a")
    mailbox.remove([1])
    assert mailbox.append(b"b") == 2


def test_mailboxes_are_bounded() -> None:
    mail = Maildrop()
    for _ in range(MAILBOX_LETTERS):
        inbox(mail).append(b"a")
    with pytest.raises(MailboxFullError):
        mail.deliver(envelope("bob@a.test", "alice@a.test"), b"a")
    assert inbox(mail, "bob").uids() == ()
    with pytest.raises(MailboxFullError):
        inbox(mail, "bob").append(bytes(MAILBOX_OCTETS + 1))
    assert all(mail.create("alice", f"{number}") for number in range(1, MAILBOXES_PER_USER))
    with pytest.raises(MailboxFullError):
        mail.create("alice", "one more")
    for _ in range(RELAYED_KEPT + 1):
        mail.deliver(envelope("x@b.test"), b"a")
    assert len(mail.relayed) == RELAYED_KEPT


def test_listeners_hear_of_changes_until_they_end_it() -> None:
    mail = Maildrop()
    heard: list[int] = []
    end = mail.subscribe(lambda: heard.append(1))
    inbox(mail).append(b"a")
    end()
    inbox(mail).append(b"a")
    assert heard == [1]


def test_listeners_hear_of_flags_that_change() -> None:
    mail = Maildrop()
    heard: list[int] = []
    mail.subscribe(lambda: heard.append(1))
    uid = inbox(mail).append(b"a", ["x"])
    inbox(mail).set_flags(uid, ["x"])
    inbox(mail).set_flags(uid, ["x", "y"])
    inbox(mail).set_flags(99, ["x"])
    assert len(heard) == 2


def test_an_inbox_is_locked_for_one_session_at_a_time() -> None:
    mail = Maildrop()
    unlock = mail.lock("alice")
    mail.lock("bob")
    with pytest.raises(MailboxBusyError):
        mail.lock("alice")
    unlock()
    mail.lock("alice")


def test_mailboxes_have_special_uses_by_their_names() -> None:
    assert [Maildrop().attributes("alice", name) for name in ("Junk", "Sent", "junk", "INBOX")] == [
        ("\\Junk",),
        ("\\Sent",),
        (),
        (),
    ]


def test_mailboxes_are_renamed_with_those_below_them() -> None:
    mail = Maildrop()
    for name in ("Work", "Work/old", "Worker", "Taken/old"):
        mail.create("alice", name)
    assert not mail.rename("alice", "Work", "Taken")
    assert mail.rename("alice", "Work", "Play")
    assert mail.names("alice") == ("INBOX", "Play", "Play/old", "Worker", "Taken/old")


def test_inbox_cannot_be_deleted_or_renamed() -> None:
    mail = Maildrop()
    assert not mail.delete("alice", "Inbox")
    assert not mail.rename("alice", "INBOX", "x")
    assert not mail.create("alice", "inbox")
