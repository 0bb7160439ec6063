"""What earlier runs have sent and nobody has found yet: a file, written whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Struct
from mailprobe.model.files import read_whole, write_whole
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
        text = read_whole(path, OCTETS_LIMIT)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(f"state file {path}: {error.strerror}") from None
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
        write_whole(path, msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n", private=True)
    except OSError as error:
        raise UsageError(f"state file {path}: {error.strerror}; it is as it was") from None
