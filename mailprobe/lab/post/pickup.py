"""The pickup: what lies in the spool, and what has been taken out of it and waits for its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.ledger import Ledger
from mailprobe.lab.post.spool import CorruptLetterError, Spool, Spooled, SpoolError
from mailprobe.model.road import Part, Step, What
from mailprobe.protocols.mailstore import Envelope

_NEVER = (-1, -1)
OCTETS_AT_HAND = 32 << 20  # of letters that are out of the spool and wait for their turn


class Pickup:
    """Takes letters from the spool, those of our own clients and what other processes put there.

    *under_way* are the queue ids of letters that are being written.
    """

    def __init__(self, desk: Desk, spool: Spool, ledger: Ledger, under_way: Collection[str]) -> None:
        self._desk = desk
        self._spool = spool
        self._ledger = ledger
        self._under_way = under_way
        self._maildrop = desk.directory / "maildrop"
        self._seen = _NEVER  # the maildrop as it was when it was last looked into
        self._fresh: deque[str] = deque()  # in the spool
        self._known: set[str] = set()  # of those, the ones whose way into the spool is in the journal
        self._at_hand: deque[Spooled] = deque()
        self._octets = 0

    @property
    def waiting(self) -> int:
        """How many letters wait in the spool."""
        return len(self._fresh)

    @property
    def has_work(self) -> bool:
        """True when a letter can be had now."""
        return bool(self._at_hand) or (bool(self._fresh) and Part.PICKUP not in self._desk.paused)

    def wants_more(self) -> bool:
        """Tell whether a letter may be taken out of the spool as soon as it is there; any thread may ask."""
        return Part.PICKUP not in self._desk.paused and self._octets < OCTETS_AT_HAND

    def spooled(self, letters: Sequence[tuple[Spooled, bool]]) -> None:
        """Learn of letters that are in the spool now, or have been taken out of it already."""
        for letter, taken in letters:
            self._note(letter)
            if taken:
                self._at_hand.append(letter)
                self._octets += len(letter.data)
            else:
                self._fresh.append(letter.queue_id)
                self._known.add(letter.queue_id)
        self._desk.wake()

    def _note(self, letter: Spooled) -> None:
        message_id = letter.message_id
        if letter.origin == "submission":
            self._ledger.note_spooled(letter, message_id, Step.HANDED_OVER, What.HANDED_OVER, _arrival(letter.envelope))
        elif letter.origin == "network":
            self._ledger.note_spooled(letter, message_id, Step.SENT, What.RECEIVED, _arrival(letter.envelope))
        detail = f"maildrop/{letter.queue_id}, {len(letter.data)} octets"
        self._ledger.note_spooled(letter, message_id, Step.SPOOLED, What.SPOOLED, detail)

    def glance(self) -> None:
        """Look into the spool if anything there has changed."""
        if self._stamp() != self._seen:
            self.look()

    def look(self) -> None:
        """Look into the spool."""
        self._seen = self._stamp()
        fresh = set(self._fresh)
        try:
            waiting = self._spool.waiting()
        except SpoolError as error:
            self._desk.complain(str(error))
            return
        found = [name for name in waiting if name not in fresh and name not in self._under_way]
        if found:
            self._fresh.extend(found)
            self._desk.wake()

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self._maildrop.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino

    def letters(self, room: int) -> Iterator[Spooled]:
        """Give as many letters as there is *room* for, out of the spool."""
        while room > 0 and self.has_work:
            room -= 1
            letter = self._at_hand.popleft() if self._at_hand else self._take(self._fresh.popleft())
            if letter is not None:
                yield letter

    def _take(self, queue_id: str) -> Spooled | None:
        known = queue_id in self._known
        self._known.discard(queue_id)
        try:
            letter = self._spool.take(queue_id)
        except CorruptLetterError as error:
            self._desk.complain(str(error))
            return None
        except SpoolError as error:
            self._desk.complain(str(error))
            self._seen = _NEVER  # the next glance finds it again
            return None
        self._octets += len(letter.data)
        if not known:
            detail = f"found in maildrop/{queue_id}"
            self._ledger.note_spooled(letter, letter.message_id, Step.SPOOLED, What.SPOOLED, detail)
        return letter

    def done(self, letter: Spooled) -> None:
        """Learn that a letter is in the queue."""
        self._octets -= len(letter.data)


def _arrival(envelope: Envelope) -> str:
    """Say who handed a letter over, how, and for whom."""
    who = f" as {envelope.user}" if envelope.user else ""
    literal = f"[{envelope.client_address}]"
    client = literal if envelope.client_name == literal else f"{envelope.client_name} {literal}"
    goals = ", ".join(f"<{each}>" for each in envelope.recipients)
    way = f"{envelope.protocol} from {client}{who}"
    return f"<{envelope.sender}> to {goals}; {way}, {envelope.tls or 'in clear'}"
