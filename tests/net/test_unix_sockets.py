"""Unix sockets as places to talk to, and writing more than a peer takes at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Place, Security
from mailprobe.model.errors import NetworkError
from mailprobe.model.evidence import Kind
from mailprobe.model.ports import Service
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network, Reach
from mailprobe.net.stream import Stream
from tests.scripted import Peer

LIMIT_S = 5.0
Result = TypeVar("Result")


@contextlib.contextmanager
def listening(script: Callable[[Peer], None]) -> Iterator[str]:
    """Listen on a unix socket for one connection that follows the script; give the path."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(directory) / "socket")
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            channel, _ = listener.accept()
            peer = Peer(channel)
            with contextlib.suppress(OSError):
                script(peer)
                peer.rest()
            peer.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        thread.join(LIMIT_S)


def connected(path: str, act: Callable[[Stream], Awaitable[Result]], octets_limit: int = 1_000_000) -> Result:
    async def run() -> Result:
        stream = await Network(Reach()).connect_socket(path, Deadline(LIMIT_S), octets_limit)
        try:
            return await act(stream)
        finally:
            stream.close()

    return asyncio.run(run())


def failure(path: str) -> NetworkError:
    async def nothing(_stream: Stream) -> None:
        return None

    with pytest.raises(NetworkError) as caught:
        connected(path, nothing)
    return caught.value


def test_octets_go_both_ways_over_a_unix_socket() -> None:
    async def act(stream: Stream) -> tuple[str, bytes]:
        stream.write(b"hello\r\n")
        return stream.local_address, await stream.read(LIMIT_S)

    with listening(lambda peer: peer.send(peer.line().upper())) as path:
        assert connected(path, act) == ("", b"HELLO\r\n")


def test_lmtp_is_spoken_over_a_unix_socket() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test LMTP\r\n")
        peer.answer(lhlo=b"250-mx.a.test\r\n250 PIPELINING\r\n", quit=b"221 bye\r\n")

    async def visit(path: str) -> Conversation:
        place = Place(
            host="localhost", address="", port=0, service=Service.SMTP, security=Security.CLEAR, lmtp=True, socket=path
        )
        visit = Visit(Network(Reach()), place, Deadline(LIMIT_S))
        await visit.begin()
        assert visit.fault == ""  # nobody is in between
        await visit.end()
        return visit.record()

    with listening(serve) as path:
        told = asyncio.run(visit(path))
    assert (told.service, told.address, told.port) == ("lmtp", path, 0)
    assert [exchange.sent for exchange in told.exchanges] == ["", "LHLO localhost", "QUIT"]
    assert told.before_tls is not None
    assert told.before_tls.has("PIPELINING")


def test_a_path_where_nothing_is_a_file_and_a_socket_without_a_listener_are_told_apart(tmp_path: Path) -> None:
    missing = failure(str(tmp_path / "none"))
    assert missing.kind is Kind.LOCAL
    assert "No such file" in str(missing)
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind("\0" + tmp_path.name)  # kept, so that nobody else has it
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(path)
    assert failure(path).kind is Kind.REFUSED


@pytest.mark.parametrize("path", ["a\0b", "x" * 200, "/proc/self/mem"])
def test_what_can_be_no_socket_is_told_in_one_line(path: str) -> None:
    error = failure(path)
    assert error.kind in {Kind.LOCAL, Kind.REFUSED}
    assert "\n" not in str(error)


def test_a_session_may_have_no_more_octets_than_it_was_allowed() -> None:
    def serve(peer: Peer) -> None:
        for _ in range(3):
            peer.line()
            peer.send(b"x" * 60)

    async def act(stream: Stream) -> list[bytes | Kind]:
        got: list[bytes | Kind] = []
        for allowed in (0, 20, 59, 0):  # 100 at first; the third piece has the 180th octet, and ends it
            stream.allow(allowed)
            stream.write(b"go\n")
            try:
                got.append(await stream.read(LIMIT_S))
            except NetworkError as error:
                got.append(error.kind)
        return got

    with listening(serve) as path:
        assert connected(path, act, octets_limit=100) == [b"x" * 60, b"x" * 60, b"x" * 60, Kind.LIMIT]


def test_a_large_letter_is_written_no_faster_than_it_is_taken() -> None:
    letter = b"x" * 8_000_000
    taken: list[int] = []

    def serve(peer: Peer) -> None:
        while sum(taken) < len(letter):
            taken.append(len(peer.exactly(min(1_000_000, len(letter) - sum(taken)))))
        peer.send(b"250 ok\r\n")

    async def act(stream: Stream) -> bytes:
        stream.write(letter)
        assert stream.unsent > 1_000_000
        await stream.sent(LIMIT_S)
        assert stream.unsent < 1_000_000
        return await stream.read(LIMIT_S)

    with listening(serve) as path:
        assert connected(path, act) == b"250 ok\r\n"


def test_a_peer_that_takes_nothing_is_not_waited_for_for_ever() -> None:
    async def act(stream: Stream) -> NetworkError:
        stream.write(b"x" * 8_000_000)
        with pytest.raises(NetworkError) as caught:
            await stream.sent(0.05)
        return caught.value

    done = threading.Event()

    def ignore(_peer: Peer) -> None:
        done.wait(LIMIT_S)

    with listening(ignore) as path:
        error = connected(path, act)
        done.set()
    assert error.kind is Kind.TIMEOUT


def test_a_peer_that_answers_in_the_middle_is_listened_to() -> None:
    done = threading.Event()

    def refuse(peer: Peer) -> None:
        peer.send(b"552 too large\r\n")
        done.wait(LIMIT_S)

    async def act(stream: Stream) -> bytes:
        stream.write(b"x" * 8_000_000)
        await stream.sent(LIMIT_S)
        return await stream.read(LIMIT_S)

    with listening(refuse) as path:
        assert connected(path, act) == b"552 too large\r\n"
        done.set()


def test_a_network_can_have_a_clock_of_its_own() -> None:
    then = datetime(2031, 5, 6, tzinfo=UTC)
    assert Network(Reach(clock=lambda: then, limits=Limits())).now() == then
    assert Network(Reach()).now().tzinfo is UTC
