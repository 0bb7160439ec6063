"""A conversation and what it was held for: the letters and folders that were there, and what was answered."""

from __future__ import annotations

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Reply, Struct


class FolderRow(Struct, frozen=True, kw_only=True):
    """A mailbox of the user. *junk* tells whether suspicious mail goes there, by special use or by name."""

    name: str
    attributes: tuple[str, ...]
    junk: bool


class LetterRow(Struct, frozen=True, kw_only=True):
    """A letter in a list. None stands for what was not asked, as the headers of all but the newest are not.

    *number* counts from 1 in the server's order; *date*, *sender* and *subject* are as its header says, decoded.
    """

    number: int
    uid: str
    size: int | None
    flags: tuple[str, ...] | None
    date: str | None
    sender: str | None
    subject: str | None


class Answered(Struct, frozen=True, kw_only=True):
    """A command that asked about an address, and the reply."""

    command: str
    reply: Reply


class Held(Struct, frozen=True, kw_only=True):
    """What one command held and learnt.

    *tried* are conversations with other addresses of the host, before, that came to nothing. *letters* is None where
    they were not listed, *letter* the one that was fetched. *stopped* names the stage that it was to stop after, when
    it did.
    """

    conversation: Conversation
    tried: tuple[Conversation, ...]
    folders: tuple[FolderRow, ...]
    letters: tuple[LetterRow, ...] | None
    letter: bytes | None
    answers: tuple[Answered, ...]
    stopped: str
