"""One conversation: a sans-IO client on a stream, one command at a time, everything written down."""

from __future__ import annotations

import time

from mailprobe.model.errors import NetworkError, RemoteProtocolError
from mailprobe.model.evidence import Exchange, Kind, Reply, Stage, Tls, Trouble
from mailprobe.net import tls
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.net.stream import Stream
from mailprobe.protocols.client import Client

LINES_KEPT = 60
LINE_KEPT = 2_000
FIRST_WORDS = 512
EXTRA = "extra"  # the status of octets that came without being asked for


class Stopped(Exception):  # noqa: N818 - it is how a conversation ends, not an error of ours
    """The conversation cannot go on; the trouble says where and why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


def stop(stage: Stage, kind: Kind, detail: str) -> Stopped:
    """Make the exception that ends a conversation."""
    return Stopped(Trouble(stage=stage, kind=kind, detail=detail[:500]))


class Dialogue:
    """Asks and listens; keeps every exchange and the milliseconds of every stage."""

    def __init__(self, network: Network, client: Client, deadline: Deadline) -> None:
        self._network = network
        self._deadline = deadline
        self.client = client
        self.stream: Stream | None = None
        self.exchanges: list[Exchange] = []
        self.timings: dict[str, float] = {}
        self.first_octets = b""
        self._farewell_said = False

    async def connect(self, address: str, port: int) -> None:
        """Open the connection."""
        started = time.perf_counter()
        try:
            self.stream = await self._network.connect(address, port, self._deadline)
        except NetworkError as error:
            # A reset, unlike a refusal, came after the connection was made.
            stage = Stage.GREETING if error.kind is Kind.RESET else Stage.CONNECT
            raise stop(stage, error.kind, str(error)) from None
        finally:
            self._clock(Stage.CONNECT, started)

    async def greeting(self, limit_s: float | None = None) -> Reply:
        """Wait for the server's first words; we never speak before them (RFC 5321 §4.3.1)."""
        started = time.perf_counter()
        return await self._listen(Stage.GREETING, "", limit_s or self._network.limits.greeting_s, started)

    async def first_words(self, limit_s: float) -> bytes:
        """Wait for a line of whatever a port of no known service says first; it need not be a mail protocol."""
        started = time.perf_counter()
        phase = self._deadline.phase(limit_s)
        try:
            while b"\n" not in self.first_octets and len(self.first_octets) < FIRST_WORDS:
                self.first_octets += await self.opened.read(phase.remaining(limit_s))
        except NetworkError as error:
            if not self.first_octets:
                raise stop(Stage.GREETING, error.kind, self._words(error, limit_s)) from None
        finally:
            self._clock(Stage.GREETING, started)
        return self.first_octets

    def hand_over(self, client: Client, octets: bytes) -> None:
        """Go on with another client, which is given what has already arrived."""
        self.client = client
        client.receive(octets)

    async def ask(self, stage: Stage, command: bytes) -> Reply:
        """Send one command and wait for its whole reply. Octets nobody asked for are written down first."""
        started = time.perf_counter()
        self._note_extra(stage)
        self.opened.write(command)
        sent = command.decode("utf-8", "replace").removesuffix("\r\n")
        return await self._listen(stage, sent, self._network.limits.reply_s, started)

    async def listen(self, stage: Stage) -> Reply:
        """Wait for one more reply to what was already sent."""
        return await self._listen(stage, "", self._network.limits.reply_s, time.perf_counter())

    async def secure(self, context: tls.Context, server_name: str | None) -> Tls:
        """Do the handshake and forget all that was learnt in clear."""
        started = time.perf_counter()
        stream = self.opened
        try:
            limit = self._deadline.remaining(self._network.limits.handshake_s)
            await stream.handshake(context, server_name, limit)
        except NetworkError as error:
            self.first_octets = self.first_octets or error.unread
            raise stop(Stage.HANDSHAKE, error.kind, str(error)) from None
        finally:
            self._clock(Stage.HANDSHAKE, started)
        assert stream.tls is not None
        self.client.secured()
        return tls.facts(stream.tls, server_name, self._network.verify)

    def farewell(self, command: bytes) -> None:
        """Say goodbye; `close` then gives the server a moment to answer, for which nobody waits."""
        if self.stream is None:
            return
        self.stream.write(command)
        self._farewell_said = True
        sent = command.decode("ascii").removesuffix("\r\n")
        self._keep(Stage.QUIT, sent, Reply(status="", lines=(), quirks=()), time.perf_counter())

    def part(self, trouble: Trouble, command: bytes) -> None:
        """Say goodbye where the trouble left both sides in step: the server said no, and waits for what comes next."""
        if trouble.kind in {Kind.REJECTED, Kind.TEMPORARY}:
            self.farewell(command)

    def close(self) -> None:
        """End the connection."""
        if self.stream is None:
            return
        if self._farewell_said:
            self._network.part(self.stream, self._deadline.remaining(self._network.limits.farewell_s))
        else:
            self.stream.close()

    def take_leftover(self) -> bytes:
        """Remove and return what arrived in clear behind the last reply."""
        return self.client.take_unread() + self.opened.unread()

    @property
    def our_name(self) -> str:
        """The name to introduce ourselves by on this connection."""
        return self._network.ehlo_name(self.opened)

    @property
    def opened(self) -> Stream:
        """The stream, which must be open."""
        assert self.stream is not None, "connect comes first"
        return self.stream

    async def _listen(self, stage: Stage, sent: str, limit_s: float, started: float) -> Reply:
        phase = self._deadline.phase(limit_s)
        try:
            reply = await self._reply(phase)
        except NetworkError as error:
            self._keep_partial(stage, sent, started)
            raise stop(stage, error.kind, self._words(error, limit_s)) from None
        except RemoteProtocolError as error:
            self._keep_partial(stage, sent, started)
            raise stop(stage, error.kind, str(error)) from None
        finally:
            self._clock(stage, started)
        self._keep(stage, sent, reply, started)
        return reply

    async def _reply(self, phase: Deadline) -> Reply:
        while (reply := self.client.next_reply()) is None:
            data = await self.opened.read(phase.remaining(3_600.0))
            if len(self.first_octets) < FIRST_WORDS:
                self.first_octets += data[:FIRST_WORDS]
            self.client.receive(data)
        return reply

    def _words(self, error: NetworkError, limit_s: float) -> str:
        if error.kind is not Kind.TIMEOUT:
            return str(error)
        begun = "the reply was not complete" if self.client.partial_lines() or self.first_octets else "silence"
        return f"{begun} after our limit of {limit_s:.3g} s (RFC 5321 §4.5.3.2 allows servers minutes)"

    def _note_extra(self, stage: Stage) -> None:
        extra = self.client.take_unasked()
        if extra:
            lines = tuple(extra.decode("latin-1").splitlines())
            self._keep(stage, "", Reply(status=EXTRA, lines=lines, quirks=()), time.perf_counter())

    def _keep_partial(self, stage: Stage, sent: str, started: float) -> None:
        lines = self.client.partial_lines()
        if lines or sent:
            self._keep(stage, sent, Reply(status="", lines=lines, quirks=()), started)

    def _keep(self, stage: Stage, sent: str, reply: Reply, started: float) -> None:
        kept = tuple(line[:LINE_KEPT] for line in reply.lines[:LINES_KEPT])
        if kept != reply.lines:
            reply = Reply(status=reply.status, lines=kept, quirks=reply.quirks)
        milliseconds = round((time.perf_counter() - started) * 1000, 3)
        secure = self.client.secure
        self.exchanges.append(Exchange(stage=stage, secure=secure, sent=sent, reply=reply, ms=milliseconds))

    def _clock(self, stage: Stage, started: float) -> None:
        spent = (time.perf_counter() - started) * 1000
        self.timings[stage.value] = round(self.timings.get(stage.value, 0.0) + spent, 3)
