"""What is in a user's mailboxes, for who only looks: another process, while the lab runs or when it is dead."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, nullcontext, suppress
from datetime import datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from pathlib import Path

import msgspec

from mailprobe.lab.post.account import MAIL, Account
from mailprobe.lab.post.disk_mailbox import FLAGS
from mailprobe.lab.post.folder_names import user_directory
from mailprobe.lab.post.maildir import Entry, Maildir, named_sizes, open_file
from mailprobe.lab.post.uid_index import Filed, find_mailbox, moment, open_to_read, read_letters
from mailprobe.protocols.mailstore import StoreError
from mailprobe.records.header import values

HEADER_LIMIT = 65536  # octets of a letter that are read for its header
TEXT_LIMIT = 500  # characters of a field that are given

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One letter in a mailbox.

    *uid* is None until a reader has looked at the mailbox. *size* is in octets, as given out. *flags* are those of
    IMAP. *sender*, *subject* and *date* are the header's, decoded and without control characters; *arrived* is when
    it was stored.
    """

    folder: str
    uid: int | None
    size: int
    flags: tuple[str, ...]
    sender: str
    subject: str
    date: str
    arrived: datetime
    file: Path


def read_mailbox(directory: Path, user: str) -> list[Listed]:
    """List all letters of a user of the site whose directory this is: INBOX first, each mailbox in order of arrival.

    Nothing is changed.

    Raises:
        StoreError: there is no such user, or the mailboxes cannot be read.
    """
    name = user.lower().rpartition("@")[0] or user.lower()
    account = Account(name, directory / MAIL / user_directory(name), quota=0)
    if not (account.path / "new").is_dir():
        raise StoreError(f"there is no mailbox of {name} in {directory}")
    index = open_to_read(directory)
    with closing(index) if index is not None else nullcontext():
        return [letter for folder in account.names() for letter in _list(account, folder, index)]


def _list(account: Account, folder: str, index: sqlite3.Connection | None) -> list[Listed]:
    maildir = account.maildir(folder)
    if maildir is None:
        return []
    known: dict[str, Filed] = {}
    if index is not None:
        with suppress(sqlite3.DatabaseError):  # then uids are not known
            numbers = find_mailbox(index, account.user, folder)
            known = {filed.base: filed for filed in read_letters(index, numbers.key)} if numbers is not None else {}
    listed = [_listed(folder, maildir, entry, known.get(entry.base)) for entry in maildir.scan().values()]
    late = 1 << 32  # behind all uids: what no reader has seen yet
    return sorted(listed, key=lambda letter: (letter.uid or late, letter.arrived, letter.file.name))


def _listed(folder: str, maildir: Maildir, entry: Entry, filed: Filed | None) -> Listed:
    file = maildir.path / entry.name
    head = _head(file)
    letters = tuple(FLAGS[letter] for letter in entry.letters if letter in FLAGS)
    return Listed(
        folder=folder,
        uid=filed.uid if filed is not None else None,
        size=filed.size if filed is not None else named_sizes(entry.base).get("W", entry.octets),
        flags=(*letters, *(filed.keywords if filed is not None else ())),
        sender=_field(head, "From"),
        subject=_field(head, "Subject"),
        date=_field(head, "Date"),
        arrived=filed.received if filed is not None else moment(maildir.written(entry)),
        file=file,
    )


def _head(file: Path) -> bytes:
    """Read the beginning of a letter; nothing when it cannot be read."""
    try:
        with open(file, "rb", opener=open_file) as opened:
            return opened.read(HEADER_LIMIT)
    except OSError:
        return b""


def _field(head: bytes, name: str) -> str:
    """Give the first field of that name as text for people, or nothing."""
    found = values(head, name)
    return _text(found[0].encode("latin-1")) if found else ""


def _text(value: bytes) -> str:
    """Decode encoded words (RFC 2047) and take out what would move a terminal's cursor."""
    text = value[: 4 * TEXT_LIMIT].decode("utf-8", "replace")
    with suppress(MessageError, ValueError, LookupError):  # what cannot be decoded stays as it came
        text = str(make_header(decode_header(text)))
    return _CONTROL.sub(" ", text).strip()[:TEXT_LIMIT]
