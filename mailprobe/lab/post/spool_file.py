"""The form of a file in the spool: one line of JSON, who sends the letter to whom, and below it the letter's octets."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from mailprobe.lab.post.addresses import shown
from mailprobe.model.errors import MailprobeError
from mailprobe.protocols.mailstore import Envelope

LETTER_OCTETS = 256 << 20
HEAD_OCTETS = 8 << 20  # thousands of recipients, each with all that was asked for it
_HEADERS_READ = 256 << 10  # how far a Message-ID is looked for
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:(?:[ \t]|\r?\n[ \t])*(<[!-;=?-~\x80-\xff]{1,996}>)", re.I | re.M)
_WORDS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
}
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}  # say nothing about the letter


class SpoolError(MailprobeError):
    """The spool cannot do what it was asked for; *full* when the disk is, so that it may work later."""

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in the spool; *data* is CRLF text.

    *origin* is ``submission``, ``network`` or ``local``. *arrived* is the lab's clock. *about* is the queue id of the
    letter that a delivery report is about, empty for everything else.
    """

    queue_id: str
    envelope: Envelope
    data: bytes
    origin: str
    arrived: datetime
    about: str = ""

    @property
    def message_id(self) -> str:
        """The letter's Message-ID with its brackets, empty when it has none."""
        return message_id_of(self.data)


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a spool file; *size* and *crc32* are of the octets below it."""

    queue_id: str
    arrived: datetime
    origin: str
    about: str
    message_id: str
    size: int
    crc32: int
    envelope: Envelope


def message_id_of(data: bytes) -> str:
    """Find the Message-ID in a letter's header, with its brackets; empty when there is none that can be read."""
    end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n", 0, _HEADERS_READ)
    match = _MESSAGE_ID.search(data[: end if end >= 0 else _HEADERS_READ])
    text = match[1].decode("utf-8", "surrogateescape") if match else ""
    return text if text.isprintable() else ""


def write_letter(path: Path, letter: Spooled) -> None:
    """Write a letter into a new file, and return when it is on the disk.

    Raises:
        OSError: it cannot be written; what there is of it is for the caller to remove.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in (_head_line(letter), letter.data):
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(descriptor)


def _head_line(letter: Spooled) -> bytes:
    head = Head(
        queue_id=letter.queue_id,
        arrived=letter.arrived,
        origin=letter.origin,
        about=letter.about,
        message_id=letter.message_id,
        size=len(letter.data),
        crc32=zlib.crc32(letter.data),
        envelope=letter.envelope,
    )
    try:
        return msgspec.json.encode(head) + b"\n"
    except UnicodeEncodeError:  # octets that are no UTF-8, as lone surrogates
        return json.dumps(msgspec.to_builtins(head)).encode("ascii") + b"\n"


def read_letter(path: Path) -> Spooled:
    """Read a file of the spool.

    Raises:
        ValueError: it is no letter, or a damaged one; the text says why.
        SpoolError: it is not there, or cannot be read now.
    """
    with _opened(path) as file:
        head = _head_of(file, path)
        octets = os.fstat(file.fileno()).st_size - file.tell()
        if octets != head.size or head.size > LETTER_OCTETS:
            raise ValueError(f"{octets} octets where {head.size} were written")
        data = file.read(head.size)
    if zlib.crc32(data) != head.crc32:
        raise ValueError("its octets are not those that were written")
    return Spooled(
        queue_id=head.queue_id,
        envelope=head.envelope,
        data=data,
        origin=head.origin,
        arrived=head.arrived,
        about=head.about,
    )


def read_head(path: Path) -> Head:
    """Read the first line of a file of the spool, as `read_letter` does, and with the same errors."""
    with _opened(path) as file:
        return _head_of(file, path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open what should be a plain file."""
    try:
        descriptor = open_plain(path)
    except FileNotFoundError:
        raise SpoolError(f"{path}: no such letter") from None
    except OSError as error:
        if error.errno in _PASSING:
            raise refusal(path, error) from None
        raise ValueError(f"it cannot be opened: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file, explained(path):
        yield file


def open_plain(path: Path) -> int:
    """Open a file to be read; a symbolic link, a folder or a pipe in its place leads nowhere and blocks nobody.

    Raises:
        OSError: it cannot be opened, or is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file")
    return descriptor


def _head_of(file: BinaryIO, path: Path) -> Head:
    line = file.readline(HEAD_OCTETS)
    if not line.endswith(b"\n"):
        raise ValueError("its first line, the envelope, has no end")
    try:
        head = _decoded(line)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ValueError(f"its first line is no envelope: {shown(str(error))}") from None
    if head.queue_id != path.name:
        raise ValueError("it is the file of another letter")
    return head


def _decoded(line: bytes) -> Head:
    try:
        return msgspec.json.decode(line, type=Head)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # lone surrogates, see _head_line
        whole = json.loads(line)
        json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogateescape")  # others stand for no octets
        return msgspec.convert(whole, Head)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into words.

    Raises:
        SpoolError: the system reported an error.
    """
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None


def refusal(path: Path, error: OSError) -> SpoolError:
    """Say in words what the system says of a file."""
    words = _WORDS.get(error.errno or 0) or error.strerror or str(error)
    return SpoolError(f"{path}: {words}", full=error.errno in (errno.ENOSPC, errno.EDQUOT))
