"""The one seam to the world: one cache, two connections a port, a source of our own, a way to the ports."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from mailprobe.model.errors import NetworkError, UsageError
from mailprobe.model.evidence import Kind, Status
from mailprobe.net.dns.question import Question
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import CONNECTIONS_PER_PORT, Network, Reach, run_blocking
from mailprobe.net.stream import Stream
from tests.certificates import Authority, issue
from tests.scripted import Scripted, nothing, refusing

LIMIT_S = 5.0
MX = Question("a.test", "MX")


class Counting:
    """A resolver that gives every name the address 192.0.2.1 and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._channel.bind(("127.0.0.1", 0))
        self.text = f"127.0.0.1:{self._channel.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            wire, client = self._channel.recvfrom(512)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            self.asked.append(query.question[0].to_text())
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.1"))
            self._channel.sendto(reply.to_wire(), client)

    def close(self) -> None:
        self._channel.sendto(b"", self._channel.getsockname())
        self._thread.join()
        self._channel.close()


@contextmanager
def counting() -> Iterator[Counting]:
    resolver = Counting()
    try:
        yield resolver
    finally:
        resolver.close()


A, B = Question("a.test", "A"), Question("b.test", "A")


def test_each_question_is_asked_once_in_a_run_without_a_loop() -> None:
    with counting() as resolver:
        network = Network(Reach(resolver=resolver.text))
        first = run_blocking(network.resolve([A, B, A]))
        again = run_blocking(network.resolve([B]))
    assert [answer.name for answer in first] == ["a.test", "b.test", "a.test"]
    assert again == [first[1]]
    assert sorted(resolver.asked) == ["a.test. IN A", "b.test. IN A"]


def test_each_question_is_asked_once_even_by_several_at_the_same_time() -> None:
    async def run(network: Network) -> None:
        await asyncio.gather(*(network.resolve([A, B]) for _ in range(10)))
        (answer,) = await network.resolve([A])
        assert answer.status is Status.ANSWERED

    with counting() as resolver:
        asyncio.run(run(Network(Reach(resolver=resolver.text))))
    assert sorted(resolver.asked) == ["a.test. IN A", "b.test. IN A"]


def test_a_waiter_that_is_cancelled_does_not_take_the_answer_from_the_others() -> None:
    async def run(network: Network) -> None:
        first = asyncio.ensure_future(network.resolve([A]))
        second = asyncio.ensure_future(network.resolve([A]))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first)[0].status is Status.ANSWERED
        await asyncio.gather(second, return_exceptions=True)

    with counting() as resolver:
        asyncio.run(run(Network(Reach(resolver=resolver.text))))


def test_the_one_who_asked_may_be_cancelled_and_the_others_still_learn() -> None:
    async def run(network: Network) -> None:
        first = asyncio.ensure_future(network.resolve([A]))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(network.resolve([A]))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await second)[0].status is Status.ANSWERED

    with counting() as resolver:
        asyncio.run(run(Network(Reach(resolver=resolver.text))))


def test_run_blocking_refuses_what_waits_for_a_loop() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run_blocking(waits())


@pytest.mark.parametrize(
    ("resolver", "needs"), [("127.0.0.1", False), ("tls://127.0.0.1", True), ("https://dns.test", True)]
)
def test_only_resolvers_over_streams_need_a_loop(resolver: str, needs: bool) -> None:
    assert Network(Reach(resolver=resolver)).needs_loop is needs


def test_at_most_two_connections_to_one_port_are_open_at_a_time() -> None:
    async def run(network: Network) -> None:
        streams = [await network.connect("192.0.2.1", 25, Deadline(LIMIT_S)) for _ in range(CONNECTIONS_PER_PORT)]
        third = asyncio.ensure_future(network.connect("192.0.2.1", 25, Deadline(LIMIT_S)))
        other = await network.connect("192.0.2.1", 587, Deadline(LIMIT_S))
        assert not third.done()
        streams[0].close()
        streams[0].close()  # frees no second place
        fourth = asyncio.ensure_future(network.connect("192.0.2.1", 25, Deadline(LIMIT_S)))
        streams[0] = await third
        assert not fourth.done()
        fourth.cancel()
        await asyncio.gather(fourth, return_exceptions=True)
        for stream in (*streams, other):
            stream.close()

    with Scripted(nothing) as server:
        asyncio.run(run(Network(Reach(route=server.route))))


