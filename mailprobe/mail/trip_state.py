"""What earlier runs have sent and nobody has found yet: a file, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Struct
from mailprobe.model.sending import Sending

SCHEMA = 1
LETTERS_LIMIT = 1_000  # what cannot be found for so long is forgotten, the oldest first
OCTETS_LIMIT = 16 << 20


class SentLetter(Struct, frozen=True, kw_only=True):
    """A letter on its way. *body* is what was sent below the header, to compare with what arrives.

    *sending* is None from just before the letter is sent until it is known what came of it.
    """

    token: str
    message_id: str
    sender: str
    recipient: str
    sent_at: Annotated[datetime, msgspec.Meta(tz=True)]
    body: bytes
    sending: Sending | None


class _State(Struct, frozen=True, kw_only=True):
    schema: int
    letters: tuple[SentLetter, ...]


class _Head(msgspec.Struct):
    schema: int


def read_state(path: Path) -> tuple[SentLetter, ...]:
    """Read the letters on their way, none when there is no file yet.

    Raises:
        UsageError: it cannot be read, or is no such file; nothing has been changed.
    """
    try:
        with path.open("rb") as file:
            text = file.read(OCTETS_LIMIT + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(f"state file {path}: {error.strerror}") from None
    if len(text) > OCTETS_LIMIT:
        raise UsageError(f"state file {path}: more than {OCTETS_LIMIT} octets; this is no state file")
    return _decoded(text, path).letters


def _decoded(text: bytes, path: Path) -> _State:
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
        if schema != SCHEMA:
            raise UsageError(f"state file {path}: it has schema {schema}, this mailprobe reads {SCHEMA}")
        return msgspec.json.decode(text, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "it was left as it is; move it away to begin anew"
        raise UsageError(f"state file {path}: this is no state of `trip`: {error}; {hint}") from None


def change_state(path: Path, *, forget: Collection[str] = (), note: Iterable[SentLetter] = ()) -> None:
    """Forget letters by their tokens and note others, the same token anew.

    The file is read again first, so that two runs at once lose nothing of each other's.

    Raises:
        UsageError: it cannot be read or written; it is as it was.
    """
    noted = tuple(note)
    gone = {*forget, *(letter.token for letter in noted)}
    letters = (*(letter for letter in read_state(path) if letter.token not in gone), *noted)
    state = _State(schema=SCHEMA, letters=letters[-LETTERS_LIMIT:])
    try:
        _write(path.resolve(), msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    except OSError as error:
        raise UsageError(f"state file {path}: {error.strerror}; it is as it was") from None


def _write(path: Path, text: bytes) -> None:
    """Put the whole text in the place of the file, on the disk, or leave all as it was."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # readable by its owner alone
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a file descriptor
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets folders be synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
