"""Many letters over kept connections: a load with bounds, evenly spread where a rate is given, summed up in figures.

Each connection pulls its next letter when it has room for one, by callbacks; no task runs per letter. With a rate,
connections that come too early wait in a row, and one timer sends them on when their turn has come.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from array import array
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.courier import Courier
from mailprobe.model.bulk import BulkSummary, Latencies
from mailprobe.model.evidence import Trouble
from mailprobe.model.sending import Outcome, RecipientOutcome
from mailprobe.protocols.smtp.client import enhanced_code
from mailprobe.protocols.smtp.transaction import Parcel, Transaction

Opener = Callable[[], Awaitable[Courier]]

_FRUITLESS_LIMIT = 3  # connections in a row over which nothing was decided: the server does not want us
_CATCH_UP_S = 0.1  # a load that fell behind hurries for this much of its time, and lets go of the rest
_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(?:\r\n[ \t]+)?<([^<>@\s]*)", re.IGNORECASE | re.MULTILINE)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a load.

    *rate* is in letters per second over all connections, None for as fast as they go. It ends after *seconds*, or once
    *failures* recipients were refused, deferred or left uncertain; letters under way are seen through.
    """

    connections: int = 1
    rate: float | None = None
    seconds: float | None = None
    failures: int | None = None


def copies(parcel: Parcel, count: int) -> Iterator[Parcel]:
    """Give *count* letters that differ in their Message-ID alone, which gets a number before its ``@``.

    A letter without Message-ID stays as it is. A DKIM signature over the field does not hold for copies.
    """
    data = parcel.data
    header = data[: data.find(b"\r\n\r\n") + 1]
    found = _MESSAGE_ID.search(header)
    place = found.end(1) if found else len(data)
    before, after = data[:place], data[place:]
    make, sender, parameters, recipients = Parcel, parcel.sender, parcel.sender_parameters, parcel.recipients
    for number in range(1, count + 1):
        each = b"%b.%d%b" % (before, number, after) if found else data
        yield make(sender=sender, sender_parameters=parameters, recipients=recipients, data=each)


async def send_many(parcels: Iterator[Parcel], openers: Sequence[Opener], load: Load) -> BulkSummary:
    """Send all parcels, or as many as the bounds of the load allow; *parcels* must not raise.

    Each connection is made by one of *openers* in turn, and by the next when that one fails. A connection that ends is
    replaced; a letter of which nothing was sent by then goes again over the next one.
    """
    return await _Run(parcels, openers, load).summary()


