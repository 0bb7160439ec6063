"""What the three server cores share: a bounded line buffer and the life of a conversation.

A server has to survive any client. What is kept of a line that is too long is nothing, what is kept of
octets that came too early is PENDING_LIMIT, and replies are made only as fast as they are taken away.
"""

from __future__ import annotations

from collections.abc import Collection

from mailprobe.model.errors import RemoteProtocolError
from mailprobe.model.evidence import Kind
from mailprobe.protocols.events import Accept, Close, Event, Send, StartTls
from mailprobe.protocols.mailstore import Verdict
from mailprobe.protocols.sasl import ChannelBinding

AUTH_LINE_LIMIT = 12288  # RFC 4954 §4
PENDING_LIMIT = 65536
ENDLESS = 1 << 20  # a line without an end after this many octets is an attack
OUTPUT_MARK = 1 << 18  # after this much output a core waits to be asked again


class OverlongLineError(RemoteProtocolError):
    """A client sent a longer line than is read; *endless* when even its end never came."""

    def __init__(self, endless: bool) -> None:
        super().__init__("line too long", Kind.LIMIT)
        self.endless = endless


class CommandBuffer:
    """Octets on their way to become commands."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Add octets."""
        self._data += data

    def line(self, limit: int) -> bytes | None:
        """Remove and give one line without its end (CRLF, or LF alone), or None when more is needed.

        Raises:
            OverlongLineError: the line has more than *limit* octets, end included; it is gone.
        """
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            self._drop_overlong(limit)
            return None
        line = self.take(end + 1)
        dropped, self._dropped = self._dropped, 0
        if dropped or len(line) > limit:
            raise OverlongLineError(endless=False)
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _drop_overlong(self, limit: int) -> None:
        self._searched = len(self._data)
        if self._dropped or len(self._data) > limit:
            self._dropped += len(self._data)
            self.clear()
            if self._dropped > ENDLESS:
                raise OverlongLineError(endless=True)

    def until(self, mark: bytes) -> bytes | None:
        """Remove and give everything up to and with *mark*, or None when more is needed."""
        end = self._data.find(mark, self._searched)
        if end < 0:
            self._searched = max(0, len(self._data) - len(mark) + 1)
            return None
        return self.take(end + len(mark))

    def keep_last(self, count: int) -> None:
        """Forget everything but the last *count* octets."""
        del self._data[: max(0, len(self._data) - count)]
        self._searched = 0

    def take(self, count: int) -> bytes:
        """Remove and give at most *count* octets."""
        taken = bytes(memoryview(self._data)[:count])  # one copy, not two
        del self._data[:count]
        self._searched = 0
        return taken

    def take_all(self) -> bytes:
        """Remove and give everything."""
        return self.take(len(self._data))

    def put_back(self, data: bytes) -> None:
        """Put octets back to the front."""
        self._data[:0] = data
        self._searched = 0

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()
        self._searched = 0


class Conversation:
    """The part of a server core that is the same in every protocol.

    A subclass gives ``_step``, which handles one command or piece of a message from ``_buffer`` and tells
    whether it could, and ``_forget``, which drops what was learnt before TLS.
    """

    def __init__(self) -> None:
        self._buffer = CommandBuffer()
        self._events: list[Event] = []
        self._produced = 0
        self._waits_for_tls = False
        self._pending: Accept | None = None
        self._closed = False
        self._secure = False
        self._mistakes = 0
        self._address = ""
        self._tls = ""
        self._bindings: tuple[ChannelBinding, ...] = ()
        self._identity: str | None = None

    @property
    def secure(self) -> bool:
        """True inside TLS."""
        return self._secure

    def met(self, address: str) -> None:
        """Learn the client's IP address, before anything else."""
        self._address = address

    def receive(self, data: bytes) -> list[Event]:
        """Take octets and give what they cause; call again with ``b""`` until nothing comes."""
        if self._closed:
            return []
        if self._waits_for_tls:
            self._buffer.feed(data[: max(0, PENDING_LIMIT - len(self._buffer))])
            return []
        self._buffer.feed(data)
        return self._go_on()

    def _go_on(self) -> list[Event]:
        while not self._stands_still and self._produced < OUTPUT_MARK:
            if not self._step():
                break
        return self._drain()

    @property
    def _stands_still(self) -> bool:
        return self._closed or self._waits_for_tls or self._pending is not None

    def accepted(self, *verdicts: Verdict) -> list[Event]:
        """Learn what becomes of the message in ``Accept``, which most protocols never give."""
        raise NotImplementedError

    def deliver(self) -> list[Event]:
        """Put the message in ``Accept`` into the mail store at once, and go on as after ``accepted``."""
        raise NotImplementedError

    def ended(self) -> None:
        """Learn that the connection is gone, however it went."""

    def secured(self, tls: str = "", bindings: Collection[ChannelBinding] = (), identity: str | None = None) -> None:
        """Learn that the handshake is finished, and forget everything before it (RFC 3207 §4.2)."""
        self._buffer.clear()
        self._waits_for_tls = False
        self._secure = True
        self._tls, self._bindings, self._identity = tls, tuple(bindings), identity
        self._forget()

    def resume(self) -> list[Event]:
        """Learn that the TLS that was asked for will not come; carry on in clear."""
        self._waits_for_tls = False
        return self.receive(b"")

    def take_pending(self) -> bytes:
        """Remove and give the octets that came behind the command that asked for TLS."""
        return self._buffer.take_all()

    def updates(self) -> list[Event]:
        """Give what can be said unasked; nothing, in most protocols."""
        return []

    def _step(self) -> bool:
        raise NotImplementedError

    def _forget(self) -> None:
        raise NotImplementedError

    def _send(self, data: bytes, tag: str) -> None:
        self._events.append(Send(data, tag))
        self._produced += len(data)

    def _start_tls(self) -> None:
        self._events.append(StartTls())
        self._waits_for_tls = True

    def _ask(self, accept: Accept) -> None:
        self._events.append(accept)
        self._pending = accept

    def _close(self) -> None:
        self._events.append(Close())
        self._closed = True
        self._buffer.clear()

    def _drain(self) -> list[Event]:
        events, self._events = self._events, []
        self._produced = 0
        return events
