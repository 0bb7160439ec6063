"""A message on its way in: after DATA up to the lone dot, or in the counted chunks of BDAT.

Memory is bounded by the limit on messages, and every octet is looked at once, however the message is cut.
"""

from __future__ import annotations

from mailprobe.protocols.commands import CommandBuffer

END_OF_DATA = b"\r\n.\r\n"


class DataIntake:
    """Text after DATA. It ends with CRLF dot CRLF and nothing else: any other end would let mail be smuggled."""

    def __init__(self, buffer: CommandBuffer, limit: int) -> None:
        buffer.put_back(b"\r\n")  # the line end before the first line of text
        self._buffer = buffer
        self._limit = limit
        self._most = limit * 4 // 3 + len(END_OF_DATA)  # a message of lone dots grows by a third in stuffing
        self.too_big = False

    def take(self) -> bytes | None:
        """Give the whole message with its dots undone (RFC 5321 §4.5.2), or None when more is needed."""
        stuffed = self._buffer.until(END_OF_DATA)
        if stuffed is None:
            if len(self._buffer) > self._most:
                self.too_big = True
            if self.too_big:
                self._buffer.keep_last(len(END_OF_DATA) - 1)
            return None
        if stuffed == END_OF_DATA:
            return b""
        text = stuffed[3 if stuffed.startswith(b"\r\n.") else 2 : -3].replace(b"\r\n.", b"\r\n")
        self.too_big = self.too_big or len(text) > self._limit
        return text


class ChunkIntake:
    """The chunks of one message (RFC 3030). Chunks of a transaction that is *refused* are swallowed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = 0
        self.data = bytearray()
        self.last = False
        self.refused = False
        self.too_big = False

    def begin(self, size: int, last: bool) -> None:
        """Expect the next chunk."""
        self._left, self.last = size, last

    @property
    def complete(self) -> bool:
        """True when the whole chunk is here."""
        return self._left == 0

    def take(self, buffer: CommandBuffer) -> bool:
        """Take what has come of the chunk; False when nothing has."""
        fresh = buffer.take(self._left)
        self._left -= len(fresh)
        if not self.refused and not self.too_big:
            self.data += fresh
            if len(self.data) + self._left > self._limit:
                self.too_big = True
                self.data.clear()
        return bool(fresh)
