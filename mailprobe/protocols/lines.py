"""Octets to lines, in linear time and bounded space.

A line ends with CRLF in every mail protocol (RFC 5321 §2.3.8, RFC 1939 §3, RFC 9051 §2.2). Servers that end
lines with a bare LF exist; the line is taken and the quirk noted.
"""

from __future__ import annotations

from mailprobe.model.errors import RemoteProtocolError
from mailprobe.model.evidence import Kind

LINE_LIMIT = 16_384  # RFC 5321 §4.5.3.1.5 says 512 for a reply line; real CAPABILITY lines run to thousands
QUIRK_BARE_LF = "bare-lf"
QUIRK_NUL = "nul"
QUIRK_BARE_CR = "bare-cr"


class LineBuffer:
    """Collects octets and hands out whole lines of at most *limit* octets, which may be changed between two lines."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._data = bytearray()
        self._searched = 0  # no line end before this offset: keeps a drip-fed line linear
        self.limit = limit

    def feed(self, data: bytes) -> None:
        """Add octets from the wire."""
        self._data += data

    def next_line(self) -> tuple[str, tuple[str, ...]] | None:
        """Return ``(text, quirks)`` of the next line, or None when more octets are needed.

        Raises:
            RemoteProtocolError: no line end within the limit.
        """
        end = self._data.find(b"\n", self._searched)
        if end > self.limit or (end < 0 and len(self._data) > self.limit):
            raise RemoteProtocolError(f"a line of more than {self.limit} octets", Kind.LIMIT)
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return _text_and_quirks(line)

    def take(self, count: int) -> bytes | None:
        """Return exactly *count* octets (an IMAP literal), or None when they have not all arrived."""
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        self._searched = 0
        return taken

    def take_all(self) -> bytes:
        """Remove and return everything that is unread."""
        taken = bytes(self._data)
        self._data.clear()
        self._searched = 0
        return taken

    def starts_with(self, octets: bytes) -> bool:
        """Tell whether the unread octets begin with *octets*."""
        return self._data.startswith(octets)

    def __len__(self) -> int:
        return len(self._data)


def _text_and_quirks(line: bytes) -> tuple[str, tuple[str, ...]]:
    quirks = []
    if line.endswith(b"\r"):
        line = line[:-1]
    else:
        quirks.append(QUIRK_BARE_LF)
    if b"\r" in line:
        quirks.append(QUIRK_BARE_CR)
    if b"\0" in line:
        quirks.append(QUIRK_NUL)
    return line.decode("latin-1"), tuple(quirks)
