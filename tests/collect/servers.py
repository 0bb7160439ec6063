"""Scripts of small mail servers, healthy unless told otherwise, and what a survey of them gives."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from mailprobe.collect.survey import Door, session, survey
from mailprobe.model.evidence import Session
from mailprobe.model.ports import WELL_KNOWN, Port, Service
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network, Reach
from tests.certificates import Authority, server_context
from tests.scripted import Peer, Script, Scripted

HOST = "mx.a.test"
AUTHORITY = Authority()
CERTIFICATE = AUTHORITY.server(HOST)
CONTEXT = server_context(CERTIFICATE)
PATIENT = Limits()
HASTY = Limits(connect_s=5.0, greeting_s=0.3, reply_s=0.3, handshake_s=0.3, farewell_s=0.1, target_s=20.0)
Result = TypeVar("Result")

EHLO = b"250-mx.a.test\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250 STARTTLS\r\n"
EHLO_INSIDE = b"250-mx.a.test\r\n250 SIZE 10240000\r\n"
BYE = b"221 bye\r\n"


def smtp(
    greeting: bytes = b"220 mx.a.test ESMTP\r\n",
    ehlo: bytes = EHLO,
    go_ahead: bytes = b"220 go\r\n",
    inside: dict[str, bytes] | None = None,
    **replies: bytes,
) -> Script:
    """An SMTP server; *replies* are those to other commands in clear, *inside* replaces those inside TLS."""

    def serve(peer: Peer) -> None:
        peer.send(greeting)
        line = peer.answer(ehlo=ehlo, quit=BYE, **replies)
        if line.upper().startswith(b"STARTTLS"):
            peer.send(go_ahead)
            if go_ahead.startswith(b"220"):
                peer.start_tls(CONTEXT)
                peer.answer(**(inside or {"ehlo": EHLO_INSIDE, "quit": BYE}))
            else:
                peer.answer(quit=BYE)

    return serve


def pop3(greeting: bytes = b"+OK ready\r\n", go_ahead: bytes = b"+OK go\r\n", **replies: bytes) -> Script:
    clear = {"capa": b"+OK\r\nUIDL\r\nSTLS\r\n.\r\n", "quit": b"+OK bye\r\n", **replies}

    def serve(peer: Peer) -> None:
        peer.send(greeting)
        if peer.answer(**clear).upper().startswith(b"STLS"):
            peer.send(go_ahead)
            if go_ahead.startswith(b"+OK"):
                peer.start_tls(CONTEXT)
                peer.answer(capa=b"+OK\r\nUSER\r\nUIDL\r\n.\r\n", quit=b"+OK bye\r\n")
            else:
                peer.answer(quit=b"+OK bye\r\n")

    return serve


LOGOUT = b"* BYE bye\r\n%t OK done\r\n"
CAPABILITY = b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n%t OK done\r\n"
CAPABILITY_INSIDE = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%t OK done\r\n"


def imap(greeting: bytes = b"* OK ready\r\n", go_ahead: bytes = b"%t OK go\r\n", **replies: bytes) -> Script:
    clear = {"capability": CAPABILITY, "logout": LOGOUT, **replies}

    def serve(peer: Peer) -> None:
        peer.send(greeting)
        line = peer.answer(**clear)
        if b"STARTTLS" in line.upper():
            peer.send(go_ahead.replace(b"%t", line.split()[0]))
            if b" OK " in go_ahead:
                peer.start_tls(CONTEXT)
                peer.answer(capability=CAPABILITY_INSIDE, logout=LOGOUT)
            else:
                peer.answer(logout=LOGOUT)

    return serve


def implicit(greeting: bytes, **replies: bytes) -> Script:
    """A server that begins with TLS."""

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(greeting)
        peer.answer(**replies)

    return serve


def drop_by_drop(script: Script) -> Script:
    """The same server, which sends every octet by itself."""

    class Dripping(Peer):
        def __init__(self, peer: Peer) -> None:
            self.__dict__ = peer.__dict__

        def send(self, data: bytes) -> None:
            for at in range(len(data)):
                super().send(data[at : at + 1])

    return lambda peer: script(Dripping(peer))


def on_network(
    act: Callable[[Network, Door], Awaitable[Result]],
    *scripts: Script,
    port: int = 25,
    service: Service | None = None,
    limits: Limits = PATIENT,
) -> tuple[Result, list[bytes]]:
    """Act on a network that leads to a server with these scripts; give the result and what the server heard."""

    async def run(server: Scripted, directory: Path) -> Result:
        reach = Reach(route=server.route, ehlo_name="probe.test", limits=limits, ca_file=AUTHORITY.write(directory))
        network = Network(reach)
        result = await act(network, Door(HOST, "127.0.0.1", Port(port, service or WELL_KNOWN[port])))
        await network.parted()
        return result

    with tempfile.TemporaryDirectory() as directory, Scripted(*scripts) as server:
        result = asyncio.run(run(server, Path(directory)))
    return result, server.heard


def met(
    *scripts: Script, port: int = 25, service: Service | None = None, limits: Limits = PATIENT
) -> tuple[Session, list[bytes]]:
    """Survey one port and give the session and what the server heard."""

    async def act(network: Network, door: Door) -> Session:
        return session(door, await survey(network, door, Deadline(limits.target_s)))

    return on_network(act, *scripts, port=port, service=service, limits=limits)
