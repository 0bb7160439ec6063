"""The client side of POP3 (RFC 1939, RFC 2449, RFC 2595, RFC 5034): every command as octets, every reply read.

Long replies, which are lists and letters, are kept apart from the reply: it has their first lines and their size, and
`Pop3Client.take_body` gives the octets.
"""

from __future__ import annotations

import base64
import hashlib
import re

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Kind, Reply
from mailprobe.protocols.client import OCTETS_SHOWN, Client, argument, first_lines
from mailprobe.protocols.lines import QUIRK_BARE_LF

LETTER_LIMIT = 67_108_864
LIST_LIMIT = 8_388_608  # a hundred thousand letters

_STATUS = re.compile(r"(\+OK|-ERR)(?:$|\s)", re.IGNORECASE)
_CHALLENGE = re.compile(r"\+(?: |$)")  # RFC 5034 §4
_APOP_STAMP = re.compile(r"<[^<>@\s]+@[^<>\s]+>")  # RFC 1939 §7: the syntax of an RFC 822 msg-id
_RESPONSE_CODE = re.compile(r"(?:\+OK|-ERR)\s+\[([^\]]*)\]", re.IGNORECASE)  # RFC 2449 §8
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1
_NUMBERS = re.compile(r"\+OK\s+([0-9]{1,18})\s+([0-9]{1,18})(?:\s|$)", re.IGNORECASE)
_LISTED = re.compile(rb"([0-9]{1,9})[ \t]+([!-~]{1,1000})")  # RFC 1939 §7 says 70 for a UIDL; real ones are longer

QUIRK_LOWER_CASE = "lower-case-status"


