"""One connection over real sockets: what is seen in clear and inside TLS, and how every end is told from the others."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mailprobe.model.errors import NetworkError
from mailprobe.model.evidence import Kind
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline
from mailprobe.net.stream import Stream, open_stream
from mailprobe.net.tls import facts, survey_context
from tests.certificates import Authority, server_context
from tests.scripted import Peer, Script, Scripted, nothing, refusing

CERTIFICATE = Authority().server("mx.a.test")
CONTEXT = server_context(CERTIFICATE)
LIMIT_S = 5.0
Result = TypeVar("Result")
Talk = Callable[[Stream], Awaitable[Result]]


def talk(script: Script, act: Talk[Result]) -> Result:
    """Connect to a server that follows the script, and act on the connection."""

    async def run(endpoint: tuple[str, int]) -> Result:
        stream = await open_stream(*endpoint, source=None, limit_s=LIMIT_S, on_close=lambda: None)
        try:
            return await act(stream)
        finally:
            stream.close()

    with Scripted(script) as server:
        return asyncio.run(run(server.endpoint))


def failure(script: Script, act: Talk[object]) -> NetworkError:
    """Give the error that acting ends in."""
    with pytest.raises(NetworkError) as caught:
        talk(script, act)
    return caught.value


async def handshake(stream: Stream) -> None:
    await stream.handshake(survey_context(), "mx.a.test", LIMIT_S)


async def read(stream: Stream) -> bytes:
    return await stream.read(LIMIT_S)


async def until_the_end(stream: Stream, limit: Callable[[], float] = lambda: LIMIT_S) -> tuple[list[bytes], Kind]:
    """Read for as long as there is something, and give it with what ended it."""
    parts = []
    try:
        while True:
            parts.append(await stream.read(limit()))
    except NetworkError as error:
        return parts, error.kind


async def read_all(stream: Stream) -> bytes:
    """Read until an end that is in good order."""
    parts, end = await until_the_end(stream)
    assert end is Kind.CLOSED
    return b"".join(parts)


def test_octets_go_both_ways() -> None:
    def echo(peer: Peer) -> None:
        peer.send(peer.line().upper())

    async def act(stream: Stream) -> bytes:
        assert stream.local_address == "127.0.0.1"
        assert stream.tls is None
        stream.write(b"hello\r\n")
        return await read(stream)

    assert talk(echo, act) == b"HELLO\r\n"


def test_a_handshake_leads_into_tls_whatever_the_certificate() -> None:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(peer.line().upper())

    async def act(stream: Stream) -> bytes:
        await stream.handshake(survey_context(), "quite.other.test", LIMIT_S)
        assert stream.tls is not None
        found = facts(stream.tls, "quite.other.test", lambda _chain: None)
        assert (found.version, found.server_name, found.trust) == ("TLSv1.3", "quite.other.test", None)
        assert found.chain == CERTIFICATE.chain
        stream.write(b"hello\r\n")
        return await read(stream)

    assert talk(serve, act) == b"HELLO\r\n"


def test_large_data_comes_through_tls_whole() -> None:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"x" * 300_000)
        peer.finish()

    async def act(stream: Stream) -> int:
        await handshake(stream)
        return len(await read_all(stream))

    assert talk(serve, act) == 300_000


def test_starttls_response_injection_stays_visible_in_clear() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 go\r\n250-INJECTED\r\n")
        peer.start_tls(CONTEXT)
        peer.send(b"inside\r\n")

    async def act(stream: Stream) -> tuple[bytes, bytes]:
        clear = await read(stream)
        assert stream.unread() == b""
        await handshake(stream)
        return clear, await read(stream)

    assert talk(serve, act) == (b"220 go\r\n250-INJECTED\r\n", b"inside\r\n")


def test_unread_octets_are_handed_out_once() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"one\r\n")
        peer.line()
        peer.send(b"two\r\n")
        peer.finish()

    async def act(stream: Stream) -> tuple[bytes, bytes, bytes]:
        first = await read(stream)
        stream.write(b"go on\r\n")
        while not (second := stream.unread()):
            await asyncio.sleep(0)
        return first, second, stream.unread()

    assert talk(serve, act) == (b"one\r\n", b"two\r\n", b"")


@pytest.mark.parametrize("met", [b"220 mx.a.test ESMTP\r\n", b"500 what?\r\n", b"* BAD\r\n", b"\x00\x01\x02\x03\x04"])
def test_what_answers_a_hello_and_is_no_tls_is_kept(met: bytes) -> None:
    error = failure(lambda peer: peer.send(met), handshake)
    assert (error.kind, error.unread) == (Kind.NOT_TLS, met)


def test_something_that_only_begins_like_tls_is_a_failed_handshake() -> None:
    error = failure(lambda peer: peer.send(b"\x16\x03\x03\x00\x04junk"), handshake)
    assert error.kind is Kind.TLS_FAILED


def test_an_alert_is_told_as_one() -> None:
    error = failure(lambda peer: peer.send(b"\x15\x03\x03\x00\x02\x02\x28"), handshake)
    assert error.kind is Kind.TLS_ALERT
    assert str(error) == "the server sent the TLS alert 'handshake failure'"


def test_a_server_with_nothing_in_common_sends_an_alert() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate
    error = failure(lambda peer: peer.start_tls(old), handshake)
    assert error.kind is Kind.TLS_ALERT


async def _read_briefly(stream: Stream) -> bytes:
    return await stream.read(0.02)


async def _handshake_briefly(stream: Stream) -> None:
    await stream.handshake(survey_context(), None, 0.02)


async def _read_briefly_inside(stream: Stream) -> bytes:
    await handshake(stream)
    return await _read_briefly(stream)


@pytest.mark.parametrize(
    ("script", "act"),
    [
        (nothing, _read_briefly),
        (nothing, _handshake_briefly),
        (lambda peer: peer.start_tls(CONTEXT), _read_briefly_inside),
    ],
)
def test_silence_ends_at_the_limit_of_each_stage(script: Script, act: Talk[object]) -> None:
    assert failure(script, act).kind is Kind.TIMEOUT


def test_what_has_arrived_is_given_even_when_no_time_is_left() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"here\r\n")
        peer.finish()

    async def act(stream: Stream) -> bytes:
        held = await read_all(stream)
        stream.data_received(held)
        return await stream.read(0.0)

    assert talk(serve, act) == b"here\r\n"


def _reset(peer: Peer) -> None:
    peer.exactly(1)
    peer.reset()


async def _write_and_read(stream: Stream) -> bytes:
    stream.write(b"hello\r\n")
    return await read(stream)


def _reset_inside(peer: Peer) -> None:
    peer.start_tls(CONTEXT)
    peer.line()
    peer.reset()


async def _write_and_read_inside(stream: Stream) -> bytes:
    await handshake(stream)
    return await _write_and_read(stream)


@pytest.mark.parametrize(
    ("script", "act", "kind"),
    [
        (_reset, _write_and_read, Kind.RESET),
        (_reset, handshake, Kind.RESET),
        (_reset_inside, _write_and_read_inside, Kind.RESET),
        (Peer.finish, read, Kind.CLOSED),
        (Peer.finish, handshake, Kind.CLOSED),
        (Peer.finish, _write_and_read, Kind.CLOSED),
    ],
)
def test_every_end_is_told_from_the_others(script: Script, act: Talk[object], kind: Kind) -> None:
    assert failure(script, act).kind is kind


def test_the_end_of_tls_is_the_end_with_and_without_a_notice() -> None:
    def politely(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"bye\r\n")
        peer.finish()

    async def act(stream: Stream) -> bytes:
        await handshake(stream)
        return await read_all(stream)

    assert talk(politely, act) == b"bye\r\n"


def test_octets_before_the_end_are_given_before_it() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"421 bye\r\n")
        peer.finish()

    assert talk(serve, read_all) == b"421 bye\r\n"


def test_a_flood_is_cut_off() -> None:
    def flood(peer: Peer) -> None:
        while True:
            peer.send(b"x" * 65_536)

    async def act(stream: Stream) -> int:
        parts, end = await until_the_end(stream)
        assert end is Kind.LIMIT
        return sum(map(len, parts))

    assert SESSION_OCTETS_LIMIT < talk(flood, act) < 2 * SESSION_OCTETS_LIMIT


def test_a_drip_feed_cannot_outlast_the_deadline_of_its_phase() -> None:
    gone = threading.Event()

    def drip(peer: Peer) -> None:
        while not gone.wait(0.005):
            peer.send(b"x")

    async def act(stream: Stream) -> int:
        phase = Deadline(60.0).phase(0.1)
        parts, end = await until_the_end(stream, lambda: phase.remaining(60.0))
        gone.set()
        assert end is Kind.TIMEOUT
        return len(parts)

    assert talk(drip, act) > 0


def test_a_handshake_fed_drop_by_drop_cannot_outlast_its_limit() -> None:
    gone = threading.Event()

    def drip(peer: Peer) -> None:
        peer.send(b"\x16\x03\x03\x40\x00")
        while not gone.wait(0.005):
            peer.send(b"\0")

    async def act(stream: Stream) -> None:
        try:
            await stream.handshake(survey_context(), None, 0.1)
        finally:
            gone.set()

    assert failure(drip, act).kind is Kind.TIMEOUT


def test_closing_twice_frees_the_place_once() -> None:
    freed = []

    async def run(endpoint: tuple[str, int]) -> None:
        stream = await open_stream(*endpoint, source=None, limit_s=LIMIT_S, on_close=lambda: freed.append(1))
        stream.close()
        stream.close()

    with Scripted(nothing) as server:
        asyncio.run(run(server.endpoint))
    assert freed == [1]


def test_closing_says_so_inside_tls() -> None:
    ended = []

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        ended.append(peer.line())  # an end without notice would raise here

    talk(serve, handshake)
    assert ended == [b""]


def test_writing_after_the_end_is_no_error() -> None:
    async def act(stream: Stream) -> None:
        await handshake(stream)
        with pytest.raises(NetworkError):
            await read(stream)
        stream.write(b"QUIT\r\n")
        stream.close()
        stream.write(b"QUIT\r\n")

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.reset()

    talk(serve, act)


def connecting(endpoint: tuple[str, int], source: str | None = None) -> NetworkError:
    async def run() -> None:
        stream = await open_stream(*endpoint, source=source, limit_s=LIMIT_S, on_close=lambda: None)
        stream.close()

    with pytest.raises(NetworkError) as caught:
        asyncio.run(run())
    return caught.value


def test_a_port_where_nobody_listens_refuses() -> None:
    assert connecting(refusing()).kind is Kind.REFUSED


def test_a_source_that_is_not_ours_is_our_own_trouble() -> None:
    error = connecting(refusing(), source="192.0.2.1")
    assert error.kind is Kind.LOCAL
    assert "192.0.2.1" in str(error)
