"""One site's post office: it takes letters in, finds out where they go, and sees to it that they get there.

Everything is pulled: a turn takes what the spool and the queue say is due, hands it to the expander, to local delivery
or to the MTA client, and commits what became of it. Turns run in the event loop and never wait; files are written by
threads, and what comes of that leads to the next turn. An office that ends at any point, however, goes on from its
files: that is also how it gets over a database that cannot be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mailprobe.lab.post.carrier import Carrier
from mailprobe.lab.post.counter import Counter
from mailprobe.lab.post.crew import Crew
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.delivery import LocalDelivery, queue_id_in
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.hand import Hand
from mailprobe.lab.post.intake import NO_ROOM, NO_SPOOL, Intake
from mailprobe.lab.post.journal import DATABASE, Journal
from mailprobe.lab.post.ledger import Ledger
from mailprobe.lab.post.pauses import SETTING, read_paused
from mailprobe.lab.post.pickup import Pickup
from mailprobe.lab.post.policy import Greylist, Policy
from mailprobe.lab.post.queue_table import Kind, Recipient
from mailprobe.lab.post.register import Register
from mailprobe.lab.post.reports import Reports
from mailprobe.lab.post.sorting import Sorter, note_expansion, open_aliases
from mailprobe.lab.post.spool import CorruptLetterError, Spool, Spooled, SpoolError
from mailprobe.model.road import Part, Step, What
from mailprobe.protocols.mailstore import Envelope, Verdict

if TYPE_CHECKING:
    from mailprobe.lab.sites import Place
    from mailprobe.net.network import Network

ALIASES = "aliases.db"
IN_HAND = 300  # letters
A_TURN = 64  # letters taken from the spool, and from the queue, at once
COMMIT_S = 0.03  # while there is much to do: the letters themselves are safe before
_BY_PART = {Part.EXPANDER: (Kind.NEW,), Part.MAILBOX: (Kind.MAILBOX,), Part.CLIENT: (Kind.REMOTE,)}


class PostOffice:
    """The post office of the site whose hosts are *places*, with everything below *directory*.

    *rested* is called whenever nothing is left to do before the clock moves, *broken* when the databases cannot be
    written any more: then it has to be closed, and made anew.

    Raises:
        MailprobeError: a file or database cannot be used.
        OSError: the directory cannot be made.
    """

    def __init__(
        self,
        places: Sequence[Place],
        directory: Path,
        *,
        clock: Callable[[], datetime],
        network: Callable[[], Network],
        threads: Executor,
        complain: Callable[[str], None],
        rested: Callable[[], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rested = rested
        self._broken = broken
        self._turn_is_due = False
        self._closed = False
        self._closed_for = NO_SPOOL
        self._timer: asyncio.TimerHandle | None = None
        self._earliest_for: tuple[Kind, ...] = ()
        self._committed = 0.0
        self._commit_timer: asyncio.TimerHandle | None = None
        self._desk = Desk.at(places, directory, now=clock, threads=threads, complain=complain, wake=self.wake)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as opened:
            self._spool = Spool(directory)
            self._queue = self._open_queue()
            opened.callback(self._queue.close)
            self._aliases = open_aliases(directory / ALIASES, self._desk.site.aliases)
            opened.callback(self._aliases.close)
            self._employ(places, network, opened)
            self._files = opened.pop_all()

    def _open_queue(self) -> Register:
        desk = self._desk
        queue = Register.open_or_rebuild(desk.directory / DATABASE, desk.now(), desk.site.schedule)
        if queue.moved_aside is not None:
            desk.complain(f"{DATABASE} was damaged: it is now {queue.moved_aside}, and made anew from the letters")
        return queue

    def _employ(self, places: Sequence[Place], network: Callable[[], Network], opened: contextlib.ExitStack) -> None:
        """Make the parts of the office; what has to be closed goes onto the stack."""
        desk = self._desk
        names = tuple(dict.fromkeys(name for place in places for name in place.names))
        addresses = tuple(place.address for place in places)
        domains = (desk.domain, *desk.site.domains, *names, *(f"[{address}]" for address in addresses))
        self._sorter = Sorter(desk, domains, self._aliases)
        self.store = self._open_store()
        opened.callback(self.store.close)
        self._ledger = Ledger(desk, self._queue, Journal(self._queue), self._spool, lambda hand: reports.report(hand))
        self._intake = Intake(
            desk,
            self._spool,
            spooled=lambda letters: self._pickup.spooled(letters),
            picks_up=lambda: self._pickup.wants_more(),
        )
        reports = Reports(desk, self._ledger, self._intake, self._queue.schedule)
        self._pickup = Pickup(desk, self._spool, self._ledger, self._intake.under_way)
        self._delivery = LocalDelivery(desk, self.store, self._ledger)
        self._carrier = Carrier(desk, self._ledger, (*names, *addresses), network)
        self._removal: Crew[list[str], None] = Crew(desk.threads, self._remove, lambda _: self.wake())

    def _open_store(self) -> Counter:
        desk = self._desk
        policy = Policy(
            desk,
            broken=self._break,
            expand=lambda recipient: self._sorter.expand((recipient,)),
            is_full=lambda user: not self.store.has_room(user, 1),
            greylist=Greylist(self._queue),
        )
        return Counter(
            policy,
            desk.directory,
            desk.site.users,
            desk.now,
            self._note_read,
            domains=self._sorter.domains,
            quota=desk.site.quota_octets,
            paused=lambda: Part.READER in desk.paused,
            warn=desk.complain,
        )

    # -- life --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on from what the files say."""
        self.paused.update(read_paused(self._queue.setting(SETTING)))
        unfinished = set(self._queue.unfinished())
        for queue_id in self._spool.orphans(unfinished):
            if self._queue.message(queue_id) is not None:  # it was finished, and its file had still to go
                self._spool.remove(queue_id)
            else:
                self._recover(queue_id)
        self._pickup.look()
        self.wake()

    def _recover(self, queue_id: str) -> None:
        try:
            letter = self._spool.read(queue_id)
        except (CorruptLetterError, SpoolError) as error:
            self._desk.complain(str(error))
            return
        self._queue.add(letter)

    async def close(self) -> None:
        """Stop: connections are dropped, and what is not written yet is done again later."""
        self._closed = True
        for timer in (self._timer, self._commit_timer):
            if timer is not None:
                timer.cancel()
        await self._carrier.close()
        await self._intake.settle()
        await self._delivery.settle()
        try:
            self._ledger.commit()  # the files of what is finished go at the next start
        except DatabaseError as error:
            self._desk.complain(str(error))
        await self._removal.settle()
        self._files.close()

    def _break(self, error: DatabaseError) -> None:
        if not self._closed:
            self._desk.complain(str(error))
            self._closed = True
            self._closed_for = NO_ROOM if error.full else NO_SPOOL
            self._broken()

    def _remove(self, jobs: Sequence[list[str]]) -> list[None]:
        """Remove the files of letters that are finished; one that stays is looked at again at the next start."""
        for queue_id in (queue_id for job in jobs for queue_id in job):
            try:
                self._spool.remove(queue_id)
            except SpoolError as error:
                self._loop.call_soon_threadsafe(self._desk.complain, str(error))
        return [None] * len(jobs)

    # -- who comes ---------------------------------------------------------------------------------------------

    def accept(self, envelope: Envelope, data: bytes, done: Callable[[Verdict], None]) -> None:
        """Take a letter from a client; *done* is told the verdict, once the letter is safe."""
        if self._closed:
            done(self._closed_for)
        else:
            self._intake.accept(envelope, data, done)

    def look(self) -> None:
        """Look at everything anew: the clock has moved, or somebody has put something into the spool."""
        self._pickup.look()
        self.wake()

    def glance(self) -> None:
        """Look into the spool if anything there has changed."""
        if not self._closed:
            self._pickup.glance()

    # -- turns -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have a turn soon."""
        if not self._turn_is_due and not self._closed:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._closed:
            return
        try:
            now = self._desk.now()
            more = self._pick_up(now)
            more |= self._sort(now)
            more |= self._give_out(now)
            self._ledger.sweep()
            self._commit_in_time(more)
            self._set_timer(more)
        except DatabaseError as error:
            self._break(error)

    def _commit_in_time(self, more: bool) -> None:
        """Commit when there is nothing else to do, and every so often."""
        left = self._committed + COMMIT_S - self._loop.time()
        if left > 0 and (more or self._ledger or self._intake.under_way):
            if self._commit_timer is None:
                self._commit_timer = self._loop.call_later(left, self.wake)
            return
        if self._commit_timer is not None:
            self._commit_timer.cancel()
            self._commit_timer = None
        self._committed = self._loop.time()
        self._commit()

    def _commit(self) -> None:
        done = self._ledger.commit()
        if done:
            self._removal.add(done)

    def _pick_up(self, now: datetime) -> bool:
        """Move letters from the spool through the expander into the queue; tell whether there are more."""
        for letter in self._pickup.letters(min(A_TURN, IN_HAND - len(self._ledger))):
            self._enter(letter, now)
            self._pickup.done(letter)
        return self._pickup.has_work and len(self._ledger) < IN_HAND

    def _enter(self, letter: Spooled, now: datetime) -> None:
        """Put a letter into the queue, expanded if the expander can do it now."""
        if Part.EXPANDER in self.paused:
            self._ledger.pick_up(letter)
            return
        recipients = tuple(dict.fromkeys(letter.envelope.recipients))
        expansion = self._sorter.expand(recipients)
        if any(target.enhanced.startswith("4") for target in expansion.targets):
            self._ledger.pick_up(letter)
            return
        hand, active = self._ledger.enter(letter, expansion.targets, now, self._working())
        note_expansion(self._ledger, hand, recipients, expansion)
        self._work_on(hand, active)

    def _working(self) -> tuple[Kind, ...]:
        """Give the kinds of work that nothing holds up."""
        return _kinds_of_work(frozenset(self.paused), self._carrier.is_full)

    def _is_due(self, now: datetime) -> bool:
        due = self.due_next()
        return due is not None and due <= now

    def _sort(self, now: datetime) -> bool:
        """Let the expander have what waits for it; tell whether there may be more."""
        if Part.EXPANDER in self.paused or not self._is_due(now):
            return False
        found = self._queue.due(now, A_TURN, [Kind.NEW])
        for due in found:
            hand = self._ledger.take(due)
            if hand is None:
                continue
            recipients = [recipient.recipient for recipient in due.recipients]
            expansion = self._sorter.expand(recipients)
            self._queue.expanded(hand.queue_id, expansion.targets, now)
            note_expansion(self._ledger, hand, recipients, expansion)
            self._ledger.expanded(hand, due.recipients)
        return len(found) == A_TURN

    def _give_out(self, now: datetime) -> bool:
        """Give letters to local delivery and to the MTA client; tell whether there may be more."""
        room = min(A_TURN, IN_HAND - len(self._ledger))
        if room <= 0 or not self._is_due(now):
            return False
        found = self._queue.due(now, room, [kind for kind in self._working() if kind is not Kind.NEW])
        for due in found:
            hand = self._ledger.take(due)
            if hand is not None:
                self._work_on(hand, due.recipients)
        return len(found) == room

    def _work_on(self, hand: Hand, recipients: Sequence[Recipient]) -> None:
        remote = [recipient for recipient in recipients if recipient.kind is Kind.REMOTE]
        if remote:
            self._carrier.carry(hand, remote)
        for recipient in recipients:
            match recipient.kind:
                case Kind.MAILBOX:
                    self._delivery.deliver(hand, recipient)
                case Kind.FAILED:
                    self._ledger.fail(hand, recipient, f"550 {recipient.reply}")
                case Kind.DISCARD:
                    self._ledger.note(hand, Step.BESIDE, What.DROPPED, recipient.address, "the alias says /dev/null")
                    self._ledger.sent(hand, recipient, "thrown away")

    # -- time --------------------------------------------------------------------------------------------------

    def _set_timer(self, more: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if more:
            self.wake()
            return
        due = self.due_next()
        if due is not None and len(self._ledger) < IN_HAND:  # else whatever is done next leads to a turn
            left = (due - self._desk.now()).total_seconds()
            self._timer = self._loop.call_later(min(max(left, 0.0), 86_400.0), self.wake)
        if self.is_resting:
            self._rested()

    def due_next(self) -> datetime | None:
        """Give when there is next something to do, as far as nothing that is paused is needed for it."""
        if self._closed:
            return None
        working = self._working()
        if working != self._earliest_for:
            self._queue.forget_earliest()
            self._earliest_for = working
        return self._queue.earliest(working)

    @property
    def is_resting(self) -> bool:
        """True when nothing is left to do before the clock moves or somebody comes."""
        if self._closed:
            return True
        if self._turn_is_due or self._ledger or self._intake.under_way or self._pickup.has_work or self._removal:
            return False
        due = self.due_next()
        return due is None or due > self._desk.now()

    @property
    def paused(self) -> set[Part]:
        """The parts that are paused."""
        return self._desk.paused

    # -- orders ------------------------------------------------------------------------------------------------

    def pause(self, part: Part) -> None:
        """Stop a part; what comes to it waits."""
        self.paused.add(part)
        if part is Part.CLIENT:
            self._carrier.give_back()
        self._keep_paused()

    def resume(self, part: Part) -> None:
        """Let a part go on."""
        self.paused.discard(part)
        self._keep_paused()

    def _keep_paused(self) -> None:
        try:
            self._queue.set(SETTING, json.dumps(sorted(self.paused)))
            self._commit()
        except DatabaseError as error:
            self._break(error)
        self.wake()

    def flush(self) -> None:
        """Try everything that was put off again now."""
        self._queue.flush(self._desk.now())
        self.look()

    def counts(self) -> dict[str, int]:
        """Count recipients by state, and the letters in the spool."""
        return {"spool": self._pickup.waiting, **{state.value: count for state, count in self._queue.counts().items()}}

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have *listener* called when a mailbox has changed; give a function that ends it."""
        return self.store.subscribe(listener)

    def _note_read(self, user: str, folder: str, unique: str, protocol: str) -> None:
        queue_id = queue_id_in(unique)
        if not queue_id or self._closed:
            return
        try:
            self._ledger.note_read(queue_id, f"{user}@{self._desk.domain}", f"{protocol}, {folder}")
        except DatabaseError as error:
            self._break(error)
        self.wake()


@functools.cache
def _kinds_of_work(paused: frozenset[Part], carrier_is_full: bool) -> tuple[Kind, ...]:
    held = {kind for part, kinds in _BY_PART.items() if part in paused for kind in kinds}
    if carrier_is_full:
        held.add(Kind.REMOTE)
    return tuple(kind for kind in Kind if kind not in held)
