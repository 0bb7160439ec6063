"""One conversation: a sans-IO client on a stream, everything that is said written down.

Commands go out one at a time, or as a group where the protocol lets replies come later (RFC 2920). What a transcript
shows of a command may differ from what is sent: secrets are masked, and a letter is told by its size.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Iterable

from mailprobe.model.errors import NetworkError, RemoteProtocolError
from mailprobe.model.evidence import Exchange, Kind, Reply, Stage, Tls, Trouble
from mailprobe.net import tls
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline
from mailprobe.net.network import Network
from mailprobe.net.stream import Stream
from mailprobe.protocols.client import Client

LINES_KEPT = 60
LINE_KEPT = 2_000
FIRST_WORDS = 512
EXTRA = "extra"  # the status of octets that came without being asked for
MASKED = "[masked]"


class Stopped(Exception):  # noqa: N818 - it is how a conversation ends, not an error of ours
    """The conversation cannot go on; the trouble says where and why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.detail)
        self.trouble = trouble


def stop(stage: Stage, kind: Kind, detail: str) -> Stopped:
    """Make the exception that ends a conversation."""
    return Stopped(Trouble(stage=stage, kind=kind, detail=detail[:500]))


class Dialogue:
    """Asks and listens; keeps every exchange and the milliseconds of every stage.

    *hello* is the name to introduce ourselves by, None for the network's choice.
    """

    def __init__(self, network: Network, client: Client, deadline: Deadline, hello: str | None = None) -> None:
        self._network = network
        self._deadline = deadline
        self._hello = hello
        self._awaited: deque[tuple[Stage, str, float]] = deque()  # what was sent as a group and is not answered
        self.client = client
        self.stream: Stream | None = None
        self.exchanges: list[Exchange] = []
        self.timings: dict[str, float] = {}
        self.first_octets = b""
        self.in_step = True  # False once nobody knows what the server will say next, or whether it will
        self._farewell_said = False

    async def connect(self, address: str, port: int, octets_limit: int = SESSION_OCTETS_LIMIT) -> None:
        """Open the connection; *octets_limit* is what the server may send in all."""
        await self._open(self._network.connect(address, port, self._deadline, octets_limit))

    async def connect_socket(self, path: str, octets_limit: int = SESSION_OCTETS_LIMIT) -> None:
        """Open a connection to a unix socket."""
        await self._open(self._network.connect_socket(path, self._deadline, octets_limit))

    async def _open(self, connecting: Awaitable[Stream]) -> None:
        started = time.perf_counter()
        try:
            self.stream = await connecting
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

    async def ask(
        self,
        stage: Stage,
        command: bytes,
        *,
        shown: str | None = None,
        limit_s: float | None = None,
        patient: bool = False,
    ) -> Reply:
        """Send one command and wait for its whole reply. Octets nobody asked for are written down first.

        *shown* stands in the exchange in place of a command that holds a secret or a letter. *limit_s* None is the
        network's limit for a reply. A *patient* wait goes on for as long as more of the reply comes, within the
        deadline: letters take their time.
        """
        started = time.perf_counter()
        self._note_extra(stage)
        sent = command.decode("utf-8", "replace").removesuffix("\r\n") if shown is None else shown
        await self._write(stage, command, sent)
        return await self._listen(stage, sent, limit_s or self._network.limits.reply_s, started, patient=patient)

    async def send_group(self, commands: Iterable[tuple[Stage, bytes, str]]) -> None:
        """Send commands in one write, each with its stage and how it is shown; then `listen` once for each of them.

        What has come before they go is no reply to any of them (RFC 5321 §4.1.1.4), and written down as that.
        """
        group = list(commands)
        if not group:
            return
        if not self._awaited:
            await self._take_at_hand()
            self._note_extra(group[0][0])
        started = time.perf_counter()
        self._awaited += [(stage, shown, started) for stage, _, shown in group]
        await self._write(group[0][0], b"".join(command for _, command, _ in group), group[0][2])

    async def listen(self, stage: Stage, *, patient: bool = False) -> Reply:
        """Wait for one more reply to what was already sent: the oldest unanswered command of a group, if there is one.

        A group's command is kept under its own stage, whatever *stage* says.
        """
        started = time.perf_counter()
        sent = ""
        if self._awaited:
            stage, sent, started = self._awaited.popleft()
        return await self._listen(stage, sent, self._network.limits.reply_s, started, patient=patient)

    async def overhear(self, stage: Stage, limit_s: float) -> bool:
        """Let the client have what the server says unasked, as in IDLE; False when it says nothing in time.

        Raises:
            Stopped: the server leaves, or makes no sense.
        """
        started = time.perf_counter()
        phase = self._deadline.phase(limit_s)
        try:
            while not self._heard(stage):  # something may have come with the last reply
                self.client.receive(await self.opened.read(phase.remaining(3_600.0)))
        except NetworkError as error:
            if error.kind is Kind.TIMEOUT:
                return False
            self.in_step = False
            raise stop(stage, error.kind, str(error)) from None
        except RemoteProtocolError as error:
            self.in_step = False
            raise stop(stage, error.kind, str(error)) from None
        finally:
            self._clock(stage, started)
        return True

    def _heard(self, stage: Stage) -> bool:
        before = len(self.client.partial_lines())
        reply = self.client.next_reply()
        if reply is None:
            return len(self.client.partial_lines()) > before
        self._keep(stage, "", reply, time.perf_counter())
        if reply.status == "BYE":
            self.in_step = False
            raise stop(stage, Kind.CLOSED, reply.lines[-1])
        return True

    def allow(self, octets: int) -> None:
        """Let the server send so many octets more, such as those of a letter that is asked for."""
        self.opened.allow(octets)

    async def secure(self, context: tls.Context, server_name: str | None) -> Tls:
        """Do the handshake and forget all that was learnt in clear."""
        started = time.perf_counter()
        stream = self.opened
        try:
            limit = self._deadline.remaining(self._network.limits.handshake_s)
            await stream.handshake(context, server_name, limit)
        except NetworkError as error:
            self.first_octets = self.first_octets or error.unread
            self.in_step = False
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
        if trouble.kind in {Kind.REJECTED, Kind.TEMPORARY} and self.in_step:
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
        return self._hello or self._network.ehlo_name(self.opened)

    @property
    def opened(self) -> Stream:
        """The stream, which must be open."""
        assert self.stream is not None, "connect comes first"
        return self.stream

    async def _write(self, stage: Stage, data: bytes, sent: str) -> None:
        """Send; wait for a server that takes a letter slowly for as long as it takes any of it."""
        started = time.perf_counter()
        self.opened.write(data)
        try:
            await self.opened.sent(self._deadline.remaining(self._network.limits.reply_s))
        except NetworkError as error:
            self.in_step = False
            self._awaited.clear()
            self._keep_partial(stage, sent, started)
            raise stop(stage, error.kind, str(error)) from None

    async def _take_at_hand(self) -> None:
        """Give the client what has arrived and was not read: TLS hands out one record at a time."""
        with contextlib.suppress(NetworkError):  # nothing has, or the connection has ended; the next reading tells
            while True:
                self.client.receive(await self.opened.read(0.0))

    async def _listen(self, stage: Stage, sent: str, limit_s: float, started: float, *, patient: bool = False) -> Reply:
        phase = self._deadline.phase(limit_s)
        try:
            reply = await self._reply(phase, limit_s if patient else None)
        except (NetworkError, RemoteProtocolError) as error:
            self.in_step = False
            self._keep_partial(stage, sent, started)
            words = self._words(error, limit_s) if isinstance(error, NetworkError) else str(error)
            raise stop(stage, error.kind, words) from None
        finally:
            self._clock(stage, started)
        self._keep(stage, sent, reply, started)
        return reply

    async def _reply(self, phase: Deadline, piece_s: float | None) -> Reply:
        while (reply := self.client.next_reply()) is None:
            limit_s = phase.remaining(3_600.0) if piece_s is None else self._deadline.remaining(piece_s)
            data = await self.opened.read(limit_s)
            if len(self.first_octets) < FIRST_WORDS:
                self.first_octets += data[:FIRST_WORDS]
            self.client.receive(data)
        return reply

    def _words(self, error: NetworkError, limit_s: float) -> str:
        if error.kind is not Kind.TIMEOUT:
            return str(error)
        met = self.client.partial_lines() or self.client.take_unread() or (not self.exchanges and self.first_octets)
        begun = "the reply was not complete" if met else "silence"
        if not self._deadline.remaining(limit_s):
            return f"{begun} when all the time for this target was spent"
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

    def hide_reply(self) -> None:
        """Keep no more than the status of the last reply: what else it says would tell something of a secret."""
        last = self.exchanges[-1]
        hidden = Reply(status=last.reply.status, lines=(f"{last.reply.status} {MASKED}",), quirks=last.reply.quirks)
        self.exchanges[-1] = Exchange(stage=last.stage, secure=last.secure, sent=last.sent, reply=hidden, ms=last.ms)

    def _clock(self, stage: Stage, started: float) -> None:
        spent = (time.perf_counter() - started) * 1000
        self.timings[stage.value] = round(self.timings.get(stage.value, 0.0) + spent, 3)
