"""Local delivery: from the queue into a mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from mailprobe.lab.post.bounces import Action
from mailprobe.lab.post.crew import Crew
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.hand import Hand
from mailprobe.lab.post.headers import delivery_fields, was_delivered_to
from mailprobe.lab.post.ledger import Ledger
from mailprobe.lab.post.mailboxes import Arrival, Mailboxes
from mailprobe.lab.post.queue_table import Recipient
from mailprobe.model.road import Step, What
from mailprobe.protocols.mailstore import MailboxFullError, StoreError

_TEXT_LOOKED_AT = 65_536  # octets in which words for Junk are looked for

Stored = Path | MailboxFullError | StoreError


class _Job(msgspec.Struct, frozen=True):
    hand: Hand
    recipient: Recipient
    arrival: Arrival


class LocalDelivery:
    """Puts letters into the mailboxes of one site."""

    def __init__(self, desk: Desk, mailboxes: Mailboxes, ledger: Ledger) -> None:
        self._desk = desk
        self._site = desk.site
        self._mailboxes = mailboxes
        self._ledger = ledger
        self._crew: Crew[_Job, Stored] = Crew(desk.threads, self._store, self._tell)
        self._junk = tuple(word.lower().encode() for word in desk.site.junk_words)

    def deliver(self, hand: Hand, recipient: Recipient) -> None:
        """Put a letter into the mailbox of a recipient, now or when its time has come."""
        until = hand.message.arrived + timedelta(seconds=self._site.hold_s)
        if self._site.drops:
            self._ledger.note(hand, Step.BESIDE, What.DROPPED, recipient.address, "this site drops letters silently")
            self._ledger.sent(hand, recipient, "dropped")
        elif self._site.hold_s and self._desk.now() < until:
            self._ledger.hold(hand, recipient, until, f"this site waits {self._site.hold_s:g} s on purpose")
        elif was_delivered_to(hand.letter.data, recipient.address):
            text = f"554 5.4.6 mail forwarding loop: the letter was delivered to {recipient.address} before"
            self._ledger.fail(hand, recipient, text)
        else:
            self._crew.add(_Job(hand, recipient, self._arrival(hand, recipient)))

    async def settle(self) -> None:
        """Stop, once what is under way is done."""
        await self._crew.settle()

    def _arrival(self, hand: Hand, recipient: Recipient) -> Arrival:
        unique = f"{int(hand.message.arrived.timestamp())}.{hand.queue_id}R{recipient.number}.{self._desk.domain}"
        return Arrival(
            user=recipient.user,
            folder="Junk" if self._is_junk(hand.letter.data) else "INBOX",
            unique=unique,
            data=delivery_fields(recipient.sender, recipient.address) + hand.letter.data,
        )

    def _is_junk(self, data: bytes) -> bool:
        text = data[:_TEXT_LOOKED_AT].lower() if self._junk else b""
        return any(word in text for word in self._junk)

    def _store(self, jobs: Sequence[_Job]) -> Sequence[Stored]:
        return self._mailboxes.store_many([job.arrival for job in jobs])

    def _tell(self, results: Sequence[tuple[_Job, Stored]]) -> None:
        for job, result in results:
            if isinstance(result, Path):
                self._stored(job, result)
            elif isinstance(result, MailboxFullError):
                self._full(job, result)
            else:
                self._desk.complain(str(result))
                self._ledger.put_off(job.hand, job.recipient, f"451 4.3.0 {result}")
        self._desk.wake()

    def _stored(self, job: _Job, file: Path) -> None:
        where = str(file).removeprefix(f"{self._desk.directory}/")
        self._ledger.note(job.hand, Step.STORED, What.STORED, job.recipient.address, f"{job.arrival.folder}: {where}")
        self._ledger.sent(job.hand, job.recipient, "250 2.0.0 stored in the mailbox", told=Action.DELIVERED)

    def _full(self, job: _Job, error: MailboxFullError) -> None:
        if self._site.quota_final:
            self._ledger.fail(job.hand, job.recipient, f"552 5.2.2 {error}")
        else:
            self._ledger.put_off(job.hand, job.recipient, f"452 4.2.2 {error}")


def queue_id_in(unique: str) -> str:
    """Give the queue id in the name of a letter that was delivered here, empty for any other name."""
    _, _, rest = unique.partition(".")
    queue_id, mark, _ = rest.partition(".")[0].rpartition("R")
    return queue_id if mark else ""
