"""The books of a post office: what became of every recipient, written into queue and journal together.

A letter is in hand while something is being done for it. When the last of that is done, what failed is reported in one
letter to the sender; and when nothing is left to do for it at all, its file goes, but only once all this is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from mailprobe.lab.post.bounces import Action, is_wanted
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.expander import Target
from mailprobe.lab.post.hand import Failure, Hand, message_of
from mailprobe.lab.post.journal import Journal
from mailprobe.lab.post.queue_table import Due, Kind, Recipient, State
from mailprobe.lab.post.register import Register
from mailprobe.lab.post.spool import CorruptLetterError, Spool, Spooled, SpoolError
from mailprobe.model.road import RoadEvent, Step, What


class Ledger:
    """Keeps the books of one site. *report* is given letters with failures or delays to be told of."""

    def __init__(
        self, desk: Desk, queue: Register, journal: Journal, spool: Spool, report: Callable[[Hand], None]
    ) -> None:
        self._desk = desk
        self._queue = queue
        self._journal = journal
        self._spool = spool
        self._report = report
        self._hands: dict[str, Hand] = {}
        self._touched: set[str] = set()  # hands that may have become free
        self._done: list[str] = []
        self._perhaps_done: list[str] = []  # only the queue knows

    def __len__(self) -> int:
        """Count the letters in hand."""
        return len(self._hands)

    # Letters in hand

    def pick_up(self, letter: Spooled) -> Hand:
        """Take a letter from the spool into the queue, where it waits for the expander."""
        self._queue.add(letter)
        hand = self._hands[letter.queue_id] = Hand(message_of(letter), letter)
        self._touched.add(letter.queue_id)
        return hand

    def enter(
        self, letter: Spooled, targets: Sequence[Target], now: datetime, working: Collection[Kind]
    ) -> tuple[Hand, tuple[Recipient, ...]]:
        """Take a letter from the spool through the expander into the queue; give what is active of it."""
        message = message_of(letter)
        recipients = self._queue.enter(letter, message, targets, now, working)
        hand = self._hands[letter.queue_id] = Hand(message, letter, len(recipients))
        active = tuple(recipient for recipient in recipients if recipient.state is State.ACTIVE)
        hand.open.update((recipient.number, recipient) for recipient in active)
        self._touched.add(letter.queue_id)
        if not recipients:  # a list without members
            self._finish(hand)
        return hand, active

    def take(self, due: Due) -> Hand | None:
        """Take what is due into the hand; None when the letter's file cannot be read."""
        hand = self._hands.get(due.message.queue_id)
        if hand is None:
            letter = self._read(due)
            if letter is None:
                return None
            hand = self._hands[letter.queue_id] = Hand(due.message, letter)
        hand.open.update((recipient.number, recipient) for recipient in due.recipients)
        return hand

    def _read(self, due: Due) -> Spooled | None:
        queue_id = due.message.queue_id
        try:
            return self._spool.read(queue_id)
        except CorruptLetterError as error:
            self._lost(due, What.CORRUPT, str(error))
        except SpoolError as error:
            if self._spool.path(queue_id).exists():
                self._desk.complain(str(error))
                self._later(due, str(error))
            else:
                self._lost(due, What.CORRUPT, f"the file of the letter is gone: {error}")
        return None

    def _lost(self, due: Due, what: What, text: str) -> None:
        self._desk.complain(text)
        for recipient in due.recipients:
            self._queue.mark(due.message.queue_id, recipient.number, State.EXPIRED, text)
        self._note(due.message.queue_id, due.message.message_id, Step.BESIDE, what, "", text)

    def _later(self, due: Due, text: str) -> None:
        again = self._queue.schedule.next_try(1, self._desk.now())
        for recipient in due.recipients:
            self._queue.mark(due.message.queue_id, recipient.number, State.DEFERRED, text, again)

    def sweep(self) -> None:
        """Let go of letters that nothing is being done for."""
        for queue_id in self._touched:
            hand = self._hands.get(queue_id)
            if hand is not None and hand.is_free:
                del self._hands[queue_id]
        self._touched.clear()

    # What became of a recipient

    def sent(self, hand: Hand, recipient: Recipient, reply: str, remote: str = "", told: Action | None = None) -> None:
        """Note that a recipient has got the letter, or that it is another's duty now.

        *told* is what the sender hears of it, if that was asked for.
        """
        self._settle(hand, recipient, State.SENT, reply, remote)
        if told is not None and recipient.notify and is_wanted(recipient.notify, told):
            hand.successes.append((recipient, told))
        self._close(hand, recipient)

    def put_off(self, hand: Hand, recipient: Recipient, reply: str, remote: str = "") -> None:
        """Note that a recipient must be tried again, or is given up because that has gone on for too long."""
        now, schedule = self._desk.now(), self._queue.schedule
        if schedule.is_expired(hand.message.arrived, now):
            self.fail(hand, recipient, reply, remote, State.EXPIRED)
            return
        again = min(schedule.next_try(recipient.tries + 1, now), max(schedule.expires(hand.message.arrived), now))
        self._queue.mark(hand.queue_id, recipient.number, State.DEFERRED, reply, again, remote=remote)
        text = f"{reply}; again at {again:%Y-%m-%d %H:%M:%S} UTC"
        self.note(hand, Step.BESIDE, What.DEFERRED, recipient.address, text)
        if not hand.message.warned and schedule.is_warning_due(hand.message.arrived, now):
            hand.late.append(recipient)
        self._close(hand, recipient)

    def hold(self, hand: Hand, recipient: Recipient, until: datetime, reason: str) -> None:
        """Note that a recipient waits on purpose."""
        self._queue.mark(hand.queue_id, recipient.number, State.DEFERRED, reason, until, tried=False)
        self.note(hand, Step.BESIDE, What.HELD, recipient.address, f"{reason}, until {until:%Y-%m-%d %H:%M:%S} UTC")
        self._close(hand, recipient)

    def put_back(self, hand: Hand, recipient: Recipient) -> None:
        """Note that nothing was done for a recipient after all."""
        self._queue.mark(hand.queue_id, recipient.number, State.INCOMING, "", self._desk.now(), tried=False)
        self._close(hand, recipient)

    def fail(
        self, hand: Hand, recipient: Recipient, reply: str, remote: str = "", state: State = State.BOUNCED
    ) -> None:
        """Note that a recipient gets nothing; the sender hears of it when the rest of the letter is done."""
        hand.failures.append(Failure(recipient, state, reply, remote))
        self._close(hand, recipient)

    def expanded(self, hand: Hand, recipients: Iterable[Recipient]) -> None:
        """Note that the expander has put others into the place of these, or nobody."""
        for recipient in recipients:
            hand.open.pop(recipient.number, None)
        hand.left = None
        self._finish(hand)

    def _close(self, hand: Hand, recipient: Recipient) -> None:
        hand.open.pop(recipient.number, None)
        if hand.open:
            return
        if hand.failures or hand.late or hand.successes:
            self._report(hand)
        self._finish(hand)

    def bounced(self, hand: Hand, failures: Iterable[Failure], told: str) -> None:
        """Note that failures are told of in a letter that is safe in the spool, or in none; *told* says which."""
        for failure in failures:
            recipient = failure.recipient
            self._settle(hand, recipient, failure.state, failure.reply, failure.remote)
            what = What.EXPIRED if failure.state is State.EXPIRED else What.BOUNCED
            self.note(hand, Step.BESIDE, what, recipient.address, f"{failure.reply}; {told}")
        self._finish(hand)

    def not_told(self, hand: Hand, failures: Iterable[Failure]) -> None:
        """Note that failures could not be told of: it is all tried again later."""
        self._touched.add(hand.queue_id)
        again = self._queue.schedule.next_try(1, self._desk.now())
        for failure in failures:
            self._queue.mark(hand.queue_id, failure.recipient.number, State.DEFERRED, failure.reply, again)

    def warned(self, hand: Hand, late: Iterable[Recipient], told: str) -> None:
        """Note that the sender is told of a delay."""
        self._queue.warned(hand.queue_id)
        for recipient in late:
            self.note(hand, Step.BESIDE, What.DELAYED, recipient.address, told)

    def _settle(self, hand: Hand, recipient: Recipient, state: State, reply: str, remote: str) -> None:
        """Mark a recipient for good."""
        self._queue.mark(hand.queue_id, recipient.number, state, reply, remote=remote)
        if hand.left is not None:
            hand.left -= 1

    def _finish(self, hand: Hand) -> None:
        """Have the file of a letter removed after the next commit, if nothing is left to do for it."""
        self._touched.add(hand.queue_id)
        if hand.open or hand.reports or hand.left:
            return
        (self._perhaps_done if hand.left is None else self._done).append(hand.queue_id)

    # Writing

    def note(self, hand: Hand, step: Step, what: What, recipient: str, detail: str) -> None:
        """Note an event of a letter in hand."""
        self._note(hand.queue_id, hand.message.message_id, step, what, recipient, detail, hand.message.about)

    def note_spooled(self, letter: Spooled, message_id: str, step: Step, what: What, detail: str) -> None:
        """Note an event of a letter that is not in the queue yet."""
        self._note(letter.queue_id, message_id, step, what, "", detail, letter.about)

    def note_read(self, queue_id: str, recipient: str, detail: str) -> None:
        """Note that a user agent has read a letter."""
        message = self._queue.message(queue_id)
        message_id = message.message_id if message is not None else ""
        self._note(queue_id, message_id, Step.READ, What.READ, recipient, detail)

    def _note(
        self, queue_id: str, message_id: str, step: Step, what: What, recipient: str, detail: str, about: str = ""
    ) -> None:
        event = RoadEvent(
            at=self._desk.now(),
            site=self._desk.domain,
            queue_id=queue_id,
            message_id=message_id,
            step=step,
            what=what,
            recipient=recipient,
            detail=detail,
        )
        self._journal.note(event, about)

    def commit(self) -> list[str]:
        """Make it all last, and give the queue ids of the letters whose files may go.

        Raises:
            DatabaseError: it cannot be written.
        """
        asked = [queue_id for queue_id in dict.fromkeys(self._perhaps_done) if self._queue.finished(queue_id)]
        self._queue.commit()
        done = [*self._done, *asked]
        self._done, self._perhaps_done = [], []
        return done
