"""Whole targets: how our connections share a server, and how far a zone's word is followed."""

from __future__ import annotations

import asyncio
from typing import cast

import dns.message
import dns.rrset
import pytest

from mailprobe.checks.judge import judge
from mailprobe.collect.lookups import EXCHANGERS_LIMIT
from mailprobe.collect.survey import Door
from mailprobe.collect.targets import GLANCE, HOSTS_LIMIT, Depth, collect, parse_target
from mailprobe.model.evidence import Evidence
from mailprobe.model.finding import Cause, Verdict
from mailprobe.model.ports import Port, Service
from mailprobe.net.network import Network, Reach
from tests.collect.servers import CONTEXT, EHLO, PATIENT


class OneAtATime:
    """An SMTP server with STARTTLS that turns away whoever comes while somebody else is there."""

    def __init__(self, *, last_wins: bool) -> None:
        self._inside = 0
        self._last_wins = last_wins
        self.turned_away = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._inside += 1
        try:
            if self._last_wins:  # both are there before either is greeted
                await asyncio.sleep(0)
            if self._inside > 1 and not (self._last_wins and self.turned_away):
                self.turned_away += 1
                writer.write(b"421 4.7.0 mx.a.test Error: too many connections\r\n")
            else:
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._inside -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.a.test ESMTP\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(EHLO)
            elif line.startswith(b"STARTTLS"):
                writer.write(b"220 go\r\n")
                reader._buffer.clear()  # type: ignore[attr-defined]
                await writer.start_tls(CONTEXT)
            elif line.startswith(b"QUIT"):
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")


async def ask(server: OneAtATime) -> Evidence:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        network = Network(Reach(limits=PATIENT))
        wish = parse_target("127.0.0.1", (Port(port, Service.SMTP),))
        return await collect(network, [wish], Depth(names=False))


def test_a_server_for_one_at_a_time_is_asked_one_after_the_other() -> None:
    for last_wins in (False, True):
        server = OneAtATime(last_wins=last_wins)
        evidence = asyncio.run(ask(server))
        (session,) = evidence.targets[0].hosts[0].addresses[0].sessions
        assert server.turned_away == 1
        assert session.trouble is None
        assert session.tls is not None
        assert session.injection is not None
        assert session.injection.executed is False
        assert [each.check for each in judge(evidence) if each.verdict is Verdict.UNKNOWN] == []


class ManyExchangers(asyncio.DatagramProtocol):
    """A resolver for a zone with more exchangers than anybody needs, all at one address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query, recursion_available=True)
        name, kind = query.question[0].name, query.question[0].rdtype.name
        if kind == "MX":
            targets = [f"10 m{number}.a.test." for number in range(EXCHANGERS_LIMIT + 10)]
            reply.answer.append(dns.rrset.from_text_list(name, 60, "IN", "MX", targets))
        elif kind == "A":
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "127.0.0.1"))
        self._transport.sendto(reply.to_wire(max_size=65535), addr)


async def ask_zone() -> Evidence:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(ManyExchangers, local_addr=("127.0.0.1", 0))
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    resolver = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    try:
        network = Network(Reach(resolver=resolver, limits=PATIENT))
        return await collect(network, [parse_target("a.test", (Port(port, Service.SMTP),))], GLANCE)
    finally:
        transport.close()


def test_a_zone_does_not_decide_how_many_hosts_are_asked() -> None:
    evidence = asyncio.run(ask_zone())
    hosts = evidence.targets[0].hosts
    assert len(hosts) == EXCHANGERS_LIMIT
    assert sum(bool(address.sessions) for host in hosts for address in host.addresses) == HOSTS_LIMIT
    unasked = [each for each in judge(evidence) if each.cause is Cause.NOT_ASKED]
    assert {each.check for each in unasked} == {"mx-target-resolves", "host-serves-mail"}


@pytest.mark.parametrize("name", ["\\..a.test", "a\\032b.test", "\\000.test", "x" * 64 + ".test", "192.0.2.1", "::1"])
def test_what_is_no_host_name_is_not_sent_as_one(name: str) -> None:
    """The DNS takes any octet in a name (RFC 2181 §11), TLS does not (RFC 6066 §3)."""
    assert Door(name, "192.0.2.1", Port(25, Service.SMTP)).server_name is None
    assert Door("mx_1.a.test", "192.0.2.1", Port(25, Service.SMTP)).server_name == "mx_1.a.test"
