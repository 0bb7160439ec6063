"""One Maildir on disk."""

from __future__ import annotations

import errno
import mailbox
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailprobe.lab.post.folder_names import directory_of, name_of, user_directory
from mailprobe.lab.post.maildir import Draft, Entry, Maildir
from mailprobe.protocols.mailstore import LetterGoneError, StoreError

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)
LETTER = b"Subject: one\r\n\r\n.dot\r\nbare\nline and no end"
FULL = Path("/dev/full")


def draft(unique: str = "1.Q1R0.a", data: bytes = LETTER, letters: str = "") -> Draft:
    return Draft(unique, data, NOW, letters)


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "bob")


def names(maildir: Maildir) -> list[str]:
    return sorted(str(file.relative_to(maildir.path)) for file in maildir.path.rglob("*") if file.is_file())


def only(maildir: Maildir) -> Entry:
    (entry,) = maildir.scan().values()
    return entry


def test_a_letter_is_stored_octet_for_octet_and_dated_by_the_clock(maildir: Maildir) -> None:
    (file,) = maildir.store([draft()])
    assert file == maildir.path / f"new/1.Q1R0.a,S={len(LETTER)},W={len(LETTER)}"
    assert file.read_bytes() == LETTER
    assert file.stat().st_mtime == NOW.timestamp()
    assert names(maildir) == [f"new/{file.name}"]
    assert maildir.read(only(maildir)) == LETTER
    assert maildir.octets == len(LETTER)


def test_a_letter_with_flags_goes_to_cur(maildir: Maildir) -> None:
    (file,) = maildir.store([draft(letters="FS")])
    assert file.parent.name == "cur"
    assert file.name.endswith(":2,FS")
    assert only(maildir).letters == "FS"


def test_storing_again_changes_nothing_wherever_the_letter_is_by_now(maildir: Maildir) -> None:
    (file,) = maildir.store([draft()])
    assert maildir.store([draft(data=b"other")]) == [file]
    read = maildir.path / "cur" / f"{file.name}:2,RS"
    file.rename(read)
    for each in (maildir, Maildir(maildir.path)):  # with and without a memory of it
        assert each.store([draft(data=b"other")]) == [read]
    assert names(maildir) == [f"cur/{read.name}"]
    assert read.read_bytes() == LETTER


def test_what_a_crash_left_half_written_is_written_anew(maildir: Maildir) -> None:
    maildir.prepare()
    (maildir.path / "tmp" / "1.Q1R0.a").write_bytes(LETTER[:5])
    assert maildir.scan() == {}
    maildir.store([draft()])
    assert names(maildir) == [f"new/1.Q1R0.a,S={len(LETTER)},W={len(LETTER)}"]
    assert maildir.read(only(maildir)) == LETTER


def test_many_letters_are_stored_together_in_order(maildir: Maildir) -> None:
    drafts = [draft(f"{number}.a", b"x" * number) for number in range(1, 151)]
    files = maildir.store([*drafts, drafts[0]])
    assert [file.read_bytes() for file in files] == [each.data for each in (*drafts, drafts[0])]
    assert len(maildir.scan()) == 150
    assert maildir.octets == sum(range(151))


