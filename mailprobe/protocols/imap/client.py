"""The client side of IMAP (RFC 9051, RFC 3501): every command as octets, every response read.

`ImapClient.next_reply` gives a command's completion with the lines before it; `ImapClient.take_responses` what the
untagged ones among them mean. Letters are literals: a reply shows their first lines and their size, the response
holds their octets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

import msgspec

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Kind, Reply
from mailprobe.protocols.client import REPLY_LINES_LIMIT, REPLY_OCTETS_LIMIT, Client, argument, first_lines
from mailprobe.protocols.imap.responses import Piece, Response, parse_response
from mailprobe.protocols.imap.writing import flag_list, item_list, mailbox_word, sequence_set, string
from mailprobe.protocols.lines import LINE_LIMIT

LITERAL_LIMIT = 65_536
LITERALS_LIMIT = 1_000  # in one line; empty ones cost a server three octets each
LETTER_LIMIT = 67_108_864
LITERAL_MINUS_LIMIT = 4_096  # RFC 7888 §5
_LITERAL = re.compile(r"~?\{([0-9]{1,10})\+?\}$")  # RFC 9051 §4.3, with the forms of RFC 7888 and RFC 3516
_GREETING = re.compile(r"\* (OK|PREAUTH|BYE)(?: |$)", re.IGNORECASE)  # RFC 9051 §7.1
_TAGGED = re.compile(r"([^\s*+]\S*) (OK|NO|BAD)(?: |$)", re.IGNORECASE)
_CAPABILITY_CODE = re.compile(r"\S+ (?:OK|NO|BAD|PREAUTH) \[CAPABILITY ([^\]]*)\]", re.IGNORECASE)  # RFC 9051 §7.1
_CAPABILITY_DATA = re.compile(r"\* CAPABILITY (.*)", re.IGNORECASE)
_RESPONSE_CODE = re.compile(r"\S+ (?:OK|NO|BAD|BYE|PREAUTH) \[([A-Z0-9-]+)([^\]]*)\]", re.IGNORECASE)
_BYE = re.compile(r"\* BYE(?: |$)", re.IGNORECASE)
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1

QUIRK_CONTINUATION = "continuation-unasked"


class Room(msgspec.Struct, frozen=True):
    """How much a reply may hold: lines, octets outside long literals, octets of one line, octets of literals in it.

    With *letters* a literal is shown by its first lines.
    """

    lines: int = REPLY_LINES_LIMIT
    octets: int = REPLY_OCTETS_LIMIT
    line: int = LINE_LIMIT
    literal: int = LITERAL_LIMIT
    letters: bool = False


USUAL = Room()
LISTING = Room(lines=200_000, octets=16_777_216, line=4_194_304)  # a hundred thousand letters


class ImapClient(Client):
    """Speaks the client's part of IMAP, without I/O.

    *foreign_tags* are tags whose completion is waited for by nobody but must not count as garbage.

    A command that holds literals may have to wait for the server in its middle: then the reply is a ``+``, and `go_on`
    gives the rest. The same goes for `authenticate`, whose challenges are answered by `auth_response`, and for
    `idle`, which `done` ends.
    """

    def __init__(self, foreign_tags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._count = 0
        self._tag: str | None = None  # None until a command is sent: the greeting has none
        self._leaving = False
        self._open_line = ""  # a line whose literal has been read and that goes on
        self._pieces: list[Piece] = []  # of the open line
        self._literal = 0
        self._literals = 0  # in the open line
        self._literal_octets = 0
        self._foreign_tags = foreign_tags
        self._room = USUAL
        self._responses: list[Response] = []
        self._rest: list[bytes] = []  # of a command that waits for the server
        self._waits = False  # a continuation is due
        self._at_once = 0  # octets of a literal that need not wait for the server (RFC 7888)

    # -- what is read ------------------------------------------------------------------------------------------

    def next_reply(self) -> Reply | None:
        """Return the greeting or the completion of the last command with all untagged data before it.

        See `Client.next_reply`. A BYE that was not asked for ends the reply with that status.
        """
        while (line := self._next_whole_line()) is not None:
            status = self._greeting_status(line) if self._tag is None else self._completion(line)
            if status is not None:
                return self._finish(status)
        return None

    def take_responses(self) -> tuple[Response, ...]:
        """Remove and return what the server said without tag, in order, up to the last reply."""
        responses, self._responses = tuple(self._responses), []
        return responses

    @property
    def waits(self) -> bool:
        """True while the server has something to be told by `go_on`, `auth_response` or `done`."""
        return self._waits

    def learn(self, capabilities: Capabilities | None) -> None:
        """Learn whether literals need to wait for the server (RFC 7888)."""
        self._at_once = 0
        if capabilities is not None and capabilities.has("LITERAL+"):
            self._at_once = LETTER_LIMIT
        elif capabilities is not None and (capabilities.has("LITERAL-") or capabilities.has("IMAP4REV2")):
            self._at_once = LITERAL_MINUS_LIMIT

    def take_unasked(self) -> bytes:
        """As `Client.take_unasked`; untagged data may come at any time (RFC 9051 §5.2) and waits for the next reply."""
        return b"" if self._buffer.starts_with(b"* ") else self.take_unread()

    def secured(self) -> None:
        """Forget what was learnt in clear, half a line too."""
        super().secured()
        self._open_line = ""
        self._pieces.clear()
        self._literal = self._literals = self._literal_octets = 0
        self._responses.clear()
        self._rest.clear()
        self._waits = False
        self._at_once = 0

    def _next_whole_line(self) -> str | None:
        """Read a line with all its literals; a literal of n octets continues the line (RFC 9051 §4.3)."""
        while True:
            if self._literal and not self._take_literal():
                return None
            line = self._next_line()
            if line is None:
                return None
            literal = _LITERAL.search(line)  # before joining: the octets of a literal may look like one
            self._pieces.append(line[: literal.start()] if literal else line)
            if self._open_line and not self._room.letters:
                self._lines.pop()
                self._lines[-1] = line = self._open_line + line
            if literal is None:
                return self._whole(line)
            self._expect(int(literal[1]), line)

    def _take_literal(self) -> bool:
        data = self._buffer.take(self._literal)
        if data is None:
            return False
        if self._room.letters:
            self._lines += first_lines(data, len(data))
        else:
            self._open_line += data.decode("latin-1")
            self._octets += self._literal
        self._pieces.append(data)
        self._literal = 0
        return True

    def _expect(self, count: int, line: str) -> None:
        self._literal = count
        self._literals += 1
        self._literal_octets += count
        if not self._room.letters or not self._open_line:
            self._open_line = line
        too_much = self._literal_octets if self._room.letters else count + len(line)
        if too_much > self._room.literal or self._literals > LITERALS_LIMIT:
            raise RemoteProtocolError(f"a literal of {count} octets in too long a line", Kind.LIMIT)
        if not count:
            self._pieces.append(b"")

    def _whole(self, line: str) -> str:
        """End a line; give what tells it from others, which is its beginning."""
        line = self._open_line if self._room.letters and self._open_line else line
        pieces, self._pieces = self._pieces, []
        self._open_line = ""
        self._literals = self._literal_octets = 0
        if line.startswith("*"):
            self._responses.append(parse_response(pieces))
        return line

    def _greeting_status(self, line: str) -> str:
        match = _GREETING.match(line)
        if match is None:
            raise RemoteProtocolError(f"{line[:200]!r} is no IMAP greeting")
        return match[1].upper()

    def _completion(self, line: str) -> str | None:
        if line.startswith("*"):
            return "BYE" if _BYE.match(line) and not self._leaving else None
        if line.startswith("+"):
            if self._waits:
                return "+"
            self._quirks[QUIRK_CONTINUATION] = None
            return None
        match = _TAGGED.match(line)
        if match is None:
            raise RemoteProtocolError(f"{line[:200]!r} is no IMAP response")
        if match[1] == self._tag:
            self._waits = False
            self._rest.clear()
            return match[2].upper()
        if match[1] in self._foreign_tags:
            return None
        raise RemoteProtocolError(f"{line[:200]!r} completes {match[1]!r}, but {self._tag!r} was asked")

    # -- what is asked -----------------------------------------------------------------------------------------

    def capability(self) -> bytes:
        """Ask for the capabilities (RFC 9051 §6.1.1)."""
        return self._command("CAPABILITY")

    def noop(self) -> bytes:
        """Ask for a sign of life, and for news (RFC 9051 §6.1.2)."""
        return self._command("NOOP")

    def starttls(self) -> bytes:
        """Ask to change to TLS (RFC 9051 §6.2.1)."""
        if self.secure:
            raise LocalProtocolError("STARTTLS belongs before TLS")
        return self._command("STARTTLS")

    def identify(self) -> bytes:
        """Ask who the server is, telling nothing of us (RFC 2971 §3.1)."""
        return self._command("ID NIL")

    def namespace(self) -> bytes:
        """Ask below which prefixes mailboxes live (RFC 9051 §6.3.10)."""
        return self._command("NAMESPACE")

    def logout(self) -> bytes:
        """Say goodbye (RFC 9051 §6.1.3)."""
        self._leaving = True
        return self._command("LOGOUT")

    def login(self, user: str, password: str) -> bytes:
        """Show name and password (RFC 9051 §6.2.3)."""
        return self._command("LOGIN", string(user), string(password))

    def authenticate(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """Begin a login by SASL (RFC 9051 §6.2.2); *initial* only where SASL-IR is offered (RFC 4959)."""
        if not _MECHANISM.fullmatch(mechanism):
            raise LocalProtocolError(f"{mechanism!r} is no name of a SASL mechanism")
        said = () if initial is None else (base64.b64encode(initial).decode("ascii") or "=",)
        command = self._command("AUTHENTICATE", mechanism, *said)
        self._waits = True
        return command

    def auth_response(self, octets: bytes) -> bytes:
        """Answer a challenge."""
        return base64.b64encode(octets) + b"\r\n"

    def auth_cancel(self) -> bytes:
        """Break off a login instead of answering a challenge."""
        return b"*\r\n"

    def select(self, mailbox: str) -> bytes:
        """Open a mailbox (RFC 9051 §6.3.2)."""
        return self._command("SELECT", mailbox_word(mailbox))

    def examine(self, mailbox: str) -> bytes:
        """Open a mailbox and change nothing in it (RFC 9051 §6.3.3)."""
        return self._command("EXAMINE", mailbox_word(mailbox))

    def close(self) -> bytes:
        """Leave the mailbox, and expunge what is marked as deleted, unless it was opened by EXAMINE (§6.4.1)."""
        return self._command("CLOSE")

    def list(self, pattern: str = "*", *, special_use: bool = False) -> bytes:
        """Ask for mailboxes; with *special_use* for what each is there for, too (RFC 6154 §5.2)."""
        returned = ("RETURN (SPECIAL-USE)",) if special_use else ()
        return self._command("LIST", '""', mailbox_word(pattern), *returned, room=LISTING)

    def status(self, mailbox: str, *items: str) -> bytes:
        """Ask for numbers about a mailbox, such as ``MESSAGES`` and ``UIDNEXT`` (RFC 9051 §6.3.11)."""
        return self._command(
            "STATUS", mailbox_word(mailbox), item_list(items or ("MESSAGES", "UIDNEXT", "UIDVALIDITY"))
        )

    def uid_search(self, *criteria: str | bytes) -> bytes:
        """Ask for the uids of letters that all the criteria fit (RFC 9051 §6.4.4); `header_is` writes some."""
        charset = ("CHARSET", "UTF-8") if any(isinstance(word, bytes) for word in criteria) else ()
        return self._command("UID", "SEARCH", *charset, *criteria, room=LISTING)

    def uid_fetch(self, uids: Iterable[int] | str, *items: str, limit: int = LETTER_LIMIT) -> bytes:
        """Ask for facts about letters, or for the octets of one, such as ``BODY.PEEK[]`` (RFC 9051 §6.4.5).

        *uids* may be a range, as ``5:*``. A literal of more than *limit* octets ends the conversation.
        """
        room = msgspec.structs.replace(LISTING, literal=limit, letters=True)
        return self._command("UID", "FETCH", sequence_set(uids), item_list(items), room=room)

    def uid_store(self, uids: Iterable[int], *flags: str, remove: bool = False) -> bytes:
        """Set flags of letters, or remove them (RFC 9051 §6.4.6)."""
        sign = "-" if remove else "+"
        return self._command("UID", "STORE", sequence_set(uids), f"{sign}FLAGS.SILENT", flag_list(flags))

    def uid_expunge(self, uids: Iterable[int]) -> bytes:
        """Remove these letters for good, if they are marked as deleted (RFC 4315 §2.1)."""
        return self._command("UID", "EXPUNGE", sequence_set(uids), room=LISTING)

    def expunge(self) -> bytes:
        """Remove every letter that is marked as deleted, whoever marked it (RFC 9051 §6.4.3)."""
        return self._command("EXPUNGE", room=LISTING)

    def append(self, mailbox: str, octets: bytes, *flags: str) -> bytes:
        """Store a letter (RFC 9051 §6.3.12)."""
        marks = (flag_list(flags),) if flags else ()
        return self._command("APPEND", mailbox_word(mailbox), *marks, octets)

    def idle(self) -> bytes:
        """Ask to be told news as they come (RFC 2177); after the ``+`` only `done` may be sent."""
        command = self._command("IDLE", room=LISTING)
        self._waits = True
        return command

    def done(self) -> bytes:
        """End `idle`."""
        self._waits = False
        return b"DONE\r\n"

    def go_on(self) -> bytes:
        """Give what follows of a command that the server has said ``+`` to."""
        if not self._rest:
            raise LocalProtocolError("the command is sent whole")
        piece = self._rest.pop(0)
        self._waits = bool(self._rest)
        return piece

    def _command(self, *words: str | bytes, room: Room = USUAL) -> bytes:
        """Put a command together; a word of octets goes as a literal."""
        self._count += 1
        self._tag = f"m{self._count}"
        self._room = room
        self._buffer.limit = room.line
        self._lines_limit, self._octets_limit = room.lines, room.octets
        pieces = [bytearray(self._tag, "ascii")]
        for word in words:
            if isinstance(word, str):
                pieces[-1] += b" " + argument(word).encode("ascii")
                continue
            at_once = len(word) <= self._at_once
            pieces[-1] += b" {%d%s}\r\n" % (len(word), b"+" if at_once else b"")
            if not at_once:
                pieces.append(bytearray())
            pieces[-1] += word
        pieces[-1] += b"\r\n"
        first, *self._rest = (bytes(piece) for piece in pieces)
        self._waits = bool(self._rest)
        return first


def capabilities_in(reply: Reply) -> Capabilities | None:
    """Read the last capability list in a reply: data or response code (RFC 9051 §7.1, §7.2.2), or None."""
    found = None
    for line in reply.lines:
        data = _CAPABILITY_DATA.fullmatch(line)
        code = _CAPABILITY_CODE.match(line)
        if data:
            found = Capabilities(source="asked", items=_capability_items(data[1]))
        elif code:
            found = Capabilities(source="greeting", items=_capability_items(code[1]))
    return found


def _capability_items(text: str) -> tuple[Capability, ...]:
    items = []
    for word in text.split():
        keyword, equals, value = word.partition("=")
        known = keyword.upper() == "AUTH" and equals
        items.append(
            Capability(keyword="AUTH", parameters=(value,))
            if known
            else Capability(keyword=word.upper(), parameters=())
        )
    return tuple(items)


def response_code(reply: Reply) -> tuple[str, str] | None:
    """Give ``(CODE, arguments)`` of the last line's response code (RFC 9051 §7.1), or None."""
    match = _RESPONSE_CODE.match(reply.lines[-1]) if reply.lines else None
    return (match[1].upper(), match[2].strip()) if match else None
