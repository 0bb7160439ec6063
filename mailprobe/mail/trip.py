"""A trip: a letter is sent, waited for, compared with what was sent, and deleted again.

At once, or by turns: then a run looks for what earlier runs have sent, sends a letter of its own, and leaves that to
the next one. What is on its way stands in a file meanwhile, from before it is sent until it is found or given up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol as Interface

import msgspec

from mailprobe.mail.routes import Route
from mailprobe.mail.sending import Options, send
from mailprobe.mail.trip_desk import GRACE_S, Desk, Watch
from mailprobe.mail.trip_letter import write_letter
from mailprobe.mail.trip_pace import Allowance
from mailprobe.mail.trip_state import SentLetter, change_state, read_state
from mailprobe.model.sending import Outcome
from mailprobe.model.trip import Thresholds, Trip
from mailprobe.net.network import Network

LOOKS_BY_TURNS = 3  # times the limit for one target: two mailboxes, and deleting
LETTERS_AT_ONCE = 100  # that one run looks for, the oldest first
FORGOTTEN_AFTER = 2  # times the span after which a letter is lost: so long it is reported, and looked for
_ON_THE_WAY = {Outcome.ACCEPTED, Outcome.UNCERTAIN}


class Lull(Interface):
    """A world whose clock can be moved: a lab. Nobody waits there; the clock jumps to what comes next."""

    async def rest(self) -> None:
        """Wait until nothing is left to do before the clock moves."""

    async def due(self) -> datetime | None:
        """Tell when something happens next; None when nothing does."""

    async def jump(self, to: datetime) -> None:
        """Move the clock forward."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent which way, and where it and its bounces are looked for.

    *sender_desk* is None when there is no login for the sender's mailbox. With *keep* nothing is deleted.
    """

    sender: str
    recipient: str
    route: Route
    options: Options
    desk: Desk
    sender_desk: Desk | None
    thresholds: Thresholds
    keep: bool = False


async def trip(network: Network, plan: Plan, lull: Lull | None = None) -> Trip:
    """Send a letter and wait until it arrives or comes back, for *wait_s* at most; never raises for what servers do.

    Raises:
        UsageError: an address that is none.
    """
    return await _Run(network, plan, lull).at_once()


async def trip_by_turns(
    network: Network, plan: Plan, state: Path, lost_after_s: float, lull: Lull | None = None
) -> tuple[Trip, ...]:
    """Look for what earlier runs have sent between the same two, then send a letter for the next run to look for.

    A letter that was not found after *lost_after_s* is lost; it is told of until it is twice as old.

    Raises:
        UsageError: an address that is none; a file that is none of ours, or cannot be written: then nothing is sent.
    """
    run = _Run(network, plan, lull)
    change_state(state)  # a file that cannot be written is found out before anything is deleted or sent
    earlier = [each for each in read_state(state) if (each.sender, each.recipient) == (plan.sender, plan.recipient)]
    found = await run.look_for(earlier[:LETTERS_AT_ONCE], lost_after_s)
    done = {each.token for each in found if _is_done(each, lost_after_s)}
    change_state(state, forget=done)
    return (*found, await run.send_only(state))


def _is_done(trip: Trip, lost_after_s: float) -> bool:
    returned = any(bounce.action == "failed" for bounce in trip.bounces)
    return bool(trip.copies) or returned or trip.waited_s >= FORGOTTEN_AFTER * lost_after_s


class _Run:
    """One run, over one network."""

    def __init__(self, network: Network, plan: Plan, lull: Lull | None) -> None:
        self._network = network
        self._plan = plan
        self._lull = lull
        self._limit_s = network.limits.target_s
        self._allowance = allowance = Allowance(self._limit_s)
        self._watch = Watch(network, plan.desk, allowance)
        self._sender_watch = Watch(network, plan.sender_desk, allowance) if plan.sender_desk is not None else None

    # -- at once -----------------------------------------------------------------------------------------------

    async def at_once(self) -> Trip:
        """Send, wait, delete: for as long as there is to wait, and what one target may take besides."""
        began = time.monotonic()
        made = write_letter(self._plan.sender, self._plan.recipient, self._network.now())
        if self._sender_watch is not None:
            await self._sender_watch.skip_past_reports()
        await self._watch.prepare()
        left_s = max(self._limit_s - (time.monotonic() - began), min(GRACE_S, self._limit_s))
        sending_began = time.monotonic()
        sent_at = self._network.now()
        sending = await send(self._network, made.letter, self._plan.route, self._plan.options)
        letter = SentLetter(
            token=made.token,
            message_id=made.letter.message_id,
            sender=self._plan.sender,
            recipient=self._plan.recipient,
            sent_at=sent_at,
            body=made.body,
            sending=sending,
        )
        waits_s = max(0.0, self._plan.thresholds.wait_s - (time.monotonic() - sending_began))
        self._allowance.extend(waits_s + left_s)
        looked = sending.recipients[0].outcome in _ON_THE_WAY
        if looked:
            await self._wait_for(letter)
        await self._finish()
        return self._trip(letter, looked=looked)

    async def _wait_for(self, letter: SentLetter) -> None:
        until = letter.sent_at + timedelta(seconds=self._plan.thresholds.wait_s)
        while True:
            if self._lull is not None:
                await self._lull.rest()
            await self._look([letter], watched=True)
            is_over = bool(self._watch.copies_of(letter.token)) or self._came_back(letter)
            if self._network.now() >= until or not await self._pass_time(until, is_over=is_over):
                return

    async def _look(self, letters: Sequence[SentLetter], *, watched: bool) -> None:
        await self._watch.look_for_copies(letters, watched=watched)
        if self._sender_watch is not None:
            await self._sender_watch.look_for_reports(letters)

    def _came_back(self, letter: SentLetter) -> bool:
        reports = self._sender_watch.bounces_of(letter.token) if self._sender_watch is not None else ()
        return any(bounce.action == "failed" for bounce in reports)

    async def _pass_time(self, until: datetime, *, is_over: bool) -> bool:
        """Wait for what comes next; False when there is no reason to. A second copy or a bounce costs a lab no time."""
        if self._lull is None:
            if not is_over:
                await self._watch.wait(max(0.0, (until - self._network.now()).total_seconds()))
            return not is_over
        due = await self._lull.due()
        if is_over and (due is None or due > until):
            return False
        await self._lull.jump(until if due is None else min(due, until))
        return True

    # -- by turns ----------------------------------------------------------------------------------------------

    async def look_for(self, letters: Sequence[SentLetter], lost_after_s: float) -> list[Trip]:
        """Look once for letters of earlier runs."""
        if not letters:
            return []
        self._allowance.extend(LOOKS_BY_TURNS * self._limit_s)
        if self._lull is not None:
            await self._lull.rest()
        await self._look(letters, watched=False)
        await self._finish()
        now = self._network.now()
        limit = timedelta(seconds=lost_after_s)
        return [self._trip(letter, looked=True, pending=now - letter.sent_at < limit) for letter in letters]

    async def send_only(self, state: Path) -> Trip:
        """Send a letter that the next run looks for; it stands in the file before it is sent."""
        made = write_letter(self._plan.sender, self._plan.recipient, self._network.now())
        letter = SentLetter(
            token=made.token,
            message_id=made.letter.message_id,
            sender=self._plan.sender,
            recipient=self._plan.recipient,
            sent_at=self._network.now(),
            body=made.body,
            sending=None,
        )
        change_state(state, note=[letter])
        sending = await send(self._network, made.letter, self._plan.route, self._plan.options)
        letter = msgspec.structs.replace(letter, sending=sending)
        if sending.recipients[0].outcome in _ON_THE_WAY:
            # The words of the conversation are told now, and need not be kept.
            brief = msgspec.structs.replace(sending, conversations=())
            change_state(state, note=[msgspec.structs.replace(letter, sending=brief)])
        else:
            change_state(state, forget=[letter.token])
        if self._lull is not None:
            await self._lull.rest()
        await self._network.parted()
        return self._trip(letter, looked=False, pending=True)

    # -- both --------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Delete what is ours, and say goodbye."""
        for watch in (self._watch, self._sender_watch):
            if watch is not None:
                if not self._plan.keep:
                    await watch.remove()
                await watch.end()
        await self._network.parted()

    def _trip(self, letter: SentLetter, *, looked: bool, pending: bool = False) -> Trip:
        """Write down what is known of a letter."""
        now = self._network.now()
        back = self._sender_watch
        copies = self._watch.copies_of(letter.token)
        return Trip(
            sender=letter.sender,
            recipient=letter.recipient,
            token=letter.token,
            message_id=letter.message_id,
            sent_at=letter.sent_at,
            sending=letter.sending,
            look=self._watch.look if looked else None,
            sender_look=back.look if looked and back is not None else None,
            copies=copies,
            bounces=back.bounces_of(letter.token) if back is not None else (),
            thresholds=self._plan.thresholds,
            looked_at=now,
            waited_s=max(0.0, (now - letter.sent_at).total_seconds()),
            pending=pending and not copies,
        )