class _Run:
    """One load under way."""

    def __init__(self, parcels: Iterator[Parcel], openers: Sequence[Opener], load: Load) -> None:
        self._parcels = parcels
        self._openers = openers
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._again: deque[Parcel] = deque()
        self._exhausted = False
        self._stopped = ""
        self._trouble: Trouble | None = None
        self._connections = 0
        self._early: deque[Courier] = deque()  # those that wait for their turn
        self._interval_s = 1 / load.rate if load.rate else 0.0
        self._turn = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._counts: Counter[Outcome] = Counter()
        self._replies: Counter[str] = Counter()
        self._letters = self._octets = 0
        self._spent_s = array("d")
        self._last = 0.0

    async def summary(self) -> BulkSummary:
        began = self._turn = self._last = time.monotonic()
        ending = None
        if self._load.seconds is not None:
            ending = self._loop.call_later(self._load.seconds, self._stop, f"{self._load.seconds:g} s were over")
        try:
            async with asyncio.TaskGroup() as lanes:
                for number in range(self._load.connections):
                    lanes.create_task(self._lane(number))
        finally:
            for timer in (ending, self._timer):
                if timer is not None:
                    timer.cancel()
        for parcel in self._again:
            self._counts[Outcome.NOT_SENT] += len(parcel.recipients)
        if not self._stopped and not self._over:
            self._stopped = "no connection was left"
        return self._figures(max(self._last - began, 1e-9))

    # -- connections -------------------------------------------------------------------------------------------

    async def _lane(self, number: int) -> None:
        """Keep one connection going for as long as there is something to send."""
        fruitless = 0
        while not self._over and fruitless < max(_FRUITLESS_LIMIT, len(self._openers)):
            before = self._counts.total()
            try:
                courier = await self._openers[(number + fruitless) % len(self._openers)]()
            except Stopped as stopped:
                self._trouble = stopped.trouble
                fruitless += 1
                continue
            self._connections += 1
            await self._employ(courier)
            fruitless = 0 if self._counts.total() > before else fruitless + 1

    async def _employ(self, courier: Courier) -> None:
        at_rest = asyncio.Event()

        def idle() -> None:
            if self._over or courier.trouble is not None:
                at_rest.set()
            else:
                self._early.append(courier)

        try:
            courier.work(self._pull, self._done, idle)
            await at_rest.wait()
            self._trouble = courier.trouble or self._trouble
        finally:
            await courier.quit()

    # -- letters -----------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return bool(self._stopped) or (self._exhausted and not self._again)

    def _pull(self) -> Parcel | None:
        if self._stopped or (self._interval_s and not self._is_due()):
            return None
        if self._again:
            return self._again.popleft()
        parcel = None if self._exhausted else next(self._parcels, None)
        if parcel is None and not self._exhausted:
            self._exhausted = True
            self._loop.call_soon(self._send_on)
        return parcel

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._turn:
            if self._timer is None:
                self._timer = self._loop.call_later(self._turn - now, self._send_on)
            return False
        self._turn = max(self._turn, now - _CATCH_UP_S) + self._interval_s
        return True

    def _send_on(self) -> None:
        """Let those go on that wait; who is early once more gets in the row again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _ in range(len(self._early)):
            self._early.popleft().go_on()

    def _stop(self, why: str) -> None:
        self._stopped = self._stopped or why
        self._send_on()

    def _done(self, transaction: Transaction, began: float) -> None:
        outcomes = transaction.outcomes
        if transaction.unusable and all(each.outcome is Outcome.NOT_SENT for each in outcomes):
            self._again.append(transaction.parcel)
            return
        self._last = time.monotonic()
        accepted = 0
        for each in outcomes:
            self._counts[each.outcome] += 1
            self._replies[_reply_word(each)] += 1
            accepted += each.outcome is Outcome.ACCEPTED
        if accepted:
            self._letters += 1
            self._octets += len(transaction.parcel.data)
            self._spent_s.append(self._last - began)
        if accepted < len(outcomes) and self._load.failures is not None and self._failed >= self._load.failures:
            self._stop(f"{self._failed} recipients failed")

    @property
    def _failed(self) -> int:
        return self._counts.total() - self._counts[Outcome.ACCEPTED]

    # -- figures -----------------------------------------------------------------------------------------------

    def _figures(self, seconds: float) -> BulkSummary:
        counts = self._counts
        return BulkSummary(
            letters=self._letters,
            accepted=counts[Outcome.ACCEPTED],
            refused=counts[Outcome.REFUSED],
            deferred=counts[Outcome.DEFERRED],
            uncertain=counts[Outcome.UNCERTAIN],
            not_sent=counts[Outcome.NOT_SENT],
            seconds=round(seconds, 6),
            per_second=round(self._letters / seconds, 1),
            octets=self._octets,
            connections=self._connections,
            latencies=_latencies(sorted(self._spent_s)),
            replies=dict(self._replies.most_common()),
            stopped=self._stopped,
            trouble=self._trouble,
        )


def _reply_word(outcome: RecipientOutcome) -> str:
    reply = outcome.reply
    if reply is None:
        return "no reply"
    if outcome.outcome is Outcome.ACCEPTED or not reply.lines:
        return reply.status
    enhanced = enhanced_code(reply.lines[-1])
    return f"{reply.status} {enhanced}" if enhanced else reply.status


def _latencies(spent_s: list[float]) -> Latencies:
    def at(share: float) -> float | None:
        return round(spent_s[math.ceil(share * len(spent_s)) - 1] * 1000, 3) if spent_s else None

    return Latencies(p50_ms=at(0.50), p95_ms=at(0.95), p99_ms=at(0.99), max_ms=at(1.0))
