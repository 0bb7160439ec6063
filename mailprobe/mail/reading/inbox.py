"""What POP3 and IMAP have in common for whoever reads mail: letters with ids that last, found by a header field."""

from __future__ import annotations

import abc
import re
import secrets
from collections.abc import Callable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header

import msgspec

from mailprobe.mail.login import Login
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Place
from mailprobe.model.held import LetterRow
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.records.header import values

LETTER_LIMIT = 67_108_864
SESSION_LIMIT = 8_388_608  # octets beside letters
AROUND = 65_536  # octets that may come with a letter
NEWEST = 50  # letters that are looked at one by one: where the server cannot search, and in lists

_JUNK_NAMES = {
    "junk",
    "spam",
    "junk mail",
    "junk e-mail",
    "junk email",
    "junk-e-mail",
    "bulk",
    "bulk mail",
    "spamverdacht",
    "courrier indésirable",
}
_VALUE_LIMIT = 1_000

Recognise = Callable[[bytes], bool]  # tells by a header whether it is that of the letter that is meant


class Folder(msgspec.Struct, frozen=True):
    """A mailbox of the user; *attributes* are the server's words, such as ``\\Junk``."""

    name: str
    attributes: tuple[str, ...] = ()
    delimiter: str | None = None

    @property
    def is_junk(self) -> bool:
        """Tell whether it is where suspicious mail goes: by its special use (RFC 6154 §2), or by its name."""
        if any(attribute.lower() == "\\junk" for attribute in self.attributes):
            return True
        last = self.name.rpartition(self.delimiter)[2] if self.delimiter else self.name
        return last.lower() in _JUNK_NAMES

    @property
    def can_be_opened(self) -> bool:
        """Tell whether there can be letters in it."""
        return not {"\\noselect", "\\nonexistent"} & {attribute.lower() for attribute in self.attributes}


class Deleted(msgspec.Struct, frozen=True):
    """The uids of the letters that are gone; *note* says why others are not, empty when all of them are gone."""

    uids: tuple[str, ...]
    note: str = ""


class Inbox(abc.ABC):
    """A user's mail at one server. A letter is named by a uid, a text that lasts as long as `validity` stays the same.

    Every method may raise `mailprobe.collect.dialogue.Stopped`; `end` never does, and is due however it went.
    """

    def __init__(
        self, network: Network, place: Place, login: Login, deadline: Deadline, *, poll_s: float, letter_limit: int
    ) -> None:
        self.place = place
        self._network = network
        self._login = login
        self._deadline = deadline
        self._poll_s = poll_s
        self._letter_limit = letter_limit
        self._inside = False
        self._era = secrets.token_hex(8)
        self.visit = self._new_visit()

    def _new_visit(self) -> Visit:
        return Visit(self._network, self.place, self._deadline, octets_limit=SESSION_LIMIT)

    async def _enter(self) -> None:
        """Connect and log in; a visit that has ended is followed by a new one."""
        if self.visit.dialogue.stream is not None:
            await self.visit.end()
            self.visit = self._new_visit()
        self._era = secrets.token_hex(8)
        await self.visit.begin()
        await self.visit.log_in(self._login)
        self._inside = True

    @abc.abstractmethod
    async def open(self, folder: str = "INBOX") -> int:
        """Open a folder, connecting and logging in first if need be; give how many letters are in it."""

    @abc.abstractmethod
    async def folders(self) -> tuple[Folder, ...]:
        """Give the user's folders; POP3 knows one."""

    @abc.abstractmethod
    async def uids(self) -> tuple[str, ...]:
        """Give the uids of all letters in the open folder, the oldest first."""

    @abc.abstractmethod
    async def letters(self) -> tuple[LetterRow, ...]:
        """List all letters in the open folder, the oldest first; the newest with what their headers say."""

    @abc.abstractmethod
    async def search(self, name: str, token: str) -> tuple[str, ...]:
        """Give the uids of the letters whose header field *name* holds *token* as a whole word."""

    @abc.abstractmethod
    async def headers(self, uid: str) -> bytes:
        """Give the header of a letter."""

    @abc.abstractmethod
    async def fetch(self, uid: str) -> bytes:
        """Give a letter as it is stored, and change nothing about it."""

    @abc.abstractmethod
    def validity(self, uid: str) -> str:
        """Tell for how long a uid of the open folder names this letter: while this text is the same, in any visit.

        A server may give its uids to other letters (UIDVALIDITY, RFC 9051 §2.3.1.1), or know none that outlast a visit.
        """

    @abc.abstractmethod
    async def delete(self, letters: Mapping[str, Recognise]) -> Deleted:
        """Delete the letters with these uids, and no others.

        Directly before, each header is fetched once more; one that is not recognised is another's, and stays. Over
        POP3 the letters are gone once the visit ends.
        """

    @abc.abstractmethod
    async def wait(self, seconds: float) -> bool:
        """Wait until something new may be there, for so many seconds at most; False when nothing came."""

    async def named(self, text: str) -> str:
        """Give the uid of the letter that a person means, by its uid or, over POP3, its number."""
        return text

    async def end(self) -> None:
        """Say goodbye; `open` may follow."""
        self._inside = False
        await self.visit.end()

    def record(self) -> Conversation:
        """Write down the visit that goes on now, or went on last."""
        return self.visit.record()


def holds(header: bytes, name: str, token: str) -> bool:
    """Tell whether a field of that name holds the token, in upper or lower case, not as a part of a longer word."""
    octets = token.encode("utf-8").decode("latin-1")  # as the values are
    wanted = re.compile(rf"(?<![\w.-]){re.escape(octets)}(?![\w.-])", re.ASCII | re.IGNORECASE)
    return any(wanted.search(value) for value in values(header, name))


def holding(name: str, token: str) -> Recognise:
    """Recognise letters by a token in a header field."""
    return lambda header: holds(header, name, token)


def what_is_left(wanted: int, missing: int, others: int) -> str:
    """Say which of the letters that were to be deleted were not."""
    said = [f"{missing} of {wanted} were gone already"] if missing else []
    if others:
        said.append(f"{others} of {wanted} are left there: another letter has that place now")
    return "; ".join(said)


def letter_row(
    number: int, uid: str, size: int | None, flags: tuple[str, ...] | None, header: bytes | None
) -> LetterRow:
    """Put together what a list shows of a letter."""
    date, sender, subject = (_readable(header, name) for name in ("Date", "From", "Subject"))
    return LetterRow(number=number, uid=uid, size=size, flags=flags, date=date, sender=sender, subject=subject)


def _readable(header: bytes | None, name: str) -> str | None:
    """Give the first field of that name with its encoded words (RFC 2047) decoded; as it is where they cannot be."""
    if header is None:
        return None
    found = next(iter(values(header, name)), "")[:_VALUE_LIMIT]
    if "=?" not in found:
        return found.encode("latin-1").decode("utf-8", "replace")
    try:
        return str(make_header(decode_header(found)))
    except (LookupError, ValueError, HeaderParseError):  # an unknown charset, or octets that are none of it
        return found
