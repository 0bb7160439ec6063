"""Whole targets: how our connections to one port share the server."""

from __future__ import annotations

import asyncio

from mailprobe.checks.judge import judge
from mailprobe.collect.targets import Depth, collect, parse_target
from mailprobe.model.evidence import Evidence
from mailprobe.model.finding import Verdict
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
