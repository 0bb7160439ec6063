"""The queue: which letters a site has, for whom, how far each has come, and when it is tried again.

The letter files are the record, and this database the index of them: when it is lost, it is made anew from them. One
process writes it, in one thread, and commits in batches; any other may read it at any time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mailprobe.lab.post.database import (
    TEXT,
    DamagedDatabaseError,
    DatabaseError,
    explained,
    move_aside,
    open_database,
    storable,
)
from mailprobe.lab.post.expander import Kind as Goal
from mailprobe.lab.post.expander import Target
from mailprobe.lab.post.queue_table import (
    DUE,
    LIVE,
    MESSAGE,
    RECIPIENT,
    REPLY_CHARACTERS,
    SCHEMA,
    VERSION,
    WAITING,
    Due,
    Kind,
    Message,
    Recipient,
    State,
    first_rows,
    message_from,
    moment,
    recipient_from,
    row_of,
    stamp,
    waiting_from,
    words,
)
from mailprobe.lab.post.schedule import Schedule
from mailprobe.lab.post.spool_file import Spooled
from mailprobe.lab.post.waiting import read_rows
from mailprobe.model.road import Waiting

__all__ = ["Due", "Kind", "Message", "Queue", "Recipient", "Schedule", "State", "read_rows"]

LETTERS_KEPT = 20_000  # finished ones, so that it can be seen what became of them
EVENTS_KEPT = 500_000
TRIM_EVERY = 2_000  # letters
_ADD_MESSAGE = f"INSERT OR IGNORE INTO message({MESSAGE}) VALUES(?, {TEXT}, ?, {TEXT}, ?, ?, ?, {TEXT}, ?, 0)"
_ADD_RECIPIENT = (
    f"INSERT OR IGNORE INTO recipient({RECIPIENT}) "
    f"VALUES(?, ?, ?, {TEXT}, {TEXT}, {TEXT}, {TEXT}, {TEXT}, ?, {TEXT}, ?, ?, ?, {TEXT}, '')"
)
_MARK = (
    f"UPDATE recipient SET state = ?, reply = {TEXT}, remote = {TEXT}, next_try = ?, tries = tries + ? "
    f"WHERE queue_id = ? AND number = ?"
)
_TRIM_MESSAGES = """
DELETE FROM message WHERE queue_id <= (SELECT queue_id FROM message ORDER BY queue_id DESC LIMIT 1 OFFSET ?)
AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue_id = message.queue_id
                AND state IN ('incoming', 'active', 'deferred', 'held'))
