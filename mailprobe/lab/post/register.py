"""The queue as the post office writes it: in bunches, and without asking the database what is known here anyway.

A letter that goes straight through costs no question, and is written once, with what has become of it by then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from mailprobe.lab.post.database import TEXT, storable
from mailprobe.lab.post.expander import Target
from mailprobe.lab.post.queue import Queue
from mailprobe.lab.post.queue_table import (
    MESSAGE,
    RECIPIENT,
    REPLY_CHARACTERS,
    Due,
    Kind,
    Message,
    Recipient,
    State,
    row_of,
    stamp,
)
from mailprobe.lab.post.schedule import Schedule
from mailprobe.lab.post.spool import Spooled
from mailprobe.protocols.mailstore import Asked

_ADD_MESSAGE = f"INSERT OR IGNORE INTO message({MESSAGE}) VALUES(?, {TEXT}, ?, {TEXT}, ?, ?, ?, {TEXT}, ?, 0)"
_ADD_RECIPIENT = (
    f"INSERT OR IGNORE INTO recipient({RECIPIENT}) "
    f"VALUES(?, ?, ?, {TEXT}, {TEXT}, {TEXT}, {TEXT}, {TEXT}, ?, {TEXT}, ?, ?, ?, {TEXT}, {TEXT})"
)
_MARK = (
    f"UPDATE recipient SET state = ?, reply = {TEXT}, remote = {TEXT}, next_try = ?, tries = tries + ? "
    f"WHERE queue_id = ? AND number = ?"
)
_NOTHING_ASKED = Asked()
_DUE = (State.INCOMING, State.DEFERRED)

Key = tuple[str, int]


class Register(Queue):
    """A queue whose writes gather until it is committed, or until the database is asked something."""

    def __init__(self, path: Path, schedule: Schedule | None = None) -> None:
        self._messages: list[Message] = []
        self._recipients: dict[Key, Recipient] = {}
        self._marks: list[tuple[object, ...]] = []
        self._earliest: datetime | None = None
        self._earliest_known = False
        super().__init__(path, schedule)
        self.before_commit(lambda _connection: self._write())

    def enter(
        self, letter: Spooled, message: Message, targets: Sequence[Target], now: datetime, working: Collection[Kind]
    ) -> tuple[Recipient, ...]:
        """Take in a letter that has been expanded already; its recipients of the kinds *working* are active at once."""
        asked = dict(zip(letter.envelope.recipients, letter.envelope.asked, strict=False))
        first = len(
            set(letter.envelope.recipients)
        )  # as `expanded` counts, for a letter that comes again after a crash
        entered = tuple(
            _aimed(message, target, number, now, asked.get(target.path[0], _NOTHING_ASKED), working)
            for number, target in enumerate(targets, start=first)
        )
        self._messages.append(message)
        for recipient in entered:
            self._recipients[recipient.queue_id, recipient.number] = recipient
            self._expect(recipient.state, now)
        return entered

    def add(self, letter: Spooled, at: datetime | None = None) -> bool:
        """Take a letter in; see `Queue.add`."""
        self.forget_earliest()
        return super().add(letter, at)

    def expanded(self, queue_id: str, targets: Sequence[Target], now: datetime) -> tuple[Recipient, ...]:
        """Put targets into the place of recipients; see `Queue.expanded`."""
        self.forget_earliest()
        return super().expanded(queue_id, targets, now)

    def mark(
        self,
        queue_id: str,
        number: int,
        state: State,
        reply: str = "",
        next_try: datetime | None = None,
        *,
        remote: str = "",
        tried: bool = True,
    ) -> None:
        """Note what came of a recipient; see `Queue.mark`."""
        self._expect(state, next_try)
        entered = self._recipients.get((queue_id, number))
        if entered is None:
            when = 0 if next_try is None else stamp(next_try)
            text = storable(reply[:REPLY_CHARACTERS])
            self._marks.append((state, text, storable(remote), when, int(tried), queue_id, number))
            return
        self._recipients[queue_id, number] = msgspec.structs.replace(
            entered,
            state=state,
            reply=reply,
            remote=remote,
            tries=entered.tries + int(tried),
            next_try=next_try or entered.next_try,
        )

    def _write(self) -> None:
        """Give the database what has gathered."""
        messages, self._messages = self._messages, []
        recipients, self._recipients = self._recipients, {}
        marks, self._marks = self._marks, []
        if messages:
            self._added += len(messages)
            self._run_many(_ADD_MESSAGE, map(_message_row, messages))
            self._run_many(_ADD_RECIPIENT, ((*row_of(each), storable(each.remote)) for each in recipients.values()))
        if marks:
            self._run_many(_MARK, marks)

    def _run(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if self._messages or self._marks:
            self._write()
        return super()._run(sql, values)

    # What is due

    def due(self, now: datetime, limit: int = 100, kinds: Collection[Kind] = tuple(Kind)) -> list[Due]:
        """Give letters that there is something to do for; see `Queue.due`."""
        self.forget_earliest()
        return super().due(now, limit, kinds)

    def earliest(self, kinds: Collection[Kind]) -> datetime | None:
        """Give a time before which nothing of these *kinds* is due, None when nothing waits for any.

        It is remembered: call `forget_earliest` before asking for other kinds.
        """
        if not self._earliest_known:
            self._earliest, self._earliest_known = self.next_due(kinds), True
        return self._earliest

    def forget_earliest(self) -> None:
        """Have it found out anew."""
        self._earliest_known = False

    def _expect(self, state: State, when: datetime | None) -> None:
        if state in _DUE and when is not None and self._earliest_known:
            self._earliest = when if self._earliest is None else min(self._earliest, when)

    def _change(self, what: str, states: Collection[State], queue_id: str | None) -> int:
        self.forget_earliest()
        return super()._change(what, states, queue_id)


def _aimed(
    message: Message, target: Target, number: int, now: datetime, asked: Asked, working: Collection[Kind]
) -> Recipient:
    kind = Kind(target.kind.value)
    return Recipient(
        queue_id=message.queue_id,
        number=number,
        kind=kind,
        address=target.address,
        recipient=target.path[0],
        path=target.path,
        user=target.user,
        sender=target.owner if target.owner and message.sender else message.sender,
        notify=asked.notify,
        orcpt=asked.orcpt,
        state=State.ACTIVE if kind in working else State.INCOMING,
        tries=0,
        next_try=now,
        reply=f"{target.enhanced} {target.text}".strip(),
        remote="",
    )


def _message_row(message: Message) -> tuple[object, ...]:
    return (
        message.queue_id,
        storable(message.message_id),
        stamp(message.arrived),
        storable(message.sender),
        message.size,
        message.origin,
        message.ret,
        storable(message.envid),
        message.about,
    )
