"""The client side of IMAP (RFC 9051, RFC 3501), as much of it as finding out about a server needs."""

from __future__ import annotations

import re

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Kind, Reply
from mailprobe.protocols.client import Client, argument

LITERAL_LIMIT = 65_536
LITERALS_LIMIT = 1_000  # in one line; empty ones cost a server three octets each
_LITERAL = re.compile(r"~?\{([0-9]{1,10})\+?\}$")  # RFC 9051 §4.3, with the forms of RFC 7888 and RFC 3516
_GREETING = re.compile(r"\* (OK|PREAUTH|BYE)(?: |$)", re.IGNORECASE)  # RFC 9051 §7.1
_TAGGED = re.compile(r"([^\s*+]\S*) (OK|NO|BAD)(?: |$)", re.IGNORECASE)
_CAPABILITY_CODE = re.compile(r"\S+ (?:OK|NO|BAD|PREAUTH) \[CAPABILITY ([^\]]*)\]", re.IGNORECASE)  # RFC 9051 §7.1
_CAPABILITY_DATA = re.compile(r"\* CAPABILITY (.*)", re.IGNORECASE)
_RESPONSE_CODE = re.compile(r"\S+ (?:OK|NO|BAD|BYE|PREAUTH) \[([A-Z0-9-]+)([^\]]*)\]", re.IGNORECASE)
_BYE = re.compile(r"\* BYE(?: |$)", re.IGNORECASE)

QUIRK_CONTINUATION = "continuation-unasked"


class ImapClient(Client):
    """Speaks the client's part of IMAP, without I/O.

    *foreign_tags* are tags whose completion is waited for by nobody but must not count as garbage.
    """

    def __init__(self, foreign_tags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._count = 0
        self._tag: str | None = None  # None until a command is sent: the greeting has none
        self._leaving = False
        self._open_line = ""  # a line whose literal has been read and that goes on
        self._literal = 0
        self._literals = 0  # in the open line
        self._foreign_tags = foreign_tags

    def next_reply(self) -> Reply | None:
        """Return the greeting or the completion of the last command with all untagged data before it.

        See `Client.next_reply`. A BYE that was not asked for ends the reply with that status.
        """
        while (line := self._next_whole_line()) is not None:
            status = self._greeting_status(line) if self._tag is None else self._completion(line)
            if status is not None:
                return self._finish(status)
        return None

    def capability(self) -> bytes:
        """Ask for the capabilities (RFC 9051 §6.1.1)."""
        return self._command("CAPABILITY")

    def starttls(self) -> bytes:
        """Ask to change to TLS (RFC 9051 §6.2.1)."""
        if self.secure:
            raise LocalProtocolError("STARTTLS belongs before TLS")
        return self._command("STARTTLS")

    def identify(self) -> bytes:
        """Ask who the server is, telling nothing of us (RFC 2971 §3.1)."""
        return self._command("ID NIL")

    def logout(self) -> bytes:
        """Say goodbye (RFC 9051 §6.1.3)."""
        self._leaving = True
        return self._command("LOGOUT")

    def take_unasked(self) -> bytes:
        """As `Client.take_unasked`; untagged data may come at any time (RFC 9051 §5.2) and waits for the next reply."""
        return b"" if self._buffer.starts_with(b"* ") else self.take_unread()

    def secured(self) -> None:
        """Forget what was learnt in clear, half a line too."""
        super().secured()
        self._open_line = ""
        self._literal = 0
        self._literals = 0

    def _command(self, line: str) -> bytes:
        self._count += 1
        self._tag = f"m{self._count}"
        return f"{self._tag} {argument(line)}\r\n".encode("ascii")

    def _next_whole_line(self) -> str | None:
        """Read a line with all its literals; a literal of n octets continues the line (RFC 9051 §4.3)."""
        while True:
            if self._literal:
                data = self._buffer.take(self._literal)
                if data is None:
                    return None
                self._open_line += data.decode("latin-1")
                self._octets += self._literal
                self._literal = 0
            line = self._next_line()
            if line is None:
                return None
            literal = _LITERAL.search(line)  # before joining: the octets of a literal may look like one
            if self._open_line:
                self._lines.pop()
                self._lines[-1] = line = self._open_line + line
            if literal is None:
                self._open_line = ""
                self._literals = 0
                return line
            self._literal = int(literal[1])
            self._literals += 1
            self._open_line = line
            if self._literal + len(line) > LITERAL_LIMIT or self._literals > LITERALS_LIMIT:
                raise RemoteProtocolError(f"a literal of {self._literal} octets in too long a line", Kind.LIMIT)

    def _greeting_status(self, line: str) -> str:
        match = _GREETING.match(line)
        if match is None:
            raise RemoteProtocolError(f"{line[:200]!r} is no IMAP greeting")
        return match[1].upper()

    def _completion(self, line: str) -> str | None:
        if line.startswith("*"):
            return "BYE" if _BYE.match(line) and not self._leaving else None
        if line.startswith("+"):
            self._quirks[QUIRK_CONTINUATION] = None
            return None
        match = _TAGGED.match(line)
        if match is None:
            raise RemoteProtocolError(f"{line[:200]!r} is no IMAP response")
        if match[1] == self._tag:
            return match[2].upper()
        if match[1] in self._foreign_tags:
            return None
        raise RemoteProtocolError(f"{line[:200]!r} completes {match[1]!r}, but {self._tag!r} was asked")


def capabilities_in(reply: Reply) -> Capabilities | None:
    """Read the last capability list in a reply: data or response code (RFC 9051 §7.1, §7.2.2), or None."""
    found = None
    for line in reply.lines:
        data = _CAPABILITY_DATA.fullmatch(line)
        code = _CAPABILITY_CODE.match(line)
        if data:
            found = Capabilities(source="asked", items=_items(data[1]))
        elif code:
            found = Capabilities(source="greeting", items=_items(code[1]))
    return found


def _items(text: str) -> tuple[Capability, ...]:
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