def test_threads_that_store_the_same_letters_store_each_once(maildir: Maildir) -> None:
    threads = [
        threading.Thread(target=lambda: [maildir.store([draft(f"{number}.a")]) for number in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(maildir)) == 50
    assert maildir.octets == 50 * len(LETTER)


@pytest.mark.parametrize("unique", ["", ".", "..", ".hidden", "../x", "a/b", "a:2,S", "a,S=1", "a\n", "a" * 151])
def test_what_is_no_file_name_is_refused(maildir: Maildir, unique: str) -> None:
    with pytest.raises(ValueError, match="is no name for a letter"):
        maildir.store([draft(unique)])
    assert not maildir.path.exists()


def test_a_directory_without_permission_is_an_error_in_a_sentence(
    maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir.prepare()

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as caught:
        maildir.store([draft()])
    assert str(caught.value) == "mail in bob cannot be read or written: Permission denied"
    assert names(maildir) == []


def test_a_full_disk_is_an_error_in_a_sentence_and_leaves_nothing_behind(
    maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.write
    monkeypatch.setattr(os, "write", lambda file, data: _write_to_full(written, file, data))
    with pytest.raises(StoreError, match=r"^no room on the disk for mail in bob: No space left on device$"):
        maildir.store([draft("1.a"), draft("2.a")])
    assert names(maildir) == []
    monkeypatch.undo()
    assert len(maildir.store([draft("1.a"), draft("2.a")])) == 2


def _write_to_full(write: object, file: int, data: memoryview) -> int:
    with FULL.open("wb", buffering=0) as full:
        return full.write(data) or 0


def test_letters_of_other_programs_are_given_out_with_the_line_ends_of_the_wire(maildir: Maildir) -> None:
    maildir.prepare()
    (maildir.path / "new" / "foreign").write_bytes(b"Subject: x\n\ny\r\nz\n")
    entry = only(maildir)
    assert (entry.octets, entry.exact) == (17, False)
    assert maildir.read(entry) == b"Subject: x\r\n\r\ny\r\nz\r\n"


def test_only_plain_files_are_letters(maildir: Maildir, tmp_path: Path) -> None:
    maildir.prepare()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (maildir.path / "new" / "link").symlink_to(secret)
    (maildir.path / "new" / "folder").mkdir()
    os.mkfifo(maildir.path / "cur" / "pipe")
    (maildir.path / "new" / ".hidden").write_bytes(b"")
    assert maildir.scan() == {}
    with pytest.raises(StoreError):
        maildir.read(Entry("link", "new", "", 6, True))


def test_a_letter_whose_name_has_changed_is_gone_under_the_old_one(maildir: Maildir) -> None:
    maildir.store([draft()])
    entry = only(maildir)
    fresh = maildir.relabel(entry, "S")
    assert maildir.read(fresh) == LETTER
    for action in (maildir.read, maildir.discard, lambda each: maildir.relabel(each, "F")):
        with pytest.raises(LetterGoneError):
            action(entry)
    maildir.discard(fresh)
    assert (names(maildir), maildir.octets) == ([], 0)


def test_python_reads_what_is_written_and_its_letters_are_read(maildir: Maildir) -> None:
    maildir.store([draft(), draft("2.a", letters="FS")])
    other = mailbox.Maildir(maildir.path, create=False)
    assert [other.get_bytes(key) for key, _ in other.iteritems()] == [LETTER, LETTER]
    message = mailbox.MaildirMessage(b"Subject: two\n\nhello\n")
    message.set_subdir("cur")
    message.set_flags("RS")
    key = other.add(message)
    assert maildir.scan()[key].letters == "RS"
    assert maildir.read(maildir.scan()[key]) == b"Subject: two\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("Junk", ".Junk"),
        ("Work/old", ".Work.old"),
        ("a.b", ".a%2Eb"),
        ("&U,BTFw-", ".&U,BTFw-"),
        ("100%", ".100%25"),
        ("two words", ".two words"),
        ("../../etc", ".%2E%2E.%2E%2E.etc"),
        ("INBOX/x", ".INBOX.x"),
        ("a\\b", ".a%5Cb"),
    ],
)
def test_mailboxes_have_directories_of_their_own(name: str, directory: str) -> None:
    assert directory_of(name) == directory
    assert name_of(directory) == name
    assert "/" not in directory


@pytest.mark.parametrize("name", ["", "inbox", "/", "/a", "a/", "a//b", "a\nb", "a\0b", "ü", "a" * 250])
def test_names_that_no_mailbox_can_have(name: str) -> None:
    assert directory_of(name) is None


@pytest.mark.parametrize("directory", ["", ".", "..", "cur", ".a..b", ".a%2eb", ".%41", ".INBOX", ".ü", ".a%"])
def test_directories_that_no_mailbox_can_have(directory: str) -> None:
    assert name_of(directory) is None


@pytest.mark.parametrize(
    ("user", "directory"),
    [("bob", "bob"), ("first.last", "first.last"), ("..", "%2E."), (".x", "%2Ex"), ("a/../b", "a%2F..%2Fb"), ("", "%")],
)
def test_users_have_directories_of_their_own(user: str, directory: str) -> None:
    assert user_directory(user) == directory
