"""A small SMTP server of the tests' own, and a letter sent to it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from mailprobe.mail.compose import Draft, Letter, compose
from mailprobe.mail.ready import Handling, LineEnds, ready
from mailprobe.mail.routes import Route, Server
from mailprobe.mail.sending import Options, send
from mailprobe.model.conversation import Security
from mailprobe.model.evidence import Stage
from mailprobe.model.sending import Outcome, Sending
from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach
from tests.collect.servers import AUTHORITY, BYE, CONTEXT
from tests.scripted import Peer, Script, Scripted

NOW = datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC)
CLEAR = Server("127.0.0.1", 25, Security.CLEAR)
BARE = b"250 mx.a.test\r\n"


def ehlo(*keywords: str) -> bytes:
    lines = ["mx.a.test", *keywords]
    return b"".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n".encode() for line in lines)


def letter(*recipients: str, text: str = "hi\n", sender: str = "alice@a.test") -> Letter:
    return compose(Draft(sender=sender, to=recipients or ("bob@b.test",), text=text, date=NOW))


def raw(body: bytes, header: bytes = b"") -> Letter:
    octets = b"From: alice@a.test\r\n" + header + b"\r\n" + body
    return ready(octets, sender=None, recipients=("bob@b.test",), date=NOW, handling=Handling(line_ends=LineEnds.KEEP))


def taking(
    *rcpt: bytes,
    greeting: bytes = b"220 mx.a.test ESMTP\r\n",
    hello: bytes = BARE,
    mail: bytes = b"250 ok\r\n",
    data: bytes = b"354 go\r\n",
    end: bytes = b"250 2.0.0 queued as 1\r\n",
    tls: bool = False,
) -> Script:
    """A server with these replies; each RCPT is answered by the next of *rcpt*, the last of them once more."""
    answers = rcpt or (b"250 ok\r\n",)

    def serve(peer: Peer) -> None:
        if greeting:
            peer.send(greeting)
        count = 0
        while line := peer.line():
            word = line.split()[0].upper()
            if word in {b"EHLO", b"LHLO"}:
                peer.send(hello)
            elif word == b"STARTTLS":
                peer.send(b"220 go\r\n")
                if not tls:
                    peer.exactly(1)
                    peer.send(b"this is no TLS\r\n")
                    return
                peer.start_tls(CONTEXT)
            elif word == b"MAIL":
                peer.send(mail)
            elif word == b"RCPT":
                peer.send(answers[min(count, len(answers) - 1)])
                count += 1
            elif word == b"DATA":
                peer.send(data)
                if data.startswith(b"354"):
                    while peer.line() not in {b".\r\n", b""}:
                        pass
                    if not end:
                        return
                    peer.send(end)
            elif word == b"QUIT":
                peer.send(BYE)
                return
            else:
                peer.send(b"500 what\r\n")

    return serve


async def carry(reach: Reach, what: Letter, route: Route, options: Options | None) -> Sending:
    network = Network(reach)
    try:
        return await send(network, what, route, options)
    finally:
        await network.parted()


def sent(
    *scripts: Script,
    what: Letter | None = None,
    route: Route = CLEAR,
    options: Options | None = None,
    limits: Limits | None = None,
) -> tuple[Sending, list[bytes]]:
    """Send to a server with these scripts, which every address and port leads to; give what it heard, too."""
    with tempfile.TemporaryDirectory() as directory, Scripted(*scripts) as there:
        reach = Reach(
            route=there.route,
            ehlo_name="probe.test",
            limits=limits or Limits(),
            ca_file=AUTHORITY.write(Path(directory)),
        )
        done = asyncio.run(carry(reach, what or letter(), route, options))
    return done, there.heard


def outcomes(done: Sending) -> list[tuple[str, Outcome, Stage]]:
    return [(each.address, each.outcome, each.stage) for each in done.recipients]


def only(done: Sending) -> tuple[Outcome, Stage, str]:
    (each,) = done.recipients
    return each.outcome, each.stage, each.detail


@contextmanager
def resolver() -> Iterator[str]:
    """A resolver that gives every name 192.0.2.1."""
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            octets, address = channel.recvfrom(4_096)
            if not octets:
                return
            query = dns.message.from_wire(octets)
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.RA
            (question,) = query.question
            if dns.rdatatype.to_text(question.rdtype) == "A":
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "192.0.2.1"))
            channel.sendto(reply.to_wire(), address)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    host, port = channel.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (host, port))
        thread.join(10)
        channel.close()
