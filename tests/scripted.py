"""Servers on loopback that do what a test's script says, octet by octet, and remember what they heard."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

PATIENCE_S = 10.0


class Peer:
    """One accepted connection, as its script sees it; everything blocks."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.settimeout(PATIENCE_S)
        if channel.family != socket.AF_UNIX:
            self._channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = b""

    def send(self, data: bytes) -> None:
        self._channel.sendall(data)

    def send_together(self, *pieces: bytes) -> None:
        """Send pieces in one segment, inside TLS a record each."""
        self._channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for piece in pieces:
            self._channel.sendall(piece)
        self._channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def line(self) -> bytes:
        """Read one line, and not an octet more; empty at the end of the connection."""
        got = b""
        while not got.endswith(b"\n"):
            octet = self._channel.recv(1)
            if not octet:
                break
            got += octet
        self.heard += got
        return got

    def exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count and (part := self._channel.recv(count - len(got))):
            got += part
        self.heard += got
        return got

    def answer(self, **replies: bytes) -> bytes:
        """Answer each line by its first word, or by its second where the first is a tag; ``%t`` becomes the tag.

        The first line whose word has no reply is given back unanswered; empty when the client has gone.
        """
        while line := self.line():
            words = [*line.decode("latin-1").split(), "", ""]
            tag, word = ("", words[0]) if words[0].lower() in replies else (words[0], words[1])
            if word.lower() not in replies:
                return line
            self.send(replies[word.lower()].replace(b"%t", tag.encode("latin-1")))
        return b""

    def overhear(self, seconds: float) -> bytes:
        """Give the first octets that come within that time; empty when there is silence."""
        self._channel.settimeout(seconds)
        try:
            return self.exactly(1)
        except TimeoutError:
            return b""
        finally:
            self._channel.settimeout(PATIENCE_S)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._channel = context.wrap_socket(self._channel, server_side=True)

    def rest(self) -> bytes:
        """Read until the client is gone."""
        got = b""
        with contextlib.suppress(OSError):
            while part := self._channel.recv(65_536):
                got += part
                self.heard += part
        return got

    def finish(self) -> None:
        """Send FIN, and nothing of TLS."""
        self._channel.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._channel.close()

    def close(self) -> None:
        self._channel.close()


Script = Callable[[Peer], None]


class Scripted:
    """A server whose first connection follows the first script, and so on; the last script is for all that follow.

    After its script a connection is read until the client goes. An assertion that fails in a script fails the test.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []
        self._last: tuple[str, int] | None = None  # where the connection comes from that ends the accepting

    @property
    def heard(self) -> list[bytes]:
        """What each connection heard, in the order in which they came; whole once the server has ended."""
        return [peer.heard for peer in self._peers]

    def route(self, _address: str, _port: int) -> tuple[str, int]:
        """Lead every address and port to this server."""
        return self.endpoint

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint: tuple[str, int] = self._listener.getsockname()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            last.connect(self.endpoint)
            self._accepting.join(PATIENCE_S)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if kind is None and self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            channel, address = self._listener.accept()
            if address == self._last:
                channel.close()
                return
            peer = Peer(channel)
            script = self._scripts[min(len(self._peers), len(self._scripts) - 1)]
            self._peers.append(peer)
            self._threads.append(threading.Thread(target=self._follow, args=(script, peer), daemon=True))
            self._threads[-1].start()

    def _follow(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
            peer.rest()
        except OSError:
            pass  # the client went in the middle, which some tests are about
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            self._errors.append(error)
        finally:
            peer.close()


def nothing(_peer: Peer) -> None:
    """Accept, and say nothing."""


def refusing() -> tuple[str, int]:
    """Give an endpoint of loopback at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint: tuple[str, int] = listener.getsockname()
    return endpoint
