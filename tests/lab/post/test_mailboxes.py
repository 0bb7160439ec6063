"""The mailboxes of a site: Maildirs with uids, quota and locks."""

from __future__ import annotations

import asyncio
import mailbox
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from mailprobe.lab.post.disk_mailbox import DiskMailbox
from mailprobe.lab.post.listing import read_mailbox
from mailprobe.lab.post.mailboxes import Arrival, Mailboxes
from mailprobe.protocols.mailstore import (
    Envelope,
    LetterGoneError,
    MailboxBusyError,
    MailboxFullError,
    MailboxPausedError,
    StoreError,
)

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)
LETTER = b"From: Carol <carol@c.test>\r\nSubject: one\r\nDate: Mon, 4 Mar 2024 01:02:03 +0000\r\n\r\nhello\r\n"
USERS = {"alice": "secret", "bob": "hidden"}


class Site:
    """A directory with mailboxes that can be opened anew, as after a crash."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        self.read: list[tuple[str, str, str, str]] = []
        self.now = NOW
        self.paused = False
        self._opened: list[Mailboxes] = []

    def open(self, **fields: Any) -> Mailboxes:
        mail = Mailboxes(
            self.directory,
            USERS,
            lambda: self.now,
            lambda *what: self.read.append(what),
            paused=lambda: self.paused,
            warn=self.warnings.append,
            **fields,
        )
        self._opened.append(mail)
        return mail

    def close(self) -> None:
        for mail in self._opened:
            mail.close()

    @property
    def bob(self) -> Path:
        return self.directory / "mail" / "bob"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def box(mail: Mailboxes, name: str = "INBOX") -> DiskMailbox:
    found = mail.mailbox("bob", name)
    assert found is not None
    return found


def data(mailbox: DiskMailbox, uid: int) -> bytes:
    letter = mailbox.get(uid)
    assert letter is not None
    return letter.data


def flags(mailbox: DiskMailbox, uid: int) -> set[str]:
    mailbox.look()
    letter = mailbox.get(uid)
    assert letter is not None
    return set(letter.flags)


# Delivery and uids


def test_a_stored_letter_is_read_octet_for_octet(site: Site) -> None:
    mail = site.open()
    file = mail.store("bob", "INBOX", "1.Q1R0.a", LETTER)
    assert file.is_relative_to(site.bob / "new")
    letter = box(mail).get(box(mail).uids()[0])
    assert letter is not None
    assert (letter.data, letter.size, letter.flags, letter.received) == (LETTER, len(LETTER), frozenset(), NOW)


def test_uids_are_given_in_order_of_arrival_and_survive_a_restart(site: Site) -> None:
    mail = site.open()
    for number in (3, 1, 2):
        site.now += timedelta(seconds=1)
        mail.store("bob", "INBOX", f"{number}.a", b"%d" % number)
    first = box(mail)
    assert [data(first, uid) for uid in first.uids()] == [b"3", b"1", b"2"]
    first.remove([3])
    again = box(site.open())
    assert (again.uids(), again.uid_next, again.uid_validity) == ((1, 2), 4, first.uid_validity)
    assert again.append(b"4") == 4


def test_storing_twice_stores_once_even_after_a_restart_and_when_read(site: Site) -> None:
    mail = site.open()
    file = mail.store("bob", "INBOX", "1.Q1R0.a", LETTER)
    box(mail).uids()
    box(mail).set_flags(1, ["\\Seen"])
    for each in (mail, site.open()):
        assert each.store("bob", "INBOX", "1.Q1R0.a", LETTER).name == f"{file.name}:2,S"
    assert box(mail).uids() == (1,)


def test_a_folder_is_made_when_mail_comes_for_it(site: Site) -> None:
    mail = site.open()
    assert mail.store("bob", "Junk", "1.a", LETTER).is_relative_to(site.bob / ".Junk" / "new")
    assert mail.names("bob") == ("INBOX", "Junk")
    assert mail.attributes("bob", "Junk") == ("\\Junk",)
    assert mail.attributes("bob", "INBOX") == ()


@pytest.mark.parametrize("folder", ["../../x", "../alice", "..", "/etc", "a/../../b", ".", "", "a\0b", "x\n"])
def test_no_folder_leads_out_of_its_users_directory(site: Site, folder: str) -> None:
    mail = site.open()
    before = {path for path in site.directory.rglob("*") if not path.is_relative_to(site.bob)}
    with suppress(StoreError):
        mail.store("bob", folder, "1.a", LETTER)
    assert {path for path in site.directory.rglob("*") if not path.is_relative_to(site.bob)} == before
    assert mail.mailbox("bob", f"{folder}/..") is None


def test_many_arrivals_have_an_outcome_each(site: Site) -> None:
    mail = site.open(quota=100)
    outcomes = mail.store_many(
        [
            Arrival("bob", "INBOX", "1.a", b"x" * 60),
            Arrival("bob", "INBOX", "2.a", b"x" * 60),
            Arrival("alice", "INBOX", "1.a", b"x" * 60),
            Arrival("carol", "INBOX", "1.a", b"x"),
            Arrival("bob", "INBOX", "3.a", b"x" * 40),
        ]
    )
    assert [type(each).__name__ for each in outcomes] == [
        "PosixPath", "MailboxFullError", "PosixPath", "StoreError", "PosixPath",
    ]  # fmt: skip
    assert str(outcomes[3]) == "no such user here: carol"


def test_deliver_adds_the_envelope_and_reaches_users_only(site: Site) -> None:
    mail = site.open(domains=["a.test"])
    envelope = Envelope(
        sender="c@c.test",
        recipients=("bob+tag@A.test", "x@a.test", "alice@b.test"),
        client_name="c.test",
        server_name="a.test",
        protocol="LMTP",
    )
    assert [mail.refuse_recipient(envelope, each) is None for each in envelope.recipients] == [True, False, False]
    mail.deliver(envelope, LETTER)
    head = b"Return-Path: <c@c.test>\r\nDelivered-To: bob+tag@A.test\r\n"
    assert data(box(mail), box(mail).uids()[0]) == head + LETTER
    alice = mail.mailbox("alice", "INBOX")
    assert alice is not None
    assert alice.uids() == ()


def test_threads_deliver_while_a_reader_reads_flags_and_deletes(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)

    def deliver(thread: int) -> None:
        for number in range(60):
            mail.store("bob", "INBOX", f"{thread}.{number}.a", b"%d.%d" % (thread, number))

    threads = [threading.Thread(target=deliver, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    seen: dict[int, bytes] = {}
    while len(seen) < 240:
        for uid in inbox.uids():
            assert uid not in seen, "a uid came twice"
            seen[uid] = data(inbox, uid)
            inbox.set_flags(uid, ["\\Flagged"])
            inbox.remove([uid])
    for thread in threads:
        thread.join()
    assert len(set(seen.values())) == 240
    assert inbox.uids() == ()


# Flags, and what other programs do


def test_system_flags_stand_in_the_name_and_keywords_in_the_index(site: Site) -> None:
    mail = site.open()
    uid = box(mail).append(LETTER, ["\\Seen", "urgent"])
    box(mail).set_flags(uid, ["\\Answered", "\\Flagged", "urgent", "later"])
    assert [file.name.partition(":")[2] for file in (site.bob / "cur").iterdir()] == ["2,FR"]
    assert flags(box(site.open()), uid) == {"\\Answered", "\\Flagged", "urgent", "later"}


def test_dates_keep_their_zone(site: Site) -> None:
    when = datetime(2023, 2, 1, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    uid = box(site.open()).append(LETTER, (), when)
    letter_box = box(site.open())
    assert uid in letter_box.uids()
    letter = letter_box.get(uid)
    assert letter is not None
    assert letter.received.isoformat() == "2023-02-01T03:04:05+01:00"


def test_what_other_programs_do_is_seen_at_the_next_look(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    mail.store("bob", "INBOX", "1.a", LETTER)
    mail.store("bob", "INBOX", "2.a", LETTER)
    assert inbox.uids() == (1, 2)
    other = mailbox.Maildir(site.bob, create=False)
    key = other.add(b"Subject: two\n\nhello\n")
    assert inbox.uids() == (1, 2, 3)
    assert data(inbox, 3) == b"Subject: two\r\n\r\nhello\r\n"
    letter = inbox.get(3)
    assert letter is not None
    assert letter.size == len(letter.data)

    message = other.get_message(key)
    message.set_subdir("cur")
    message.set_flags("FP")
    other[key] = message
    assert flags(inbox, 3) == {"\\Flagged"}
    inbox.set_flags(3, ["\\Seen"])
    assert other.get_message(key).get_flags() == "PS"  # what IMAP has no word for stays

    for name in [key for key, _ in other.iteritems()]:
        other.remove(name)
    assert inbox.uids() == ()
    assert inbox.uid_next == 4


def test_a_letter_that_was_renamed_behind_our_back_is_still_read_flagged_and_deleted(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    for action in (
        lambda uid: data(inbox, uid),
        lambda uid: inbox.set_flags(uid, ["\\Flagged", "\\Seen"]),
        lambda uid: inbox.remove([uid]),
    ):
        file = mail.store("bob", "INBOX", f"{inbox.uid_next}.a", LETTER)
        uid = inbox.uids()[-1]
        file.rename(site.bob / "cur" / f"{file.name}:2,S")
        action(uid)
    inbox.look()
    assert [flags(inbox, uid) for uid in inbox.uids()] == [{"\\Seen"}, {"\\Flagged", "\\Seen"}]


def test_a_letter_that_was_deleted_behind_our_back_is_gone_and_nothing_breaks(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    file = mail.store("bob", "INBOX", "1.a", LETTER)
    inbox.uids()
    letter = inbox.get(1)
    assert letter is not None
    file.unlink()
    with pytest.raises(LetterGoneError):
        _ = letter.data
    inbox.set_flags(1, ["\\Seen"])
    inbox.remove([1, 1, 99])
    inbox.taken(1, "IMAP")
    assert inbox.uids() == ()


def test_a_mailbox_that_was_swept_away_is_empty_and_works_on(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    mail.store("bob", "INBOX", "1.a", LETTER)
    inbox.uids()
    for place in ("new", "cur", "tmp"):
        for file in (site.bob / place).iterdir():
            file.unlink()
        (site.bob / place).rmdir()
    assert inbox.uids() == ()
    mail.store("bob", "INBOX", "2.a", LETTER)
    assert inbox.uids() == (2,)


def test_a_file_that_cannot_be_read_spoils_only_itself(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    (site.bob / "new" / "big").touch()
    os.truncate(site.bob / "new" / "big", 1 << 40)  # a hole
    mail.store("bob", "INBOX", "1.a", LETTER)
    sizes = {letter.size for letter in map(inbox.get, inbox.uids()) if letter is not None}
    assert sizes == {1 << 40, len(LETTER)}
    for letter in map(inbox.get, inbox.uids()):
        assert letter is not None
        if letter.size == 1 << 40:
            with pytest.raises(StoreError, match="the letter has more than"):
                _ = letter.data
        else:
            assert letter.data == LETTER


# The index


@pytest.mark.parametrize(
    "damage",
    [b"this is no database at all", b"", b"SQLite format 3\0" + bytes(4000)],
    ids=["text", "empty", "zeros"],
)
def test_a_damaged_index_is_moved_aside_and_said_once_and_no_letter_is_lost(site: Site, damage: bytes) -> None:
    mail = site.open()
    mail.store("bob", "INBOX", "1.a", LETTER)
    before = box(mail).uid_validity
    mail.close()
    (site.directory / "mailboxes.db").write_bytes(damage)
    mail = site.open()
    assert box(mail).uid_validity > before
    assert data(box(mail), box(mail).uids()[0]) == LETTER
    box(mail).append(LETTER)
    assert len(site.warnings) == 1
    assert "mailboxes.db was damaged" in site.warnings[0]
    assert "mailboxes.db.damaged-1" in site.warnings[0]
    assert (site.directory / "mailboxes.db.damaged-1").exists()


def test_an_index_of_another_program_is_moved_aside(site: Site) -> None:
    database = sqlite3.connect(site.directory / "mailboxes.db")
    database.execute("CREATE TABLE x (y)")
    database.close()
    assert box(site.open()).append(LETTER) == 1
    assert len(site.warnings) == 1


def test_an_index_that_is_damaged_while_it_is_used_is_rebuilt(site: Site) -> None:
    mail = site.open()
    inbox = box(mail)
    for number in range(300):
        inbox.append(b"%d" % number)
    before = inbox.uid_validity
    mail.close()
    file = site.directory / "mailboxes.db"
    mail = site.open()
    inbox = box(mail)
    with sqlite3.connect(file) as other:  # a change by another process empties the cache
        other.execute("INSERT INTO subscription VALUES ('bob', 'x')")
    with file.open("r+b") as opened:
        opened.seek(4096)  # behind the first page
        opened.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(StoreError, match=r"^mailboxes.db was damaged and has been rebuilt; try again$"):
        inbox.append(b"new")
    other.close()
    assert inbox.uid_validity > before
    assert len(inbox.uids()) == 300
    assert inbox.append(b"new") == 301
    assert len(site.warnings) == 1


def test_uidvalidity_never_comes_twice(site: Site) -> None:
    mail = site.open()
    validities = []
    for _ in range(3):
        assert mail.create("bob", "Work")
        validities.append(box(mail, "Work").uid_validity)
        assert mail.delete("bob", "Work")
    assert len(set(validities)) == 3
    assert validities == sorted(validities)


# Folders


def test_folders_are_made_renamed_and_deleted_on_the_disk(site: Site) -> None:
    mail = site.open()
    assert mail.create("bob", "Work")
    assert mail.create("bob", "Work/old")
    assert not mail.create("bob", "Work")
    assert not mail.create("bob", "inbox")
    uid = box(mail, "Work/old").append(LETTER)
    validity = box(mail, "Work/old").uid_validity
    selected = box(mail, "Work/old")
    assert mail.rename("bob", "Work", "Play")
    assert mail.names("bob") == ("INBOX", "Play", "Play/old")
    moved = box(mail, "Play/old")
    assert (moved.uids(), moved.uid_validity, data(moved, uid)) == ((uid,), validity, LETTER)
    assert selected.uids() == (uid,)
    assert mail.delete("bob", "Play")
    assert mail.names("bob") == ("INBOX", "Play/old")
    assert mail.delete("bob", "Play/old")
    assert (selected.uids(), selected.get(uid)) == ((), None)
    with pytest.raises(StoreError, match="the mailbox was deleted"):
        selected.append(LETTER)
    assert sorted(path.name for path in site.bob.iterdir()) == ["cur", "new", "tmp"]


def test_inbox_cannot_be_deleted_or_renamed(site: Site) -> None:
    mail = site.open()
    mail.create("bob", "Work")
    assert not mail.delete("bob", "Inbox")
    assert not mail.rename("bob", "INBOX", "x")
    assert not mail.rename("bob", "Work", "inbox")
    assert not mail.rename("bob", "Work", "Work/inner")
    assert not mail.rename("bob", "nowhere", "x")


def test_a_link_is_no_mailbox(site: Site, tmp_path: Path) -> None:
    mail = site.open()
    (site.bob / ".Alice").symlink_to(site.directory / "mail" / "alice")
    assert mail.names("bob") == ("INBOX",)
    assert mail.mailbox("bob", "Alice") is None
    with pytest.raises(StoreError):
        mail.create("bob", "Alice")


def test_subscriptions_are_kept(site: Site) -> None:
    mail = site.open()
    assert mail.subscriptions("bob") == {"INBOX"}
    mail.subscriptions("bob").add("Work")
    mail.subscriptions("bob").discard("INBOX")
    assert site.open().subscriptions("bob") == {"Work"}


# Quota


def test_quota_counts_octets_over_all_folders(site: Site) -> None:
    mail = site.open(quota=100)
    mail.store("bob", "INBOX", "1.a", b"x" * 60)
    mail.store("bob", "Junk", "2.a", b"x" * 40)
    with pytest.raises(MailboxFullError, match="100 of its 100 octets"):
        mail.store("bob", "INBOX", "3.a", b"x")
    with pytest.raises(MailboxFullError):
        box(mail).append(b"x")
    assert not mail.has_room("bob", 1)
    assert mail.has_room("alice", 100)
    assert mail.store("bob", "INBOX", "1.a", b"x" * 60).name.startswith("1.a,")  # it is there already
    box(mail).remove(box(mail).uids())
    assert mail.has_room("bob", 60)
    assert not mail.has_room("bob", 61)


def test_quota_is_known_after_a_restart_and_when_others_deleted(site: Site) -> None:
    site.open(quota=100).store("bob", "Junk", "1.a", b"x" * 80)
    mail = site.open(quota=100)
    with pytest.raises(MailboxFullError):
        mail.store("bob", "INBOX", "2.a", b"x" * 30)
    next((site.bob / ".Junk" / "new").iterdir()).unlink()
    mail.store("bob", "INBOX", "2.a", b"x" * 30)
    for _ in range(2):
        assert not mail.has_room("bob", 71)
        assert mail.has_room("bob", 70)


# Who comes in, and who hears of it


def test_users_log_in_with_and_without_their_domain(site: Site) -> None:
    mail = site.open(domains=["A.test"])
    assert mail.secret("bob") == mail.secret("Bob@a.TEST") == "hidden"
    assert mail.secret("bob@b.test") is None
    assert mail.secret("carol") is None
    assert mail.secret("") is None
    assert mail.mailbox("bob@a.test", "INBOX") is box(mail)
    assert mail.mailbox("carol", "INBOX") is None
    assert mail.names("carol") == ()


def test_a_lock_is_for_one_session_and_given_back(site: Site) -> None:
    mail = site.open()
    unlock = mail.lock("bob")
    with pytest.raises(MailboxBusyError, match="another POP3 session has the mailbox"):
        mail.lock("BOB")
    mail.lock("alice")
    unlock()
    unlock()
    mail.lock("bob")


def test_nobody_comes_in_while_readers_are_paused_and_mail_is_stored_all_the_same(site: Site) -> None:
    mail = site.open()
    site.paused = True
    with pytest.raises(MailboxPausedError, match="cannot be read now"):
        mail.lock("bob")
    with pytest.raises(MailboxPausedError):
        mail.mailbox("bob", "INBOX")
    mail.store("bob", "INBOX", "1.a", LETTER)
    site.paused = False
    assert box(mail).uids() == (1,)


def test_who_reads_a_letter_is_told_to_the_journal(site: Site) -> None:
    mail = site.open()
    mail.store("bob", "INBOX", "1.Q7R0.a", LETTER)
    box(mail).taken(box(mail).uids()[0], "POP3")
    assert site.read == [("bob", "INBOX", "1.Q7R0.a", "POP3")]


def test_listeners_hear_of_every_change_until_they_end_it(site: Site) -> None:
    mail = site.open()
    heard: list[str] = []
    end = mail.subscribe(lambda: heard.append("x"))
    mail.store("bob", "INBOX", "1.a", LETTER)
    uid = box(mail).append(LETTER)
    box(mail).set_flags(uid, ["\\Seen"])
    box(mail).set_flags(uid, ["\\Seen"])  # no change
    box(mail).remove([uid])
    end()
    box(mail).append(LETTER)
    assert len(heard) == 4


def test_listeners_of_a_loop_are_called_in_its_thread(site: Site) -> None:
    mail = site.open()

    async def hear() -> int:
        called: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        end = mail.subscribe(lambda: called.set_result(threading.get_ident()))
        await asyncio.to_thread(mail.store, "bob", "INBOX", "1.a", LETTER)
        heard = await called
        end()
        return heard

    assert asyncio.run(hear()) == threading.get_ident()
    mail.store("bob", "INBOX", "2.a", LETTER)  # the loop is closed


# Looking from outside


def test_mailboxes_can_be_listed_without_the_lab(site: Site) -> None:
    mail = site.open()
    mail.store("bob", "INBOX", "1.a", LETTER)
    box(mail).set_flags(box(mail).uids()[0], ["\\Seen", "urgent"])
    site.now += timedelta(hours=1)
    odd = "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?= \x1b[31m\r\n =?utf-8?b?!!?=\r\nFrom: \xff\xfe\r\n\r\n".encode("latin-1")
    mail.store("bob", "Junk", "2.a", odd)
    first, second = read_mailbox(site.directory, "bob@a.test")
    assert (first.folder, first.uid, first.size, first.flags) == ("INBOX", 1, len(LETTER), ("\\Seen", "urgent"))
    assert (first.sender, first.subject) == ("Carol <carol@c.test>", "one")
    assert (first.date, first.arrived) == ("Mon, 4 Mar 2024 01:02:03 +0000", NOW)
    assert first.file.read_bytes() == LETTER
    assert (second.folder, second.uid, second.arrived) == ("Junk", None, NOW + timedelta(hours=1))
    assert second.subject.startswith("grüße  [31m")
    assert (second.subject + second.sender).isprintable()
    mail.close()
    assert len(read_mailbox(site.directory, "bob")) == 2
    (site.directory / "mailboxes.db").write_bytes(b"damaged")
    assert [letter.uid for letter in read_mailbox(site.directory, "bob")] == [None, None]
    assert read_mailbox(site.directory, "alice") == []


@pytest.mark.parametrize("user", ["carol", "..", "../bob", "", "bob/new"])
def test_who_has_no_mailbox_cannot_be_listed(site: Site, user: str) -> None:
    site.open()
    with pytest.raises(StoreError, match="there is no mailbox of"):
        read_mailbox(site.directory, user)
