"""Sends questions on the event loop: over UDP and TCP, over TLS (RFC 7858) and over HTTPS (RFC 8484)."""

from __future__ import annotations

import asyncio
import ssl

from mailprobe.model.errors import NetworkError
from mailprobe.model.evidence import Answer, Kind
from mailprobe.model.names import is_address
from mailprobe.net.dns.lookup import Failed, Lookup, Reply, Send, silence, unreachable
from mailprobe.net.dns.servers import Server
from mailprobe.net.limits import Deadline
from mailprobe.net.stream import Stream, open_stream
from mailprobe.net.tls import verified_context

_HTTPS_PORT = 443
_MEDIA_TYPE = "application/dns-message"  # RFC 8484 §6


async def run(lookup: Lookup, ca_file: str | None) -> Answer:
    """Drive one lookup to its answer; *ca_file* replaces the system's trust anchors for TLS and HTTPS."""
    send = next(lookup)
    while True:
        reply = await _carry(send, ca_file)
        try:
            send = lookup.send(reply)
        except StopIteration as stop:
            answer = stop.value
            assert isinstance(answer, Answer)
            return answer


async def _carry(send: Send, ca_file: str | None) -> Reply:
    try:
        if send.transport == "udp":
            return await _over_udp(send)
        return await _over_stream(send, ca_file)
    except TimeoutError:
        return Failed(timeout=True, detail=silence(send))
    except NetworkError as error:
        detail = str(error) if error.kind is Kind.LOCAL else f"{send.server} cannot be asked: {error}"
        return Failed(timeout=error.kind is Kind.TIMEOUT, detail=detail)
    except OSError as error:
        return Failed(timeout=False, detail=unreachable(send, error))


class _Datagram(asyncio.DatagramProtocol):
    """Waits for the one datagram that is accepted."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio passes it
        if not self.reply.done() and self._send.accepts(data):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _over_udp(send: Send) -> bytes:
    loop = asyncio.get_running_loop()
    remote = (send.server.host, send.server.port)
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagram(send), remote_addr=remote)
    try:
        transport.sendto(send.wire)
        async with asyncio.timeout(send.wait_s):
            return await protocol.reply
    finally:
        transport.close()


async def _over_stream(send: Send, ca_file: str | None) -> Reply:
    deadline = Deadline(send.wait_s)
    stream = await open_stream(
        await _address(send), send.server.port, source=None, limit_s=deadline.remaining(60.0), on_close=lambda: None
    )
    try:
        if send.transport != "tcp":
            await _secure(stream, send, ca_file, deadline)
        if send.transport == "https":
            return await _post(stream, send, deadline)
        stream.write(len(send.wire).to_bytes(2) + send.wire)
        data = await _framed(stream, deadline)
    finally:
        stream.close()
    return data if send.accepts(data) else Failed(timeout=False, detail=f"{send.server} answered something else")


async def _address(send: Send) -> str:
    """Find a resolver that is given by name, through the system: there is nobody else to ask yet."""
    if is_address(send.server.host):
        return send.server.host
    async with asyncio.timeout(send.wait_s):
        found = await asyncio.get_running_loop().getaddrinfo(send.server.host, send.server.port)
    return str(found[0][4][0])


async def _secure(stream: Stream, send: Send, ca_file: str | None, deadline: Deadline) -> None:
    try:
        context = verified_context(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise NetworkError(Kind.LOCAL, f"the trust anchors in {ca_file} cannot be used: {error}") from None
    await stream.handshake(context, send.server.host, deadline.remaining(60.0))


async def _framed(stream: Stream, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
        data += await stream.read(deadline.remaining(60.0))
    return data[2 : 2 + int.from_bytes(data[:2])]


def _authority(server: Server) -> str:
    """Give the value of the Host field: the port only where it is not the usual one (RFC 9110 §7.2)."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return host if server.port == _HTTPS_PORT else f"{host}:{server.port}"


async def _post(stream: Stream, send: Send, deadline: Deadline) -> Reply:
    from mailprobe.net.http import exchange

    response = await exchange(
        stream,
        method="POST",
        host=_authority(send.server),
        path=send.server.path,
        headers={"Content-Type": _MEDIA_TYPE, "Accept": _MEDIA_TYPE},
        body=send.wire,
        deadline=deadline,
    )
    if response.status != 200:
        return Failed(timeout=False, detail=f"{send.server} answered with HTTP status {response.status}")
    media_type = dict(response.headers).get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != _MEDIA_TYPE:  # RFC 8484 §4.2.1
        named = media_type or "no Content-Type"
        return Failed(timeout=False, detail=f"{send.server} answered with {named}, not with {_MEDIA_TYPE}")
    if not send.accepts(response.body):
        return Failed(timeout=False, detail=f"{send.server} answered something else than the question")
    return response.body
