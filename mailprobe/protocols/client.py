"""What the three clients share: bounded reading, one reply at a time, nothing kept across TLS."""

from __future__ import annotations

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Kind, Reply
from mailprobe.protocols.lines import LineBuffer

REPLY_LINES_LIMIT = 1_000
REPLY_OCTETS_LIMIT = 262_144
LINES_SHOWN = 12  # of a letter
LINE_SHOWN = 200
OCTETS_SHOWN = LINES_SHOWN * LINE_SHOWN


class Client:
    """A sans-IO client: commands in, octets out; octets in, replies out.

    Every command method returns the octets to send and may raise LocalProtocolError when the command is not
    allowed in the present state. Feed what arrives to `receive`, then ask `next_reply`.
    """

    def __init__(self) -> None:
        self._buffer = LineBuffer()
        self._lines: list[str] = []
        self._quirks: dict[str, None] = {}
        self._octets = 0
        self._lines_limit = REPLY_LINES_LIMIT  # of one reply; replies that are lists get more
        self._octets_limit = REPLY_OCTETS_LIMIT
        self.secure = False

    def receive(self, data: bytes) -> None:
        """Add octets from the server."""
        self._buffer.feed(data)

    def next_reply(self) -> Reply | None:
        """Return the next whole reply, or None when more octets are needed.

        Raises:
            RemoteProtocolError: the octets are no reply, or more of them than any honest server sends.
        """
        raise NotImplementedError  # pragma: no cover - each protocol has its own

    def take_unread(self) -> bytes:
        """Remove and return the octets that follow the last reply."""
        return self._buffer.take_all()

    def take_unasked(self) -> bytes:
        """Remove and return octets behind the last reply that no server has cause to send before our next command."""
        return self.take_unread()

    def secured(self) -> None:
        """Forget everything learnt in clear, as after a TLS handshake (RFC 3207 §4.2, RFC 9051 §6.2.1)."""
        self._buffer.take_all()
        self._lines.clear()
        self._quirks.clear()
        self._octets = 0
        self.secure = True

    def partial_lines(self) -> tuple[str, ...]:
        """Give the lines of a reply that is still incomplete, for the evidence of a broken conversation."""
        return tuple(self._lines)

    def _next_line(self) -> str | None:
        line = self._buffer.next_line()
        if line is None:
            return None
        text, quirks = line
        self._quirks.update(dict.fromkeys(quirks))
        self._octets += len(text)
        self._lines.append(text)
        if len(self._lines) > self._lines_limit or self._octets > self._octets_limit:
            raise RemoteProtocolError(f"a reply of more than {len(self._lines) - 1} lines without an end", Kind.LIMIT)
        return text

    def _finish(self, status: str) -> Reply:
        reply = Reply(status=status, lines=tuple(self._lines), quirks=tuple(self._quirks))
        self._lines.clear()
        self._quirks.clear()
        self._octets = 0
        return reply


def argument(text: str) -> str:
    """Return a command argument unchanged.

    Raises:
        LocalProtocolError: it holds a control character, which could smuggle in a second command, or half of a
            surrogate pair, which has no octets.
    """
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise LocalProtocolError(f"control character in command argument {text!r}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise LocalProtocolError(f"the command argument {text!r} is no text")
    return text


def first_lines(octets: bytes, size: int) -> list[str]:
    """Give what a transcript shows of a letter that begins with *octets* and has *size* of them."""
    lines = octets[:OCTETS_SHOWN].decode("latin-1").split("\n")
    shown = [line.removesuffix("\r")[:LINE_SHOWN] for line in lines[:LINES_SHOWN]]
    if size <= OCTETS_SHOWN and len(lines) <= LINES_SHOWN:
        return shown[:-1] if shown[-1] == "" else shown
    return [*shown, f"[{size} octets]"]


def empty_capabilities(source: str) -> Capabilities:
    """Give a capability list with nothing in it."""
    return Capabilities(source=source, items=())
