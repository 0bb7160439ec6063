"""Sends questions side by side over UDP with nothing but sockets and a selector.

A command that only looks things up starts faster without an event loop. TCP, for the rare answer that is cut, is
done one at a time; resolvers over TLS or HTTPS need `concurrent`.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence

from mailprobe.model.evidence import Answer
from mailprobe.model.names import address_family
from mailprobe.net.dns.lookup import Failed, Lookup, Reply, Send

DATAGRAM_LIMIT = 65_535


def run(lookups: Sequence[Lookup]) -> list[Answer]:
    """Drive all lookups to their answers, in the same order."""
    with selectors.DefaultSelector() as selector:
        return _Sender(selector, lookups).run()


class _Waiting:
    """A lookup that waits for octets."""

    def __init__(self, index: int, send: Send, channel: socket.socket) -> None:
        self.index = index
        self.send = send
        self.channel = channel
        self.until = time.monotonic() + send.wait_s


class _Sender:
    def __init__(self, selector: selectors.BaseSelector, lookups: Sequence[Lookup]) -> None:
        self._selector = selector
        self._lookups = lookups
        self._answers: dict[int, Answer] = {}

    def run(self) -> list[Answer]:
        for index, lookup in enumerate(self._lookups):
            self._start(index, next(lookup))
        while len(self._answers) < len(self._lookups):
            waiting = [key.data for key in self._selector.get_map().values()]
            earliest = min(item.until for item in waiting)
            for key, _ in self._selector.select(max(0.0, earliest - time.monotonic())):
                self._arrived(key.data)
            self._expire()
        return [self._answers[index] for index in range(len(self._lookups))]

    def _start(self, index: int, send: Send) -> None:
        """Send, and keep on with the lookup as long as the result is there at once."""
        while True:
            if send.transport == "tcp":
                reply: Reply | socket.socket = over_tcp(send)
            else:
                reply = _over_udp(send)
            if isinstance(reply, socket.socket):
                self._selector.register(reply, selectors.EVENT_READ, _Waiting(index, send, reply))
                return
            following = self._go_on(index, reply)
            if following is None:
                return
            send = following

    def _go_on(self, index: int, reply: Reply) -> Send | None:
        try:
            return self._lookups[index].send(reply)
        except StopIteration as stop:
            self._answers[index] = stop.value
            return None

    def _arrived(self, waiting: _Waiting) -> None:
        try:
            data = waiting.channel.recv(DATAGRAM_LIMIT)
        except OSError as error:
            self._finish(waiting, Failed(timeout=False, detail=_unreachable(waiting.send, error)))
            return
        if waiting.send.accepts(data):
            self._finish(waiting, data)

    def _expire(self) -> None:
        now = time.monotonic()
        for waiting in [key.data for key in self._selector.get_map().values() if key.data.until <= now]:
            self._finish(waiting, Failed(timeout=True, detail=silence(waiting.send)))

    def _finish(self, waiting: _Waiting, reply: Reply) -> None:
        self._selector.unregister(waiting.channel)
        waiting.channel.close()
        following = self._go_on(waiting.index, reply)
        if following is not None:
            self._start(waiting.index, following)


def _over_udp(send: Send) -> socket.socket | Failed:
    """Send a datagram from a connected socket: only the server's own address and port can answer it."""
    family = socket.AF_INET if address_family(send.server.host) == 4 else socket.AF_INET6
    channel = socket.socket(family, socket.SOCK_DGRAM)
    try:
        channel.setblocking(False)
        channel.connect((send.server.host, send.server.port))
        channel.send(send.wire)
    except OSError as error:
        channel.close()
        return Failed(timeout=False, detail=_unreachable(send, error))
    return channel


def over_tcp(send: Send) -> Reply:
    """Ask over TCP (RFC 7766), blocking for the time that is left."""
    until = time.monotonic() + send.wait_s
    try:
        with socket.create_connection((send.server.host, send.server.port), timeout=max(0.001, send.wait_s)) as channel:
            channel.sendall(len(send.wire).to_bytes(2) + send.wire)
            length = int.from_bytes(_exactly(channel, 2, until))
            data = _exactly(channel, length, until)
    except TimeoutError:
        return Failed(timeout=True, detail=silence(send))
    except (OSError, EOFError) as error:
        return Failed(timeout=False, detail=_unreachable(send, error))
    return data if send.accepts(data) else Failed(timeout=False, detail=f"{send.server} answered something else")


def _exactly(channel: socket.socket, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        remaining = until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        channel.settimeout(remaining)
        part = channel.recv(count - len(data))
        if not part:
            raise EOFError("the server closed the connection")
        data += part
    return data


def silence(send: Send) -> str:
    """Say that nothing came."""
    return f"no answer from {send.server} within {send.wait_s:.1f} s"


def _unreachable(send: Send, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{send.server} cannot be asked: {reason}"