"""
_TRIM_RECIPIENTS = """
DELETE FROM recipient WHERE queue_id < (SELECT min(queue_id) FROM message)
OR (queue_id <= ? AND NOT EXISTS (SELECT 1 FROM message WHERE message.queue_id = recipient.queue_id))
"""


class Queue:
    """The queue of one site; *path* is its database.

    What was being worked on when an earlier process ended is due again. All methods are for one thread. Nothing is
    safe before `commit`; ``with queue:`` commits at its end, or takes it all back when an error ends it.

    Raises:
        DatabaseError: the database cannot be opened; DamagedDatabaseError when the file is none.
    """

    def __init__(self, path: Path, schedule: Schedule | None = None) -> None:
        self.path = path
        self.schedule = schedule or Schedule()
        self.moved_aside: Path | None = None
        self._added = 0
        self._failure: DatabaseError | None = None
        self._before_commit: list[Callable[[sqlite3.Connection], None]] = []
        self._connection = open_database(path, SCHEMA, VERSION)
        self._run(f"UPDATE recipient SET state = '{State.INCOMING}' WHERE state = '{State.ACTIVE}'")
        self.commit()

    @classmethod
    def open_or_rebuild(cls, path: Path, now: datetime, schedule: Schedule | None = None) -> Self:
        """Open a queue; move a damaged database aside, as *moved_aside* then says, and start with an empty one.

        Nothing is lost: add what `Spool.orphans` finds. What had been sent already may be sent once more.

        Raises:
            DatabaseError: it cannot be opened, and not for being damaged.
        """
        try:
            queue = cls(path, schedule)
            try:
                queue._check()
            except BaseException:
                queue.close()
                raise
        except DamagedDatabaseError:
            aside = move_aside(path, now)
            queue = cls(path, schedule)
            queue.moved_aside = aside
        return queue

    def _check(self) -> None:
        ((said,),) = self._run("PRAGMA quick_check(1)").fetchall()
        if said != "ok":
            raise DamagedDatabaseError(f"{self.path} is damaged: {said.splitlines()[0]}")

    def close(self) -> None:
        """Close the database; what was not committed is forgotten."""
        self._connection.close()

    def commit(self) -> None:
        """Make everything so far outlive the process.

        Raises:
            DatabaseError: the disk is full, or cannot be written; or something before could not be done, and what was
                done with it is taken back: the database never holds half of anything. The queue is to be opened anew.
        """
        if self._failure is not None:
            raise self._failure
        with self._whole():
            for hook in self._before_commit:
                hook(self._connection)
            if self._added >= TRIM_EVERY:
                self._added = 0
                self._trim()
            self._connection.commit()

    def before_commit(self, hook: Callable[[sqlite3.Connection], None]) -> None:
        """Have *hook* called within every commit: what it writes is committed together with the rest."""
        self._before_commit.append(hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.commit()
        else:
            self._connection.rollback()

    def _run(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        with self._whole():
            return self._connection.execute(sql, values)

    def _run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with self._whole():
            self._connection.executemany(sql, rows)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Take everything back when something fails."""
        try:
            with explained(self.path):
                yield
        except DatabaseError as error:
            self._failure = error
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    # Letters come

    def add(self, letter: Spooled, at: datetime | None = None) -> bool:
        """Take a letter in, each of its recipients once; *at* None means when it arrived.

        False when the queue knows it already: adding is repeated after a crash.
        """
        at = letter.arrived if at is None else at
        envelope = letter.envelope
        added = self._run(
            _ADD_MESSAGE,
            (
                letter.queue_id,
                storable(letter.message_id),
                stamp(at),
                storable(envelope.sender),
                len(letter.data),
                letter.origin,
                envelope.ret,
                storable(envelope.envid),
                letter.about,
            ),
        )
        if not added.rowcount:
            return False
        self._run_many(_ADD_RECIPIENT, first_rows(letter, stamp(at)))
        self._added += 1
        return True

    def expanded(self, queue_id: str, targets: Sequence[Target], now: datetime) -> tuple[Recipient, ...]:
        """Put targets into the place of the recipients that waited for the expander and are active; give the new ones.

        They are due at once. A failed target that may work later waits for the expander again, by the schedule.
        """
        known = self.recipients(queue_id)
        sources = {each.recipient: each for each in known if each.kind is Kind.NEW and each.state is State.ACTIVE}
        if not sources:
            return ()
        first = max(each.number for each in known) + 1
        fallback = next(iter(sources.values()))
        new = [
            self._aimed(sources.get(target.path[0], fallback), target, number, now)
            for number, target in enumerate(targets, start=first)
        ]
        self._run_many(
            "DELETE FROM recipient WHERE queue_id = ? AND number = ?",
            [(queue_id, source.number) for source in sources.values()],
        )
        self._run_many(_ADD_RECIPIENT, [row_of(recipient) for recipient in new])
        return tuple(new)

    def _aimed(self, source: Recipient, target: Target, number: int, now: datetime) -> Recipient:
        later = target.kind is Goal.FAILED and target.enhanced.startswith("4")
        tries = source.tries + 1 if later else 0
        return Recipient(
            queue_id=source.queue_id,
            number=number,
            kind=Kind.NEW if later else Kind(target.kind.value),
            address=target.address,
            recipient=source.recipient,
            path=target.path,
            user=target.user,
            sender=target.owner if target.owner and source.sender else source.sender,
            notify=source.notify,
            orcpt=source.orcpt,
            state=State.DEFERRED if later else State.INCOMING,
            tries=tries,
            next_try=self.schedule.next_try(tries, now) if later else now,
            reply=f"{target.enhanced} {target.text}".strip(),
            remote="",
        )

    # Work is given out and comes back

    def due(self, now: datetime, limit: int = 100, kinds: Collection[Kind] = tuple(Kind)) -> list[Due]:
        """Give letters that there is something to do for, the longest due first, and make their recipients active.

        *limit* counts letters; only recipients of these *kinds* are given.
        """
        wanted = words(kinds)
        where = f"state IN ({words(DUE)}) AND next_try <= ? AND kind IN ({wanted})"
        until = stamp(now)
        found: dict[str, None] = {}
        for (queue_id,) in self._run(f"SELECT queue_id FROM recipient WHERE {where} ORDER BY next_try", (until,)):
            found[queue_id] = None
            if len(found) >= limit:
                break
        given = []
        for queue_id in found:
            message = self.message(queue_id)
            rows = self._run(
                f"SELECT {RECIPIENT} FROM recipient WHERE queue_id = ? AND {where}", (queue_id, until)
            ).fetchall()
            self._run(f"UPDATE recipient SET state = 'active' WHERE queue_id = ? AND {where}", (queue_id, until))
            if message is not None:
                active = (msgspec.structs.replace(recipient_from(row), state=State.ACTIVE) for row in rows)
                given.append(Due(message, tuple(active)))
        return given

    def next_due(self, kinds: Collection[Kind] = tuple(Kind)) -> datetime | None:
        """Give when there is next something to do; None when nothing waits for a time."""
        row = self._run(
            f"SELECT next_try FROM recipient WHERE state IN ({words(DUE)}) AND kind IN ({words(kinds)}) "
            f"ORDER BY next_try LIMIT 1"
        ).fetchone()
        return None if row is None else moment(row[0])

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
        """Note what came of a recipient; *next_try* is for those that are deferred.

        *tried* False puts a recipient back that was not tried after all, so that it does not count.
        """
        when = 0 if next_try is None else stamp(next_try)
        text = storable(reply[:REPLY_CHARACTERS])
        self._run(_MARK, (state, text, storable(remote), when, int(tried), queue_id, number))

    def warned(self, queue_id: str) -> None:
        """Note that the sender has been told of the delay."""
        self._run("UPDATE message SET warned = 1 WHERE queue_id = ?", (queue_id,))

    def finished(self, queue_id: str) -> bool:
        """Tell whether nothing more is to be done for a letter; False for one that is not known."""
        return self.message(queue_id) is not None and not any(
            self._run(f"SELECT 1 FROM recipient WHERE queue_id = ? AND state IN ({words(LIVE)}) LIMIT 1", (queue_id,))
        )

    # Questions

    def message(self, queue_id: str) -> Message | None:
        """Give what is known of a letter, or None when the queue does not have it."""
        row = self._run(f"SELECT {MESSAGE} FROM message WHERE queue_id = ?", (queue_id,)).fetchone()
        return None if row is None else message_from(row)

    def recipients(self, queue_id: str) -> tuple[Recipient, ...]:
        """Give all recipients of a letter, whatever their state, by their numbers."""
        rows = self._run(f"SELECT {RECIPIENT} FROM recipient WHERE queue_id = ? ORDER BY number", (queue_id,))
        return tuple(recipient_from(row) for row in rows)

    def unfinished(self) -> list[str]:
        """Give the queue ids of all letters that there is still something to do for."""
        rows = self._run(f"SELECT DISTINCT queue_id FROM recipient WHERE state IN ({words(LIVE)}) ORDER BY queue_id")
        return [queue_id for (queue_id,) in rows]

    def known(self) -> set[str]:
        """Give the queue ids of all letters, finished ones too."""
        return {queue_id for (queue_id,) in self._run("SELECT queue_id FROM message")}

    def rows(self, site: str, states: Collection[State] = LIVE) -> list[Waiting]:
        """List recipients for people, the oldest letter first."""
        return [waiting_from(row, site) for row in self._run(WAITING.format(words(states)))]

    def counts(self) -> dict[State, int]:
        """Count the recipients in every state."""
        found = dict(self._run("SELECT state, count(*) FROM recipient GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in State}

    # What an administrator does. Queue id None means every letter; each gives how many recipients it was for.

    def hold(self, queue_id: str | None = None) -> int:
        """Keep letters back until they are released; what is being worked on goes on."""
        return self._change(f"state = '{State.HELD}'", DUE, queue_id)

    def release(self, now: datetime, queue_id: str | None = None) -> int:
        """Let letters that are held go on at once."""
        return self._change(f"state = '{State.INCOMING}', next_try = {stamp(now)}", [State.HELD], queue_id)

    def flush(self, now: datetime, queue_id: str | None = None) -> int:
        """Make letters that are deferred due at once."""
        return self._change(f"next_try = {stamp(now)}", [State.DEFERRED], queue_id)

    def delete(self, queue_id: str | None = None) -> int:
        """Forget letters, except recipients being worked on; their files are for the caller to remove, before."""
        where, values = ("1", ()) if queue_id is None else ("queue_id = ?", (queue_id,))
        count = self._run(f"DELETE FROM recipient WHERE {where} AND state != '{State.ACTIVE}'", values).rowcount
        unused = "NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.queue_id = message.queue_id)"
        self._run(f"DELETE FROM message WHERE {where} AND {unused}", values)
        return count

    def _change(self, what: str, states: Collection[State], queue_id: str | None) -> int:
        where = f"state IN ({words(states)})"
        if queue_id is None:
            return self._run(f"UPDATE recipient SET {what} WHERE {where}").rowcount
        return self._run(f"UPDATE recipient SET {what} WHERE {where} AND queue_id = ?", (queue_id,)).rowcount

    # What else is to outlive the process

    def setting(self, name: str) -> str | None:
        """Give a setting, or None when it was never made."""
        row = self._run("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set(self, name: str, value: str | None) -> None:
        """Make a setting, or with None take it back."""
        if value is None:
            self._run("DELETE FROM setting WHERE name = ?", (name,))
        else:
            self._run("INSERT OR REPLACE INTO setting(name, value) VALUES(?, ?)", (name, value))

    def _trim(self) -> None:
        """Forget the oldest finished letters and events, so that the database stays bounded."""
        row = self._run(
            "SELECT queue_id FROM message ORDER BY queue_id DESC LIMIT 1 OFFSET ?", (LETTERS_KEPT,)
        ).fetchone()
        if row is not None:
            self._run(_TRIM_MESSAGES, (LETTERS_KEPT,))
            self._run(_TRIM_RECIPIENTS, row)
        self._run("DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?", (EVENTS_KEPT,))
