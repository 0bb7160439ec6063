"""Kept connections to one host, and the letters that go over them.

A connection is opened when there is something to carry, another when those there are cannot keep up, and each stays for
a while after its last letter. What a host does not take now is handed back, for the next host or for later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from mailprobe.lab.post.parcels import Errand, parcel_of, unfit
from mailprobe.lab.post.routes import Host
from mailprobe.mail.courier import Courier, Stopped
from mailprobe.model.evidence import Reply, Stage
from mailprobe.model.sending import Outcome, RecipientOutcome
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.smtp.transaction import Parcel, Transaction

SMTP_PORT = 25
CONNECTIONS = 8
CROWD = 4  # letters that must wait for each connection before another is opened
KEPT_S = 3.0
OPENING_S = 60.0


class Said(msgspec.Struct, frozen=True):
    """What came of one recipient at one host: *text* is the host's reply or our own words, *tls* empty in clear.

    *reports* tells whether the host reports what becomes of the letter (RFC 3461).
    """

    outcome: Outcome
    text: str
    host: Host
    tls: str = ""
    reports: bool = False


Told = Callable[[Errand, Sequence[Said]], None]


class Lane:
    """The way to one host.

    *told* hears of each errand that is done, with something said for each of its recipients; of those that could not
    be begun as NOT_SENT. While *closed* says so, nothing more is begun.
    """

    def __init__(self, network: Network, hello: str, host: Host, told: Told, closed: Callable[[], bool]) -> None:
        self.host = host
        self._network = network
        self._hello = hello
        self._told = told
        self._closed = closed
        self._waiting: deque[Errand] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._couriers: set[_Shift] = set()

    @property
    def is_open(self) -> bool:
        """True while a connection is there or being opened."""
        return bool(self._tasks)

    def add(self, errand: Errand) -> None:
        """Carry a letter as soon as may be."""
        self._waiting.append(errand)
        if len(self._tasks) < CONNECTIONS and len(self._waiting) > CROWD * len(self._tasks):
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            for shift in self._couriers:
                shift.go_on()

    def give_back(self) -> list[Errand]:
        """Give what has not been begun, to be done another time."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    async def close(self) -> None:
        """Drop every connection; what is under way is not told of."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        """Keep one connection for as long as there is something to carry, and a little longer."""
        try:
            courier = await self._open()
        except Stopped as stopped:
            self._refuse(stopped.trouble.detail)
            return
        shift = _Shift(courier, self.host, self._next, self._told, self._again)
        self._couriers.add(shift)
        try:
            await shift.run()
            await courier.quit()
        finally:
            self._couriers.discard(shift)
            courier.close()
        if self._waiting and not self._couriers:
            await self._work()

    async def _open(self) -> Courier:
        """Connect; where STARTTLS is offered and fails, once more without it (RFC 7435 §3)."""
        try:
            return await self._connect("opportunistic")
        except Stopped as stopped:
            if stopped.trouble.stage not in (Stage.STARTTLS, Stage.HANDSHAKE):
                raise
        return await self._connect("never")

    async def _connect(self, starttls: Literal["opportunistic", "never"]) -> Courier:
        return await Courier.open(
            self._network,
            self.host.address,
            SMTP_PORT,
            host=self.host.name,
            hello=self._hello,
            starttls=starttls,
            deadline=Deadline(OPENING_S),
        )

    def _next(self) -> Errand | None:
        return self._waiting.popleft() if self._waiting and not self._closed() else None

    def _again(self, errand: Errand) -> None:
        """Begin an errand anew over another connection, as this one was ended between two letters."""
        self._waiting.appendleft(errand)

    def _refuse(self, text: str) -> None:
        """Hand everything back, unless another connection is there for it."""
        if self._couriers:
            return
        for errand in self.give_back():
            self._told(errand, [Said(Outcome.NOT_SENT, text, self.host)] * len(errand.recipients))


class _Shift:
    """One connection's work. An errand that a kept connection lost before it was begun is done again, once."""

    def __init__(
        self,
        courier: Courier,
        host: Host,
        pull: Callable[[], Errand | None],
        told: Told,
        again: Callable[[Errand], None],
    ) -> None:
        self._courier = courier
        self._host = host
        self._pull = pull
        self._told = told
        self._again = again
        self._under_way: deque[Errand] = deque()
        self._carried = 0
        self._news = asyncio.Event()
        self._idle = False

    async def run(self) -> None:
        """Work until nothing has come for a while, or the connection is of no more use."""
        self._courier.work(self._parcel, self._done, self._rest)
        while self._courier.trouble is None:
            self._news.clear()
            try:
                async with asyncio.timeout(KEPT_S):
                    await self._news.wait()
            except TimeoutError:
                if self._idle:
                    return

    def go_on(self) -> None:
        """Look for more to carry."""
        if self._idle and self._courier.trouble is None:
            self._idle = False
            self._news.set()
            self._courier.go_on()

    def _parcel(self) -> Parcel | None:
        while self._courier.trouble is None and (errand := self._pull()) is not None:
            reason = unfit(errand, self._courier.capabilities, self._courier.tls_text)
            if reason:
                self._told(errand, [Said(Outcome.REFUSED, reason, self._host)] * len(errand.recipients))
                continue
            self._under_way.append(errand)
            return parcel_of(errand, self._courier.capabilities)
        return None

    def _done(self, transaction: Transaction, _began: float) -> None:
        errand = self._under_way.popleft()
        outcomes = transaction.outcomes
        if self._carried and not errand.repeated and all(each.outcome is Outcome.NOT_SENT for each in outcomes):
            self._again(msgspec.structs.replace(errand, repeated=True))
            return
        self._carried += 1
        self._told(errand, [self._said(outcome) for outcome in outcomes])

    def _said(self, outcome: RecipientOutcome) -> Said:
        text = reply_line(outcome.reply) if outcome.reply is not None else outcome.detail
        reports = self._courier.capabilities.has("DSN")
        return Said(outcome.outcome, text, self._host, self._courier.tls_text, reports)

    def _rest(self) -> None:
        self._idle = True
        self._news.set()


def reply_line(reply: Reply) -> str:
    """Write a reply on one line."""
    return " ".join((reply.lines[0], *(line[4:] for line in reply.lines[1:])))