def test_waiting_for_a_place_ends_with_the_deadline() -> None:
    """A zone may lead a thousand exchangers to one silent address; they do not get a limit each."""

    async def run(network: Network) -> None:
        streams = [await network.connect("192.0.2.1", 25, Deadline(LIMIT_S)) for _ in range(CONNECTIONS_PER_PORT)]
        with pytest.raises(NetworkError, match="not asked") as caught:
            await network.connect("192.0.2.1", 25, Deadline(0.05))
        assert caught.value.kind is Kind.LOCAL
        for stream in streams:
            stream.close()
        (await network.connect("192.0.2.1", 25, Deadline(LIMIT_S))).close()  # giving up took no place away

    with Scripted(nothing) as server:
        asyncio.run(run(Network(Reach(route=server.route))))


def test_a_connection_that_fails_gives_its_place_back() -> None:
    async def run(network: Network) -> None:
        for _ in range(CONNECTIONS_PER_PORT + 1):
            with pytest.raises(NetworkError) as caught:
                await network.connect("192.0.2.1", 25, Deadline(LIMIT_S))
            assert caught.value.kind is Kind.REFUSED

    endpoint = refusing()
    asyncio.run(run(Network(Reach(route=lambda _address, _port: endpoint))))


def test_the_route_is_asked_with_the_address_and_port_that_were_meant() -> None:
    asked = []

    async def run(server: Scripted) -> None:
        def route(address: str, port: int) -> tuple[str, int]:
            asked.append((address, port))
            return server.endpoint

        (await Network(Reach(route=route)).connect("2001:db8::1", 143, Deadline(LIMIT_S))).close()

    with Scripted(nothing) as server:
        asyncio.run(run(server))
    assert asked == [("2001:db8::1", 143)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("192.0.2.1", "this machine cannot use that address"),
        ("2001:db8::1", "this machine cannot use that address"),
        ("a.test", "is no IP address"),
        ("", "is no IP address"),
        ("127.0.0.1:25", "is no IP address"),
    ],
)
def test_a_source_address_that_is_not_of_this_machine_is_refused_at_once(source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Network(Reach(source=source))


def test_a_source_address_of_this_machine_is_used() -> None:
    async def run(network: Network) -> str:
        stream = await network.connect("192.0.2.1", 25, Deadline(LIMIT_S))
        stream.close()
        return stream.local_address

    with Scripted(nothing) as server:
        assert asyncio.run(run(Network(Reach(source="127.0.0.1", route=server.route)))) == "127.0.0.1"


def test_trust_anchors_that_are_not_there_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        Network(Reach(ca_file=tmp_path / "none.pem"))


def test_a_chain_is_verified_against_the_trust_anchors_given(tmp_path: Path) -> None:
    ours = Authority()
    network = Network(Reach(ca_file=ours.write(tmp_path)))
    assert network.verify(ours.server("mx.a.test").chain).trusted
    assert network.verify(issue("mx.a.test", "mx.a.test").chain).code == 18


def test_we_introduce_ourselves_by_name_or_by_the_address_of_the_connection() -> None:
    async def run(network: Network) -> str:
        stream: Stream = await network.connect("192.0.2.1", 25, Deadline(LIMIT_S))
        stream.close()
        return network.ehlo_name(stream)

    with Scripted(nothing) as server:
        assert asyncio.run(run(Network(Reach(route=server.route)))) == "[127.0.0.1]"
        assert asyncio.run(run(Network(Reach(route=server.route, ehlo_name="probe.a.test")))) == "probe.a.test"


def test_only_the_families_that_are_wanted_are_asked() -> None:
    network = Network(Reach(families=(6,)))
    assert network.serves_family("2001:db8::1")
    assert not network.serves_family("192.0.2.1")


def test_no_limit_is_longer_than_the_time_given_or_than_usual() -> None:
    usual = Limits()
    for seconds in (0.5, 3.0, 600.0):
        limits = Limits.within(seconds)
        for name in set(Limits.__struct_fields__) - {"target_s"}:
            assert getattr(limits, name) <= min(seconds, getattr(usual, name))
        assert limits.target_s == seconds


def test_localhost_is_this_machine_and_no_resolver_is_asked() -> None:
    network = Network(Reach(resolver="127.0.0.1:1"))
    names = [Question("localhost", "A"), Question("mail.localhost", "AAAA"), Question("localhost", "MX")]
    answers = run_blocking(network.resolve(names))
    assert [[record.data for record in answer.records] for answer in answers] == [["127.0.0.1"], ["::1"], []]
    assert answers[2].status is Status.NODATA