class Pop3Client(Client):
    """Speaks the client's part of POP3, without I/O."""

    def __init__(self) -> None:
        super().__init__()
        self._forget_what_was_asked()
        self._body = bytearray()

    def _forget_what_was_asked(self) -> None:
        self._multi_line = False
        self._body_limit: int | None = None  # the reply has a body to be kept apart
        self._in_body = False
        self._searched = 0
        self._logging_in = False

    # -- what is read ------------------------------------------------------------------------------------------

    def next_reply(self) -> Reply | None:
        """Return the next whole reply, the dots of a multi-line one unstuffed. See `Client.next_reply`.

        A challenge, while logging in, has the status ``+``.
        """
        if self._in_body:
            return self._next_body()
        while (line := self._next_line()) is not None:
            if len(self._lines) == 1:
                if self._logging_in and _CHALLENGE.match(line):
                    return self._finish("+")
                if not (self._multi_line and _status(line) == "+OK"):
                    return self._finish(self._noted_status(line))
                if self._body_limit is not None:
                    return self._begin_body()
            elif line == ".":
                self._lines.pop()
                return self._finish(self._noted_status(self._lines[0]))
            elif line.startswith("."):
                self._lines[-1] = line[1:]
        return None

    def take_body(self) -> bytes:
        """Remove and return the octets of the last list or letter: dots unstuffed, without the line that ends it."""
        body, self._body = bytes(self._body), bytearray()
        return body

    def partial_lines(self) -> tuple[str, ...]:
        """As `Client.partial_lines`, with how much of a body has come."""
        lines = super().partial_lines()
        return (*lines, f"[{len(self._body)} octets so far]") if self._in_body else lines

    def _begin_body(self) -> Reply | None:
        self._in_body = True
        self._searched = 0
        self._body.clear()
        return self._next_body()

    def _next_body(self) -> Reply | None:
        """Look for the end of a body, in linear time: CRLF "." CRLF, or with LF alone where the server writes that."""
        assert self._body_limit is not None
        self._body += self._buffer.take_all()
        newline = b"\n" if QUIRK_BARE_LF in self._quirks else b"\r\n"
        ending = b"." + newline
        end = 0 if self._body.startswith(ending) else -1
        if end < 0:
            found = self._body.find(newline + ending, self._searched)
            end = found + len(newline) if found >= 0 else -1
        if (end if end >= 0 else len(self._body)) > self._body_limit:
            raise RemoteProtocolError(f"a list or letter of more than {self._body_limit} octets", Kind.LIMIT)
        if end < 0:
            self._searched = max(0, len(self._body) - len(newline + ending) + 1)
            return None
        self._buffer.feed(bytes(self._body[end + len(ending) :]))
        del self._body[end:]
        self._unstuff(newline)
        return self._finish_body()

    def _unstuff(self, newline: bytes) -> None:
        if self._body.startswith(b"."):
            del self._body[:1]
        if newline + b"." in self._body:
            self._body = self._body.replace(newline + b".", newline)

    def _finish_body(self) -> Reply:
        self._in_body = self._multi_line = False
        self._lines += first_lines(bytes(self._body[:OCTETS_SHOWN]), len(self._body))
        return self._finish(self._noted_status(self._lines[0]))

    def secured(self) -> None:
        """Forget what was learnt in clear, and that a list was asked for."""
        super().secured()
        self._forget_what_was_asked()
        self._body.clear()

    # -- what is asked -----------------------------------------------------------------------------------------

    def capa(self) -> bytes:
        """Ask for the capabilities (RFC 2449 §5)."""
        return self._command("CAPA", multi_line=True)

    def stls(self) -> bytes:
        """Ask to change to TLS (RFC 2595 §4)."""
        if self.secure:
            raise LocalProtocolError("STLS belongs before TLS")
        return self._command("STLS")

    def user(self, name: str) -> bytes:
        """Say who wants in; the password follows."""
        return self._command(f"USER {_word(name, 'user name')}")

    def pass_(self, password: str) -> bytes:
        """Show the password. It may hold spaces (RFC 1939 §7)."""
        return self._command(f"PASS {argument(password)}")

    def apop(self, name: str, password: str, stamp: str) -> bytes:
        """Show that we know the password, by the stamp of the greeting (RFC 1939 §7)."""
        digest = hashlib.md5((stamp + password).encode("utf-8"), usedforsecurity=False).hexdigest()
        return self._command(f"APOP {_word(name, 'user name')} {digest}")

    def auth(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """Begin a login by SASL (RFC 5034 §4); *initial* None: the server speaks first."""
        if not _MECHANISM.fullmatch(mechanism):
            raise LocalProtocolError(f"{mechanism!r} is no name of a SASL mechanism")
        said = "" if initial is None else f" {base64.b64encode(initial).decode('ascii') or '='}"
        command = self._command(f"AUTH {mechanism}{said}")
        self._logging_in = True
        return command

    def auth_response(self, octets: bytes) -> bytes:
        """Answer a challenge."""
        return base64.b64encode(octets) + b"\r\n"

    def auth_cancel(self) -> bytes:
        """Break off a login instead of answering a challenge."""
        return b"*\r\n"

    def stat(self) -> bytes:
        """Ask how many letters there are, and how large they are together."""
        return self._command("STAT")

    def list(self, number: int | None = None) -> bytes:
        """Ask for the size of every letter, or of one."""
        return self._listing("LIST", number)

    def uidl(self, number: int | None = None) -> bytes:
        """Ask for the unique id of every letter, or of one."""
        return self._listing("UIDL", number)

    def top(self, number: int, lines: int, limit: int = LETTER_LIMIT) -> bytes:
        """Ask for the header of a letter and the first *lines* of its body, *limit* octets at most."""
        return self._command(f"TOP {number:d} {lines:d}", multi_line=True, limit=limit)

    def retr(self, number: int, limit: int = LETTER_LIMIT) -> bytes:
        """Ask for a letter of *limit* octets at most; one that is longer ends the conversation."""
        return self._command(f"RETR {number:d}", multi_line=True, limit=limit)

    def dele(self, number: int) -> bytes:
        """Mark a letter as deleted; it is deleted at QUIT."""
        return self._command(f"DELE {number:d}")

    def rset(self) -> bytes:
        """Take back all marks."""
        return self._command("RSET")

    def noop(self) -> bytes:
        """Ask for a sign of life."""
        return self._command("NOOP")

    def quit(self) -> bytes:
        """Say goodbye; what is marked is deleted."""
        return self._command("QUIT")

    def _listing(self, word: str, number: int | None) -> bytes:
        if number is not None:
            return self._command(f"{word} {number:d}")
        return self._command(word, multi_line=True, limit=LIST_LIMIT)

    def _command(self, line: str, *, multi_line: bool = False, limit: int | None = None) -> bytes:
        self._forget_what_was_asked()
        self._multi_line = multi_line
        self._body_limit = limit
        return line.encode("utf-8") + b"\r\n"

    def _noted_status(self, line: str) -> str:
        status = _status(line)
        if not line.startswith(status):
            self._quirks[QUIRK_LOWER_CASE] = None
        return status


def _word(text: str, what: str) -> str:
    if not argument(text) or " " in text:
        raise LocalProtocolError(f"POP3 takes no {what} that is empty or has a space: {text!r}")
    return text


def _status(line: str) -> str:
    match = _STATUS.match(line)
    if match is None:
        raise RemoteProtocolError(f"{line[:200]!r} is no POP3 reply: neither +OK nor -ERR")
    return match[1].upper()


def capa_capabilities(reply: Reply) -> Capabilities:
    """Read the list that a CAPA command gave (RFC 2449 §5)."""
    words = [line.split() for line in reply.lines[1:]]
    items = tuple(Capability(keyword=found[0].upper(), parameters=tuple(found[1:])) for found in words if found)
    return Capabilities(source="asked", items=items)


def apop_stamp(greeting: Reply) -> str | None:
    """Give the stamp by which a greeting offers APOP (RFC 1939 §7), or None."""
    match = _APOP_STAMP.search(greeting.lines[0]) if greeting.lines else None
    return match[0] if match else None


def response_code(reply: Reply) -> str | None:
    """Give the extended response code of a reply in upper case, such as ``SYS/TEMP`` (RFC 3206), or None."""
    match = _RESPONSE_CODE.match(reply.lines[0]) if reply.lines else None
    return match[1].upper() if match else None


def statistics(reply: Reply) -> tuple[int, int] | None:
    """Read the reply to STAT: how many letters, and how many octets; None when it says nothing of the kind."""
    match = _NUMBERS.match(reply.lines[0]) if reply.lines else None
    return (int(match[1]), int(match[2])) if match else None


def size_of(reply: Reply) -> int | None:
    """Read the reply to LIST for one letter: its octets; None when it says nothing of the kind."""
    numbers = statistics(reply)  # it has the same form
    return numbers[1] if numbers is not None else None


def sizes(body: bytes) -> dict[int, int]:
    """Read the list that LIST gave: number to octets. Lines that are none are passed over."""
    found = _listed(body)
    return {number: int(word) for number, word in found.items() if word.isdigit() and len(word) <= 18}


def unique_ids(body: bytes) -> dict[int, str]:
    """Read the list that UIDL gave: number to unique id. Lines that are none are passed over."""
    return {number: word.decode("ascii") for number, word in _listed(body).items()}


def _listed(body: bytes) -> dict[int, bytes]:
    matches = filter(None, map(_LISTED.match, body.split(b"\n")))
    return {int(match[1]): match[2] for match in matches}
