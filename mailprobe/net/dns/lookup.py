"""How one question is asked: which server, how often, when over TCP, when without EDNS, when to give up.

`lookup` is a generator: it yields what to send and is sent what came back. It opens no socket, so the blocking
and the concurrent way of sending share every decision.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator

import msgspec

from mailprobe.model.evidence import Answer, Dnssec, Status
from mailprobe.net.dns.message import Query, read
from mailprobe.net.dns.question import Question
from mailprobe.net.dns.servers import Server


class Send(msgspec.Struct, frozen=True):
    """Send *wire* to *server* over *transport* and wait *wait_s* for octets that *accepts* agrees to."""

    server: Server
    transport: str
    wire: bytes
    wait_s: float
    accepts: Callable[[bytes], bool]


class Failed(msgspec.Struct, frozen=True):
    """Sending or waiting came to nothing: *timeout* when nobody answered, otherwise *detail* says what happened."""

    timeout: bool
    detail: str


def silence(send: Send) -> str:
    """Say that nothing came."""
    return f"no answer from {send.server} within {send.wait_s:.1f} s"


def unreachable(send: Send, error: Exception) -> str:
    """Say why nothing could be sent or received; a machine out of sockets does not blame the server."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.errno in _NO_SOCKET:
        return f"this machine could not open a socket: {reason}"
    return f"{send.server} cannot be asked: {reason}"


_NO_SOCKET = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAFNOSUPPORT}

Reply = bytes | Failed
Lookup = Generator[Send, Reply, Answer]

_ROUNDS = 3  # a resolver over UDP without retry hangs sooner or later


def lookup(question: Question, servers: tuple[Server, ...], *, try_s: float, total_s: float) -> Lookup:
    """Ask *servers* in turn until one gives an answer that stands, *total_s* seconds at most.

    A silent server is asked again, one that fails (SERVFAIL, REFUSED, ICMP) is not; the failure that says most
    is the answer when nobody gave another. After a SERVFAIL the question is put once more with checking
    disabled: an answer then means that validation failed (RFC 4035 §3.2.2 and §5.5).
    """
    course = _Course(question, total_s)
    in_play = list(servers)
    failures: list[Answer] = []
    for _ in range(_ROUNDS):
        for server in tuple(in_play):
            if failures and not course.time_left:
                break
            answer = yield from course.ask(server, try_s)
            if answer.status in _STANDS:
                return answer
            failures.append(answer)
            if answer.status is not Status.TIMEOUT:
                in_play.remove(server)
    telling = min(failures, key=lambda answer: _SAYS_MOST.index(answer.status))
    if telling.status is Status.SERVFAIL and course.time_left:
        return (yield from course.tell_bogus(telling, servers, try_s))
    return course.totalled(telling)


_STANDS = {Status.ANSWERED, Status.NODATA, Status.NXDOMAIN}
_SAYS_MOST = (Status.SERVFAIL, Status.REFUSED, Status.FAILED, Status.TIMEOUT)


class _Course:
    """The way of one question: packets sent, time spent."""

    def __init__(self, question: Question, total_s: float) -> None:
        self._question = question
        self._started = time.perf_counter()
        self._total_s = total_s
        self._attempts = 0

    @property
    def time_left(self) -> float:
        """Seconds before the whole question must be given up."""
        return max(0.0, self._started + self._total_s - time.perf_counter())

    def ask(self, server: Server, try_s: float, *, checking_disabled: bool = False) -> Lookup:
        """Ask one server: without EDNS when it cannot take it, over TCP when the answer is cut."""
        detail = ""
        query = self._query(edns=True, checking_disabled=checking_disabled)
        reply = yield self._send(server, server.transport, query, try_s)
        if not isinstance(reply, Failed) and read(reply).refuses_edns:
            detail = "the resolver takes no EDNS"
            query = self._query(edns=False, checking_disabled=checking_disabled)
            reply = yield self._send(server, server.transport, query, try_s)
        transport = server.transport
        if transport == "udp" and not isinstance(reply, Failed) and read(reply).truncated:
            transport = "tcp"
            reply = yield self._send(server, "tcp", query, self.time_left)
            if isinstance(reply, Failed):
                reason = "timed out" if reply.timeout else reply.detail
                reply = Failed(timeout=False, detail=f"the answer was cut at UDP size, and TCP failed: {reason}")
        if isinstance(reply, Failed):
            return self._failure(server, transport, reply)
        answer = read(reply).answer(self._question.name, self._question.type, trusted=server.trusted_path)
        return self._finished(answer, server, transport, answer.detail or detail)

    def tell_bogus(self, servfail: Answer, servers: tuple[Server, ...], try_s: float) -> Lookup:
        """Tell a SERVFAIL of validation from any other."""
        server = next(server for server in servers if str(server) == servfail.server)
        unchecked = yield from self.ask(server, try_s, checking_disabled=True)
        dnssec = Dnssec.BOGUS if unchecked.status in _STANDS else Dnssec.UNKNOWN
        return self.totalled(msgspec.structs.replace(servfail, dnssec=dnssec))

    def totalled(self, answer: Answer) -> Answer:
        """Give an answer the packets and the time of the whole question."""
        return msgspec.structs.replace(answer, attempts=self._attempts, ms=self._ms())

    def _query(self, *, edns: bool, checking_disabled: bool) -> Query:
        return Query(self._question.name, self._question.type, edns=edns, checking_disabled=checking_disabled)

    def _send(self, server: Server, transport: str, query: Query, try_s: float) -> Send:
        self._attempts += 1
        wait_s = self.time_left if transport != "udp" else min(try_s, self.time_left)
        return Send(server, transport, query.wire, wait_s, query.matches)

    def _ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 3)

    def _finished(self, answer: Answer, server: Server, transport: str, detail: str) -> Answer:
        return msgspec.structs.replace(
            answer,
            server=str(server),
            transport=transport,
            attempts=self._attempts,
            ms=self._ms(),
            detail=detail,
        )

    def _failure(self, server: Server, transport: str, failed: Failed) -> Answer:
        answer = Answer(
            name=self._question.name,
            type=self._question.type,
            status=Status.TIMEOUT if failed.timeout else Status.FAILED,
            rcode="",
            flags=(),
            records=(),
            authority=(),
            extended_errors=(),
            dnssec=Dnssec.UNKNOWN,
            server="",
            transport="",
            attempts=0,
            ms=0.0,
            detail="",
        )
        return self._finished(answer, server, transport, failed.detail)
