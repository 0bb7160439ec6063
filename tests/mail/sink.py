"""Small SMTP servers for senders of many letters, and a network that leads to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.smtp.transaction import Addressee, Parcel
from tests.scripted import Peer, Script, Scripted

GREETING = b"220 mx.b.test ESMTP\r\n"
EHLO = b"250-mx.b.test\r\n250-PIPELINING\r\n250 SIZE 10240000\r\n"
PLAIN_EHLO = b"250-mx.b.test\r\n250 SIZE 10240000\r\n"
OK, GO, BYE = b"250 2.0.0 ok\r\n", b"354 go\r\n", b"221 bye\r\n"
PATIENT = Limits(farewell_s=5.0)
HASTY = Limits(connect_s=5.0, greeting_s=5.0, reply_s=0.3, handshake_s=5.0, farewell_s=0.1)
Result = TypeVar("Result")


def parcel(*addresses: str, data: bytes = b"Subject: x\r\n\r\nhello\r\n", parameters: tuple[str, ...] = ()) -> Parcel:
    recipients = tuple(Addressee(address) for address in addresses or ("b@b.test",))
    return Parcel(sender="a@a.test", sender_parameters=parameters, recipients=recipients, data=data)


def envelope(peer: Peer, recipients: int = 1) -> None:
    """Read MAIL, RCPT and DATA, which must have been sent without waiting for a reply."""
    words = [peer.line().split(b" ")[0].strip() for _ in range(2 + recipients)]
    assert words == [b"MAIL", *([b"RCPT"] * recipients), b"DATA"]


def letter(peer: Peer) -> bytes:
    """Read a letter up to its dot."""
    got = b""
    while not got.endswith(b"\r\n.\r\n") and (line := peer.line()):
        got += line
    return got


def sink(ehlo: bytes = EHLO, greeting: bytes = GREETING, **answers: bytes) -> Script:
    """A server that takes everything; *answers* are other replies, ``end`` the one to the end of a letter."""

    def serve(peer: Peer) -> None:
        peer.send(greeting)
        known = {"ehlo": ehlo, "mail": OK, "rcpt": OK, "rset": OK, "quit": BYE, **answers}
        while (line := peer.answer(**known)).upper().startswith(b"DATA"):
            peer.send(answers.get("data", GO))
            if answers.get("data", GO).startswith(b"354"):
                lone = peer.line()
                if lone != b".\r\n":
                    letter(peer)
                peer.send(answers.get("end", OK))
        assert line == b"", line

    return serve


def on_network(
    act: Callable[[Network], Awaitable[Result]], *scripts: Script, limits: Limits = PATIENT, connections: int = 8
) -> tuple[Result, list[bytes]]:
    """Act on a network on which every port is a server with these scripts; give the result and what it heard."""

    async def run(server: Scripted) -> Result:
        reach = Reach(route=server.route, ehlo_name="probe.test", limits=limits, connections_per_port=connections)
        network = Network(reach)
        result = await act(network)
        await network.parted()
        return result

    with Scripted(*scripts) as server:
        result = asyncio.run(run(server))
    return result, server.heard
