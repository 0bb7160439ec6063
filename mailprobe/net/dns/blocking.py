"""Sends questions side by side over UDP and TCP with nothing but sockets and a selector.

A command that only looks things up starts faster without an event loop; resolvers over TLS or HTTPS need
`concurrent`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Sequence

from mailprobe.model.evidence import Answer
from mailprobe.model.names import address_family
from mailprobe.net.dns.lookup import Failed, Lookup, Reply, Send, silence, unreachable

WINDOW = 50  # lookups at once, a socket each: some systems let a process have no more than 64 files
_MESSAGE_LIMIT = 65_535
_STRAYS = 100  # read in a row before the others get their turn


def run(lookups: Sequence[Lookup]) -> list[Answer]:
    """Drive all lookups to their answers, in the same order."""
    with _selector() as selector:
        return _Sender(selector, lookups).run()


def _selector() -> selectors.BaseSelector:
    try:
        return selectors.DefaultSelector()
    except OSError:  # it takes a file of its own, and there are no more
        return selectors.SelectSelector()


class _Datagram:
    """A question over UDP; from a connected socket, only the server's own address and port can answer it."""

    def __init__(self, send: Send) -> None:
        self.channel = _connecting(send, socket.SOCK_DGRAM)
        self._send = send
        self._sent = False

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_READ if self._sent else selectors.EVENT_WRITE

    def advance(self) -> Reply | None:
        """Send, or read up to the reply; None when there is none yet."""
        if not self._sent:
            self.channel.send(self._send.wire)
            self._sent = True
            return None
        for _ in range(_STRAYS):
            data = self.channel.recv(_MESSAGE_LIMIT)
            if self._send.accepts(data):
                return data
        return None


class _Stream:
    """A question over TCP: either way its length goes before a message (RFC 7766 §8)."""

    def __init__(self, send: Send) -> None:
        self.channel = _connecting(send, socket.SOCK_STREAM)
        self._send = send
        self._unsent = len(send.wire).to_bytes(2) + send.wire
        self._received = b""

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ

    def advance(self) -> Reply | None:
        """Send what can be sent, or read what is there; None when that was not all."""
        if self._unsent:
            failure = self.channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                raise OSError(failure, os.strerror(failure))
            self._unsent = self._unsent[self.channel.send(self._unsent) :]
            return None
        part = self.channel.recv(_MESSAGE_LIMIT)
        if not part:
            raise EOFError("the server closed the connection")
        self._received += part
        length = int.from_bytes(self._received[:2])
        if len(self._received) < 2 + length or len(self._received) < 2:
            return None
        data = self._received[2 : 2 + length]
        if self._send.accepts(data):
            return data
        return Failed(timeout=False, detail=f"{self._send.server} answered something else")


def _connecting(send: Send, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if address_family(send.server.host) == 4 else socket.AF_INET6
    channel = socket.socket(family, kind)
    try:
        channel.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            channel.connect((send.server.host, send.server.port))
    except OSError:
        channel.close()
        raise
    return channel


class _Waiting:
    """A lookup under way."""

    def __init__(self, index: int, send: Send) -> None:
        self.index = index
        self.send = send
        self.until = time.monotonic() + send.wait_s
        self.exchange = _Stream(send) if send.transport == "tcp" else _Datagram(send)


class _Sender:
    def __init__(self, selector: selectors.BaseSelector, lookups: Sequence[Lookup]) -> None:
        self._selector = selector
        self._lookups = lookups
        self._answers: dict[int, Answer] = {}

    def run(self) -> list[Answer]:
        try:
            for index, lookup in enumerate(self._lookups):
                while len(self._under_way()) >= WINDOW:
                    self._turn()
                self._start(index, next(lookup))
            while self._under_way():
                self._turn()
        finally:
            for waiting in self._under_way():
                waiting.exchange.channel.close()
        return [self._answers[index] for index in range(len(self._lookups))]

    def _under_way(self) -> list[_Waiting]:
        return [key.data for key in self._selector.get_map().values()]

    def _turn(self) -> None:
        """Wait for octets or for the next limit.

        Only a limit that had passed before looking counts: what came while others were served is read first.
        """
        now = time.monotonic()
        earliest = min(waiting.until for waiting in self._under_way())
        for key, _ in self._selector.select(max(0.0, earliest - now)):
            self._advance(key.data)
        for waiting in self._under_way():
            if waiting.until <= now:
                self._finish(waiting, Failed(timeout=True, detail=silence(waiting.send)))

    def _start(self, index: int, send: Send | None) -> None:
        """Send, and keep on with the lookup as long as even that fails."""
        while send is not None:
            try:
                waiting = _Waiting(index, send)
            except OSError as error:
                send = self._go_on(index, Failed(timeout=False, detail=unreachable(send, error)))
            else:
                self._selector.register(waiting.exchange.channel, waiting.exchange.events, waiting)
                return

    def _advance(self, waiting: _Waiting) -> None:
        try:
            reply = waiting.exchange.advance()
        except BlockingIOError:
            reply = None
        except (OSError, EOFError) as error:
            reply = Failed(timeout=False, detail=unreachable(waiting.send, error))
        if reply is None:
            self._selector.modify(waiting.exchange.channel, waiting.exchange.events, waiting)
        else:
            self._finish(waiting, reply)

    def _finish(self, waiting: _Waiting, reply: Reply) -> None:
        self._selector.unregister(waiting.exchange.channel)
        waiting.exchange.channel.close()
        self._start(waiting.index, self._go_on(waiting.index, reply))

    def _go_on(self, index: int, reply: Reply) -> Send | None:
        try:
            return self._lookups[index].send(reply)
        except StopIteration as stop:
            self._answers[index] = stop.value
            return None
