"""Visits to servers that follow a script, over real sockets and real TLS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mailprobe.collect.dialogue import Stopped
from mailprobe.collect.survey import Door
from mailprobe.mail.login import Login
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Place, Security
from mailprobe.model.evidence import Trouble
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network
from mailprobe.protocols.sasl import Credentials
from tests.collect.servers import CONTEXT, HOST, PATIENT, on_network
from tests.scripted import Peer, Script

Result = TypeVar("Result")
Act = Callable[[Visit], Awaitable[Result]]

ALICE = Login(credentials=Credentials("alice", "secret"))
TLS_PORTS = {465, 993, 995}


def visiting(
    act: Act[Result],
    *scripts: Script,
    port: int = 25,
    security: Security | None = None,
    host: str = HOST,
    limits: Limits = PATIENT,
) -> tuple[Result, list[bytes]]:
    """Act on a visit that has not begun; give the result and what the server heard of each connection."""
    usual = Security.TLS if port in TLS_PORTS else Security.STARTTLS

    async def run(network: Network, door: Door) -> Result:
        place = Place(host=host, address=door.address, port=port, service=door.port.service, security=security or usual)
        visit = Visit(network, place, Deadline(limits.target_s))
        try:
            return await act(visit)
        finally:
            await visit.end()

    return on_network(run, *scripts, port=port, limits=limits)


def stopped(
    act: Act[object], *scripts: Script, port: int = 25, security: Security | None = None, host: str = HOST
) -> tuple[Trouble, bytes]:
    """Give the trouble that a visit ends in, and what the server heard in its only connection."""
    found: list[Trouble] = []

    async def run(visit: Visit) -> None:
        with pytest.raises(Stopped) as caught:
            await act(visit)
        assert visit.trouble == caught.value.trouble
        found.append(caught.value.trouble)

    _, heard = visiting(run, *scripts, port=port, security=security, host=host)
    return found[0], heard[0]


async def begin(visit: Visit) -> None:
    await visit.begin()


def logging_in(login: Login = ALICE) -> Act[Visit]:
    async def act(visit: Visit) -> Visit:
        await visit.begin()
        await visit.log_in(login)
        return visit

    return act


def dialogue(*turns: tuple[bytes, bytes], greeting: bytes, last: dict[str, bytes] | None = None) -> Script:
    """A server inside TLS from the start that expects exactly these lines and says exactly these replies to them.

    A line may begin with ``%t`` for whatever tag; so may a reply, for the tag of the line. *last* is for what
    follows, by word.
    """

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(greeting)
        tag = b""
        for expected, reply in turns:
            line = peer.line().removesuffix(b"\r\n")
            if expected.startswith(b"%t"):
                tag, _, rest = line.partition(b" ")
                assert rest == expected[3:], line
            else:
                assert line == expected
            peer.send(reply.replace(b"%t", tag))
        peer.answer(**(last or {}))

    return serve
