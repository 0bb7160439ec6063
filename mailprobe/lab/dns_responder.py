"""The lab's DNS server: UDP and TCP, authoritative for everything, and to its clients like a resolver.

A question is read by hand, because that costs microseconds; the first answer to it is built with dnspython and
kept as octets, and later ones differ only in the message id and in the case of the name that was asked. The
decision what to send is pure (``respond``), so a wire fault is a value and needs no socket to be looked at.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, cast

from mailprobe.lab.dns_zones import Fault, Found, Zones

UDP_LIMIT = 512  # RFC 1035 §4.2.1
EDNS_LIMIT = 1232  # what servers agreed on at the DNS flag day of 2020
TCP_LIMIT = 65535
MEMORY = 10_000  # answers kept; a flood of random names must not fill the memory

_OPT = 41
_RD, _CD, _QR_OR_OPCODE = 0x0100, 0x0010, 0xF800
_BIND_ATTEMPTS = 20  # for a number that is free for UDP and TCP alike


class Question(NamedTuple):
    """One query as far as it matters for the answer; *asked* is the question section as sent."""

    message_id: bytes
    asked: bytes
    flags: int
    payload: int  # 0 without EDNS


class Reaction(NamedTuple):
    """What to send back, in order; *reset* ends a TCP connection with an RST."""

    messages: tuple[bytes, ...] = ()
    reset: bool = False


class DnsResponder:
    """Answers from *zones*, each answer late by *flight_delay_s*."""

    def __init__(self, zones: Zones, *, flight_delay_s: float = 0.0) -> None:
        self._zones = zones
        self._delay_s = flight_delay_s
        self._memory: dict[tuple[bytes, int, int], tuple[bytes, Fault | None]] = {}
        self._dropped: set[bytes] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Transport] = set()

    async def start(self, host: str, port: int = 0) -> tuple[str, int]:
        """Bind UDP and TCP to the same port and give the address; port 0 means any.

        Raises:
            OSError: the address or the port cannot be had.
        """
        udp, tcp = _bind_pair(host, port)
        address = cast("tuple[str, int]", tcp.getsockname())
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=udp)
        self._tcp = await loop.create_server(lambda: _Tcp(self), sock=tcp)
        return address

    def close(self) -> None:
        """Close both sockets and every connection."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for connection in tuple(self._connections):
            connection.abort()

    def respond(self, query: bytes, *, tcp: bool) -> Reaction:
        """Decide what a query is answered with."""
        question = _read(query)
        if question is None:
            return Reaction()
        limit = TCP_LIMIT if tcp else min(max(question.payload, UDP_LIMIT), EDNS_LIMIT)
        key = (question.asked.lower(), question.flags & (_RD | _CD), limit if question.payload else -limit)
        kept = self._memory.get(key)
        if kept is None:
            kept = self._build(query, question, limit, tcp)
            if len(self._memory) >= MEMORY:
                self._memory.clear()
            self._memory[key] = kept
        wire, fault = kept
        answer = question.message_id + wire[2:12] + question.asked + wire[12 + len(question.asked) :]
        return Reaction((answer,)) if fault is None else self._misbehave(fault, question, answer, tcp)

    def later(self, send: Callable[[], None]) -> None:
        """Send now, or when the flight delay is over."""
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, send)
        else:
            send()

    def track(self, connection: asyncio.Transport, *, opened: bool) -> None:
        """Remember a TCP connection for as long as it lives."""
        (self._connections.add if opened else self._connections.discard)(connection)

    def _build(self, query: bytes, question: Question, limit: int, tcp: bool) -> tuple[bytes, Fault | None]:
        """Build an answer; the faults that are only another answer are part of it."""
        import dns.rdatatype  # here, because most runs of the program that imports this ask nothing

        name, number = _name_and_type(question)
        kind = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))
        fault, found = self._zones.fault(name, kind), self._zones.lookup(name, kind)
        if fault is None:
            return _encode(query, found, limit), None
        if fault is Fault.AUTHORITATIVE:
            return _encode(query, found, limit, authoritative=True), None
        if fault in (Fault.SERVFAIL, Fault.REFUSED):
            return _encode(query, Found(fault.name, (), ()), limit), None
        if fault is Fault.BOGUS:
            if question.flags & _CD:
                return _encode(query, found, limit), None
            return _encode(query, Found("SERVFAIL", (), ()), limit, bogus=True), None
        if fault is Fault.EDNS_FORMERR and question.payload:
            return _encode(query, Found("FORMERR", (), ()), limit, edns=False), None
        truncated = fault in (Fault.TRUNCATED, Fault.TRUNCATED_TCP_RESET) and not tcp
        return _encode(query, found, limit, truncated=truncated), fault

    def _misbehave(self, fault: Fault, question: Question, answer: bytes, tcp: bool) -> Reaction:
        if fault is Fault.SILENT:
            return Reaction()
        if fault is Fault.GARBAGE:
            return Reaction((question.message_id + b"\xff" * 40,))
        if tcp:
            return Reaction(reset=True) if fault is Fault.TRUNCATED_TCP_RESET else Reaction((answer,))
        if fault is Fault.DROP_FIRST and question.asked not in self._dropped:
            self._dropped.add(question.asked)
            return Reaction()
        self._dropped.discard(question.asked)
        if fault is Fault.WRONG_ID:
            other = bytes((question.message_id[0] ^ 0x55, question.message_id[1]))
            return Reaction((_forged(other, question.asked), answer))
        if fault is Fault.WRONG_QUESTION:
            return Reaction((_forged(question.message_id, b"\x05wrong" + question.asked), answer))
        return Reaction((answer,))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, responder: DnsResponder) -> None:
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reaction = self._responder.respond(data, tcp=False)
        if reaction.messages:
            self._responder.later(lambda: self._send(reaction, addr))

    def _send(self, reaction: Reaction, addr: tuple[str, int]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        for message in reaction.messages:
            self._transport.sendto(message, addr)


class _Tcp(asyncio.Protocol):
    def __init__(self, responder: DnsResponder) -> None:
        self._responder = responder
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._responder.track(self._transport, opened=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio names it
        if self._transport is not None:
            self._responder.track(self._transport, opened=False)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                return
            query, self._buffer = self._buffer[2:end], self._buffer[end:]
            reaction = self._responder.respond(query, tcp=True)
            if reaction.messages or reaction.reset:
                self._responder.later(lambda reaction=reaction: self._send(reaction))  # type: ignore[misc]

    def _send(self, reaction: Reaction) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        for message in reaction.messages:
            self._transport.write(len(message).to_bytes(2, "big") + message)
        if reaction.reset:
            accepted = self._transport.get_extra_info("socket")
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def _bind_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Bind a UDP and a TCP socket to one port number."""
    for attempt in range(_BIND_ATTEMPTS):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            tcp.listen(64)
            udp.bind((host, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
            if port or attempt == _BIND_ATTEMPTS - 1:
                raise
        else:
            tcp.setblocking(False)
            udp.setblocking(False)
            return udp, tcp
    raise AssertionError("unreachable")


def _read(query: bytes) -> Question | None:
    """Read a query; None when it is no query that deserves an answer."""
    if len(query) < 17:
        return None
    flags, questions = struct.unpack_from("!HH", query, 2)
    if flags & _QR_OR_OPCODE or questions != 1:
        return None
    end = 12
    while end < len(query) and query[end]:
        if query[end] > 63:  # a compressed name has nothing to point at in a question
            return None
        end += query[end] + 1
    end += 5
    if end > len(query):
        return None
    payload = 0
    if len(query) >= end + 11 and query[end] == 0 and int.from_bytes(query[end + 1 : end + 3], "big") == _OPT:
        payload = max(int.from_bytes(query[end + 3 : end + 5], "big"), UDP_LIMIT)
    return Question(query[:2], query[12:end], flags, payload)


def _name_and_type(question: Question) -> tuple[str, int]:
    import dns.name

    name, _ = dns.name.from_wire(question.asked, 0)
    return name.to_text(omit_final_dot=True).lower().rstrip("."), int.from_bytes(question.asked[-4:-2], "big")


def _encode(
    query: bytes,
    found: Found,
    limit: int,
    *,
    truncated: bool = False,
    bogus: bool = False,
    authoritative: bool = False,
    edns: bool = True,
) -> bytes:
    """Put an answer into wire form; what does not fit the limit becomes a truncated message."""
    import dns.edns
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdataclass
    import dns.rrset

    asked = dns.message.from_wire(query, ignore_trailing=True)
    if asked.question[0].rdclass != dns.rdataclass.IN:
        found = Found("REFUSED", (), ())
    reply = dns.message.make_response(asked, recursion_available=True, our_payload=EDNS_LIMIT)
    if authoritative:
        reply.flags |= dns.flags.AA
    reply.set_rcode(dns.rcode.from_text(found.rcode))
    if not edns:
        reply.use_edns(False)
    elif bogus and reply.edns >= 0:
        reason = dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "signature does not match")
        reply.use_edns(0, payload=EDNS_LIMIT, options=[reason])
    for rrsets, section in ((found.answer, reply.answer), (found.authority, reply.authority)):
        for rrset in rrsets:
            section.append(dns.rrset.from_text(rrset.owner + ".", rrset.ttl, "IN", rrset.type, *rrset.data))
    if truncated:
        reply.flags |= dns.flags.TC
        reply.answer.clear()
        reply.authority.clear()
    # Unshuffled: a lab answers the same every time.
    return reply.to_wire(max_size=limit, prefer_truncation=True, want_shuffle=False)


def _forged(message_id: bytes, asked: bytes) -> bytes:
    """Give an NXDOMAIN that a careful client does not believe."""
    return message_id + struct.pack("!HHHHH", 0x8583, 1, 0, 0, 0) + asked
