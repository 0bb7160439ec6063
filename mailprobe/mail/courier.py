"""A courier: one kept connection to a mail server that carries letter after letter.

While the server works on one letter, the envelope of the next is already there: it goes out in the same write as the
letter before (RFC 2920 §3.1), so a letter costs one round trip. A letter itself goes out only once the one before is
answered; so what became of each is known exactly, however the connection ends.

What a server says before it has what it answers is no answer (RFC 5321 §4.1.1.4, RFC 2920 §3.1). Such a server is left
at once: nobody could tell any more which of its replies belongs to which letter.

Nothing is written down but outcomes. Replies that are all as hoped for, which is nearly always, are recognised by one
regular expression; everything else goes reply by reply through `Transaction`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Literal

from mailprobe.collect.dialogue import Stopped as Stopped
from mailprobe.collect.dialogue import stop
from mailprobe.mail.login import Login
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Place, Security
from mailprobe.model.errors import LocalProtocolError, NetworkError, RemoteProtocolError
from mailprobe.model.evidence import Kind, Reply, Stage, Trouble
from mailprobe.model.ports import Service
from mailprobe.model.sending import RecipientOutcome
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.client import empty_capabilities
from mailprobe.protocols.smtp.transaction import Parcel, Step, Transaction

Starttls = Literal["never", "opportunistic", "required"]
Outcomes = tuple[RecipientOutcome, ...]

_SECURITY: dict[Starttls, Security] = {
    "never": Security.CLEAR,
    "opportunistic": Security.OPPORTUNISTIC,
    "required": Security.STARTTLS,
}
_LARGE = 65_536  # a write of more may take the server longer than one reply may
_TLS_FRAMES = 512  # octets that TLS adds to an envelope, more than it ever does


class Courier:
    """Make it with `open` or `visit`; end it with `quit` or `close`.

    One job at a time: `carry`, `carry_all` or `work`. *trouble* is None as long as the connection is of use; every
    parcel given to it after that is NOT_SENT.
    """

    def __init__(self, network: Network, visit: Visit) -> None:
        """Take over a visit that has begun and is at rest."""
        capabilities = visit.capabilities or empty_capabilities("helo")
        self.capabilities = capabilities
        self.tls = visit.tls
        self.trouble: Trouble | None = None
        self._limits = network.limits
        self._client = visit.smtp
        self._stream = visit.dialogue.opened
        self._loop = asyncio.get_running_loop()
        self._lmtp = visit.place.lmtp
        self._pipelining = capabilities.has("PIPELINING")
        self._chunking = capabilities.has("CHUNKING")
        self._pull: Callable[[], Parcel | None] = _nothing
        self._done: Callable[[Transaction, float], None] = _unheard
        self._idle: Callable[[], object] = _nothing
        self._current: Transaction | None = None
        self._following: Transaction | None = None  # its envelope is out, behind the letter of the current one
        self._began = self._following_began = 0.0
        self._waiting: Parcel | None = None  # pulled, and not fit to go ahead of its letter
        self._last_begun: Transaction | None = None
        self._hoped_for: re.Pattern[bytes] | None = None
        self._in_step = True  # the client holds no part of a reply
        self._resetting = False
        self._progress = 0.0
        self._unsent = 0
        self._frames = _TLS_FRAMES if visit.tls is not None else 0
        self._behind = 0  # octets that went out behind the end of the current letter
        self._asked = False  # something was asked since octets last arrived, and nothing before that is unanswered
        self._timer: asyncio.TimerHandle | None = None
        self._stream.call_on_arrival(self._arrived)

    @classmethod
    async def open(
        cls,
        network: Network,
        address: str,
        port: int,
        *,
        host: str,
        deadline: Deadline,
        hello: str | None = None,
        starttls: Starttls = "opportunistic",
        implicit_tls: bool = False,
        lmtp: bool = False,
        login: Login | None = None,
    ) -> Courier:
        """Visit an address, introduce ourselves as *hello*, change to TLS, log in, and stay.

        *host* goes out as SNI. *deadline* is for all of this; afterwards each reply has the network's limit.
        Opportunistic means: where it is offered and granted; a handshake that fails is the end, and whether to come
        again in clear is for the caller to decide (RFC 7435 §3).

        Raises:
            Stopped: with where and why.
        """
        place = Place(
            host=host,
            address=address,
            port=port,
            service=Service.SMTP,
            security=Security.TLS if implicit_tls else _SECURITY[starttls],
            lmtp=lmtp,
        )
        return await cls.visit(network, place, deadline=deadline, hello=hello, login=login)

    @classmethod
    async def visit(
        cls, network: Network, place: Place, *, deadline: Deadline, hello: str | None = None, login: Login | None = None
    ) -> Courier:
        """Visit a place and stay; a unix socket is a place, too.

        Raises:
            Stopped: with where and why.
        """
        visit = Visit(network, place, deadline, hello)
        try:
            await visit.begin()
            if login is not None:
                await visit.log_in(login)
            if visit.client.take_unread():
                raise stop(Stage.CAPABILITIES, Kind.GARBAGE, "the server said more than it was asked for")
            return cls(network, visit)
        except BaseException:
            await visit.end()
            raise

    @property
    def tls_text(self) -> str:
        """The TLS version, such as ``TLSv1.3``; empty in clear."""
        return self.tls.version if self.tls is not None else ""

    # -- jobs --------------------------------------------------------------------------------------------------

    async def carry(self, parcel: Parcel) -> Outcomes:
        """Carry one parcel and give what became of each recipient."""
        (outcomes,) = [outcomes async for outcomes in self.carry_all((parcel,))]
        return outcomes

    async def carry_all(self, parcels: Iterable[Parcel]) -> AsyncIterator[Outcomes]:
        """Carry parcels and give the outcomes of each in order, without waiting for whoever takes them.

        It ends early when the connection does; the outcomes given are those of all that was taken from *parcels*.
        Whoever stops listening before the end closes the connection, and does not learn of the letters under way.
        """
        source = iter(parcels)
        results: deque[Outcomes] = deque()
        news = asyncio.Event()
        at_rest = asyncio.Event()

        def done(transaction: Transaction, _began: float) -> None:
            results.append(transaction.outcomes)
            news.set()

        def idle() -> None:
            at_rest.set()
            news.set()

        self.work(lambda: next(source, None), done, idle)
        try:
            while results or not at_rest.is_set():
                while results:
                    yield results.popleft()
                if not at_rest.is_set():
                    await news.wait()
                    news.clear()
        finally:
            if not at_rest.is_set():
                self.close()

    def work(
        self,
        pull: Callable[[], Parcel | None],
        done: Callable[[Transaction, float], None],
        idle: Callable[[], object],
    ) -> None:
        """Carry what *pull* gives until it gives None, by callbacks alone.

        *done* gets each finished transaction and the `time.monotonic` at which it began. *idle* is called when nothing
        is under way any more, and when the connection ends; `go_on` then pulls again. None of them may raise.
        """
        self._pull, self._done, self._idle = pull, done, idle
        self.go_on()

    def go_on(self) -> None:
        """Pull again, unless a letter is under way."""
        if self._current is None and not self._resetting:
            self._begin_next()

    async def quit(self) -> None:
        """Say goodbye, give the server a moment to answer, and close."""
        self._stream.call_on_arrival(None)
        if self.trouble is None:
            self._stream.write(self._client.quit())
            with contextlib.suppress(NetworkError):
                await self._stream.read(self._limits.farewell_s)
        self.close()

    def close(self) -> None:
        """End the connection without a word; a letter that is out and not answered is UNCERTAIN."""
        self._break(Kind.LOCAL, "we closed the connection")

    # -- beginning ---------------------------------------------------------------------------------------------

    def _begin_next(self) -> None:
        """Begin the next transaction where nothing is under way, or come to rest."""
        while (parcel := self._next_parcel()) is not None:
            transaction, steps = self._begun(parcel)
            self._began = time.monotonic()
            if not transaction.finished:
                self._current = transaction
                self._proceed(steps)
                return
            self._done(transaction, self._began)
            if self.trouble is not None:
                break
        self._idle()

    def _next_parcel(self) -> Parcel | None:
        parcel, self._waiting = self._waiting, None
        return parcel if parcel is not None else self._pull()

    def _begun(self, parcel: Parcel) -> tuple[Transaction, list[Step]]:
        """Begin a transaction; one that cannot be is finished, and the connection none the worse."""
        transaction = Transaction(
            self._client,
            parcel,
            pipelining=self._pipelining,
            chunking=self._chunking and _is_binary(parcel),
            lmtp=self._lmtp,
        )
        if self.trouble is not None:
            transaction.lost(self.trouble.detail)
            return transaction, []
        try:
            steps = transaction.begin(like=self._last_begun)
        except LocalProtocolError as error:
            transaction.lost(str(error))
            transaction.unusable = False
            return transaction, []
        self._last_begun = transaction
        return transaction, steps

    def _proceed(self, steps: list[Step]) -> None:
        """Go on with the current letter, unless the server has already answered what is only now to be said."""
        if steps and self._current is not None and (ahead := self._said_ahead()):
            self._current.hold_back()
            self._break(*ahead)
        else:
            self._send(steps)

    def _said_ahead(self) -> tuple[Kind, str] | None:
        """Take what has come behind the last reply that was due, and give what it is the end for."""
        said = *self._client.partial_lines(), *self._client.take_unread().decode("latin-1").splitlines()
        if not said:
            return None
        if said[0].startswith("421"):  # it may come at any time (RFC 5321 §3.8)
            return Kind.TEMPORARY, said[0]
        return Kind.GARBAGE, f"the server said more than it was asked for: {said[0]}"

    def _send(self, steps: list[Step]) -> None:
        """Write what is next of the current letter, and behind its end the next envelope."""
        octets = [step.command for step in steps]
        self._hoped_for = None
        self._asked = bool(steps)
        if self._following is None:
            ahead = self._envelope_ahead()
            octets += ahead
            self._behind = sum(map(len, ahead)) + self._frames
        data = octets[0] if len(octets) == 1 else b"".join(octets)
        if data:
            self._stream.write(data)
            self._unsent = self._stream.unsent if len(data) > _LARGE else 0
            self._progress = time.monotonic()
            if self._timer is None:
                self._timer = self._loop.call_later(self._limits.reply_s, self._look_at_the_time)

    def _envelope_ahead(self) -> list[bytes]:
        current = self._current
        if not self._pipelining or current is None or not current.letter_is_out or _is_binary(current.parcel):
            return []  # a refused chunk leaves the server in the transaction (RFC 3030 §2)
        parcel = self._next_parcel()
        if parcel is None:
            return []
        if _is_binary(parcel):  # its chunks may go out with its envelope, and the letter before is not answered
            self._waiting = parcel
            return []
        self._following, steps = self._begun(parcel)
        self._following_began = time.monotonic()
        if self._following.envelope_is_out and not self._lmtp:
            self._hoped_for = _replies_hoped_for(len(parcel.recipients))
        return [step.command for step in steps]

    # -- listening ---------------------------------------------------------------------------------------------

    def _arrived(self) -> None:
        self._asked = False
        try:
            while data := self._stream.read_now():
                if self._asked:  # it was here before the question: TLS hands out record by record
                    self._break(Kind.GARBAGE, "the server answered before it was asked")
                    return
                self._hear(data)
                if self.trouble is not None:
                    return
        except (NetworkError, RemoteProtocolError) as error:
            self._break(error.kind, str(error))

    def _hear(self, data: bytes) -> None:
        if self._hoped_for is not None and self._in_step:
            found = self._hoped_for.fullmatch(data)
            if found is not None and self._stream.unsent <= self._behind:
                self._all_is_well(found[1])
                return
        self._hoped_for = None
        self._client.receive(data)
        while self.trouble is None and (reply := self._client.next_reply()) is not None:
            self._take(reply)
        self._in_step = data.endswith(b"\n") and not self._client.partial_lines()

    def _all_is_well(self, line: bytes) -> None:
        """The letter is accepted, and of the one after it the sender, each recipient and DATA."""
        before, began = self._current, self._began
        assert before is not None
        assert self._following is not None
        before.take(Reply(status="250", lines=(line.decode("latin-1"),), quirks=()))
        self._current, self._began, self._following = self._following, self._following_began, None
        self._send(self._current.take_envelope())
        self._done(before, began)

    def _take(self, reply: Reply) -> None:
        self._progress = time.monotonic()
        if self._resetting:
            self._resetting = False
            if reply.status.startswith("2"):
                self._begin_next()
            else:
                self._break(_kind_of(reply), reply.lines[-1])
        elif self._current is None:
            self._break(_kind_of(reply), f"unasked for: {reply.lines[-1]}")
        elif self._current.letter_is_out and reply.status.startswith("2") and self._stream.unsent > self._behind:
            self._break(Kind.GARBAGE, f"the server accepted a letter that it did not have yet: {reply.lines[-1]}")
        else:
            current = self._current
            self._proceed(current.take(reply))
            if current.finished and self.trouble is None:
                self._settle(current, reply)

    def _settle(self, transaction: Transaction, reply: Reply) -> None:
        if transaction.unusable:
            self._break(_kind_of(reply), reply.lines[-1])
            return
        began = self._began
        self._current, self._began, self._following = self._following, self._following_began, None
        self._done(transaction, began)
        if self.trouble is not None:  # whoever was told has closed the connection
            return
        if transaction.needs_reset:
            self._reset()
        elif self._current is None:
            self._begin_next()
        elif self._current.finished:  # it could not begin
            self._settle(self._current, reply)

    def _reset(self) -> None:
        if ahead := self._said_ahead():
            self._break(*ahead)
        else:
            self._resetting = self._asked = True
            self._stream.write(self._client.rset())

    # -- ending ------------------------------------------------------------------------------------------------

    def _break(self, kind: Kind, detail: str) -> None:
        """End the connection, tell what became of what was under way, and come to rest."""
        if self.trouble is not None:
            return
        current, following = self._current, self._following
        stage = current.awaited.stage if current is not None and current.awaited is not None else Stage.QUIT
        self.trouble = Trouble(stage=stage, kind=kind, detail=detail[:500])
        self._stream.call_on_arrival(None)
        self._stream.close()
        if self._timer is not None:
            self._timer.cancel()
        self._current = self._following = None
        self._resetting = False
        for transaction, began in ((current, self._began), (following, self._following_began)):
            if transaction is not None:
                transaction.lost(detail)
                self._done(transaction, began)
        self._idle()

    def _look_at_the_time(self) -> None:
        """Give up on a reply that takes too long, or a letter of which the server takes nothing."""
        self._timer = None
        if self._current is None and not self._resetting:
            return
        limit_s = self._limits.reply_s
        now = time.monotonic()
        unsent = self._stream.unsent
        if unsent < self._unsent:
            self._unsent, self._progress = unsent, now
        left_s = self._progress + limit_s - now
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look_at_the_time)
        else:
            self._break(Kind.TIMEOUT, f"no reply within {limit_s:.3g} s")


@functools.cache
def _replies_hoped_for(recipients: int) -> re.Pattern[bytes]:
    """Match acceptance of a letter and of the envelope behind it, each reply on one line."""
    taken = rb"25[0-2] [^\r\n\0]*\r\n"
    return re.compile(rb"(250 [^\r\n\0]*)\r\n" + taken * (1 + recipients) + rb"354 [^\r\n\0]*\r\n")


def _is_binary(parcel: Parcel) -> bool:
    """Tell whether it must go by BDAT (RFC 3030 §3); all else goes by DATA, whose envelope can go ahead."""
    return "BODY=BINARYMIME" in parcel.sender_parameters


def _kind_of(reply: Reply) -> Kind:
    if reply.status.startswith("4"):
        return Kind.TEMPORARY
    return Kind.REJECTED if reply.status.startswith("5") else Kind.GARBAGE


def _nothing() -> None:
    """Give no parcel."""


def _unheard(_transaction: Transaction, _began: float) -> None:
    """Take no notice of an outcome."""
