"""What a sender hears of a letter: failures, delays, and success where it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from mailprobe.lab.post.bounces import (
    Action,
    Fate,
    Reporter,
    Subject,
    addressee,
    delay_report,
    failure_report,
    is_wanted,
    success_report,
)
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.hand import Failure, Hand
from mailprobe.lab.post.intake import Intake
from mailprobe.lab.post.ledger import Ledger
from mailprobe.lab.post.queue_table import Recipient
from mailprobe.lab.post.schedule import Schedule
from mailprobe.lab.post.spool import Spooled, SpoolError, new_queue_id
from mailprobe.protocols.mailstore import Envelope

Item = TypeVar("Item")


class Reports:
    """Writes reports about the letters of one site, and spools them like any letter."""

    def __init__(self, desk: Desk, ledger: Ledger, intake: Intake, schedule: Schedule) -> None:
        self._desk = desk
        self._ledger = ledger
        self._intake = intake
        self._schedule = schedule

    def report(self, hand: Hand) -> None:
        """Tell of everything that there is to tell of a letter by now."""
        failures, hand.failures = hand.failures, []
        late, hand.late = hand.late, []
        successes, hand.successes = hand.successes, []
        for sender, group in _by_sender(failures, lambda failure: failure.recipient):
            self._report_failures(hand, sender, group)
        for sender, delayed in _by_sender(late, lambda recipient: recipient):
            self._report_delay(hand, sender, delayed)
        for sender, done in _by_sender(successes, lambda success: success[0]):
            self._report_success(hand, sender, done)

    def _report_failures(self, hand: Hand, sender: str, failures: Sequence[Failure]) -> None:
        wanted = [failure for failure in failures if is_wanted(failure.recipient.notify, Action.FAILED)]
        unwanted = [failure for failure in failures if failure not in wanted]
        if unwanted:
            self._ledger.bounced(hand, unwanted, "the sender did not want to hear of it")
        to = addressee(sender, hand.letter.envelope.recipients, f"postmaster@{self._desk.domain}")
        if not wanted:
            return
        if to is None:
            self._ledger.bounced(hand, wanted, "nobody is told: it was a report itself")
            return
        by = self._reporter()
        fates = [
            _fate(failure.recipient, Action.FAILED, failure.reply, failure.remote, tried=by.at) for failure in wanted
        ]
        data = failure_report(_subject(hand, sender), fates, by, None if sender else to)

        def written(letter: Spooled, error: SpoolError | None) -> None:
            hand.reports -= 1
            if error is None:
                self._ledger.bounced(hand, wanted, f"<{to}> is told in {letter.queue_id}")
            else:
                self._ledger.not_told(hand, wanted)
            self._desk.wake()

        hand.reports += 1
        self._intake.spool(_letter(data, to, by, hand), written)

    def _report_delay(self, hand: Hand, sender: str, late: Sequence[Recipient]) -> None:
        wanted = [recipient for recipient in late if sender and is_wanted(recipient.notify, Action.DELAYED)]
        self._ledger.warned(hand, late, "the sender is told" if wanted else "nobody wanted to be told")
        if wanted:
            by = self._reporter()
            until = self._schedule.expires(hand.message.arrived)
            fates = [
                _fate(recipient, Action.DELAYED, recipient.reply, recipient.remote, tried=by.at, until=until)
                for recipient in wanted
            ]
            self._spool(hand, sender, delay_report(_subject(hand, sender), fates, by), by)

    def _report_success(self, hand: Hand, sender: str, done: Sequence[tuple[Recipient, Action]]) -> None:
        if sender:
            by = self._reporter()
            fates = [_fate(recipient, action, "", "", tried=by.at) for recipient, action in done]
            self._spool(hand, sender, success_report(_subject(hand, sender), fates, by), by)

    def _spool(self, hand: Hand, to: str, data: bytes, by: Reporter) -> None:
        self._intake.spool(_letter(data, to, by, hand), lambda _letter, _error: self._desk.wake())

    def _reporter(self) -> Reporter:
        return Reporter(domain=self._desk.domain, host=self._desk.host, queue_id=new_queue_id(), at=self._desk.now())


def _by_sender(items: Iterable[Item], recipient_of: Callable[[Item], Recipient]) -> list[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(recipient_of(item).sender, []).append(item)
    return list(groups.items())


def _subject(hand: Hand, sender: str) -> Subject:
    envelope = hand.letter.envelope
    return Subject(
        queue_id=hand.queue_id,
        sender=sender,
        arrived=hand.message.arrived,
        data=hand.letter.data,
        ret=envelope.ret,
        envid=envelope.envid,
    )


def _fate(
    recipient: Recipient,
    action: Action,
    reply: str,
    remote: str,
    *,
    tried: datetime,
    until: datetime | None = None,
) -> Fate:
    return Fate(
        address=recipient.address,
        action=action,
        diagnostic=reply,
        remote=remote,
        orcpt=recipient.orcpt,
        tried=tried,
        until=until,
    )


def _letter(data: bytes, to: str, by: Reporter, hand: Hand) -> Spooled:
    envelope = Envelope(
        sender="",
        recipients=(to,),
        client_name="localhost",
        server_name=by.host,
        protocol="local",
        body="7BIT" if data.isascii() else "8BITMIME",
        smtputf8=not to.isascii(),
    )
    return Spooled(
        queue_id=by.queue_id, envelope=envelope, data=data, origin="local", arrived=by.at, about=hand.queue_id
    )
