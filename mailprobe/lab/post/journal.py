"""The journal: what happened to every letter, written by the post office and read by whoever wants to follow one.

Events stand in the queue's database and are committed together with what they tell of. Reading works while the lab
runs, when it has ended, and when it was killed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mailprobe.lab.post.database import TEXT, explained, open_to_read, storable
from mailprobe.lab.post.queue import Queue
from mailprobe.lab.post.queue_table import moment, stamp
from mailprobe.model.errors import UsageError
from mailprobe.model.road import RoadEvent, Step, What

DATABASE = "queue.db"
DETAIL_CHARACTERS = 2_000
EVENTS_READ = 100_000  # of one letter; a loop may make many
LETTERS_FOLLOWED = 1_000  # a letter, its copies at other sites, and the reports about all of them
_INSERT = (
    "INSERT INTO event(noted, at, site, queue_id, message_id, step, what, recipient, detail, about) "
    f"VALUES(?, ?, ?, ?, {TEXT}, ?, ?, {TEXT}, {TEXT}, ?)"
)
_EVENT = "noted, seq, at, site, queue_id, message_id, step, what, recipient, detail, about"
Row = tuple[Any, ...]


class Journal:
    """Writes events; they are committed with the queue they belong to."""

    def __init__(self, queue: Queue) -> None:
        self._pending: list[Row] = []
        queue.before_commit(self._write)

    def note(self, event: RoadEvent, about: str = "") -> None:
        """Note an event; *about* is the queue id of the letter that a delivery report is about."""
        self._pending.append(
            (
                time.time_ns(),
                stamp(event.at),
                event.site,
                event.queue_id,
                storable(event.message_id),
                int(event.step),
                event.what.value,
                storable(event.recipient),
                storable(event.detail[:DETAIL_CHARACTERS]),
                about,
            )
        )

    def _write(self, connection: sqlite3.Connection) -> None:
        connection.executemany(_INSERT, self._pending)
        self._pending.clear()


def trace(lab_dir: Path, what: str) -> list[RoadEvent]:
    """Give all events of a letter, at every site, with those of the reports that it caused, in their order.

    *what* is a queue id or a Message-ID, with or without its brackets. An empty list means that no site knows it.

    Raises:
        DatabaseError: a site's database cannot be read, and why.
        UsageError: no post office has been in that directory.
    """
    return [_event(row) for row in _rows(lab_dir, what)]


def follow(lab_dir: Path, what: str) -> Iterator[list[RoadEvent]]:
    """Give the events that are new since the last time, whenever asked; it never ends and never waits by itself.

    Raises:
        DatabaseError: as `trace`.
        UsageError: as `trace`.
    """
    seen: set[tuple[str, int]] = set()
    while True:
        new = [row for row in _rows(lab_dir, what) if (row[3], row[1]) not in seen]
        seen.update((row[3], row[1]) for row in new)
        yield [_event(row) for row in new]


def recent(lab_dir: Path, limit: int = 20) -> list[RoadEvent]:
    """Give the last events of all sites, in their order.

    Raises:
        DatabaseError: as `trace`.
        UsageError: as `trace`.
    """
    with _sites(lab_dir) as sites:
        rows = [row for site in sites for row in site.last(limit)]
    return [_event(row) for row in sorted(rows, key=_order)[-limit:]] if limit > 0 else []


def _rows(lab_dir: Path, what: str) -> list[Row]:
    with _sites(lab_dir) as sites:
        return sorted(_Search(sites).find(what.strip()), key=_order)


def _order(row: Row) -> tuple[int, int, int]:
    """Order by the lab's clock, then by when it was noted, as sites have numbers of their own."""
    noted, seq, at = row[:3]
    return at, noted, seq


class _Site:
    """The events of one site."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def where(self, column: str, value: str) -> list[Row]:
        """Give the events whose *column* has that value."""
        sql = f"SELECT {_EVENT} FROM event WHERE {column} = {TEXT} AND {column} != '' ORDER BY seq LIMIT {EVENTS_READ}"
        with explained(self._path):
            return self._connection.execute(sql, (storable(value),)).fetchall()

    def last(self, limit: int) -> list[Row]:
        """Give the last events."""
        with explained(self._path):
            sql = f"SELECT {_EVENT} FROM event ORDER BY seq DESC LIMIT ?"
            return self._connection.execute(sql, (limit,)).fetchall()


@contextlib.contextmanager
def _sites(lab_dir: Path) -> Iterator[list[_Site]]:
    """Open the database of every site that has one."""
    try:
        paths = sorted(path for path in lab_dir.glob(f"*/{DATABASE}"))
    except OSError as error:
        raise UsageError(f"{lab_dir}: {error.strerror}") from None
    if not paths:
        raise UsageError(f"no post office has been in {lab_dir}; is that a lab's directory?")
    with contextlib.ExitStack() as opened:
        yield [_Site(path, opened.enter_context(contextlib.closing(open_to_read(path)))) for path in paths]


class _Search:
    """Follows a letter from site to site by its Message-ID, and to the reports about it by queue ids."""

    def __init__(self, sites: Sequence[_Site]) -> None:
        self._sites = sites
        self._found: dict[tuple[str, int], Row] = {}
        self._followed: set[tuple[str, str]] = set()

    def find(self, what: str) -> list[Row]:
        """Give all events of one letter."""
        bare = what.removeprefix("<").removesuffix(">")
        self._by("queue_id", what)
        self._by("message_id", f"<{bare}>")
        return list(self._found.values())

    def _by(self, column: str, value: str) -> None:
        waiting = [(column, value)]
        while waiting and len(self._followed) < LETTERS_FOLLOWED and len(self._found) < EVENTS_READ:
            question = waiting.pop()
            if question in self._followed:
                continue
            self._followed.add(question)
            for site in self._sites:
                for row in site.where(*question):
                    self._found[row[3], row[1]] = row
                    waiting += [("queue_id", row[4]), ("message_id", row[5]), ("about", row[4])]


def _event(row: Row) -> RoadEvent:
    _noted, _seq, at, site, queue_id, message_id, step, what, recipient, detail, _about = row
    return RoadEvent(
        at=moment(at),
        site=site,
        queue_id=queue_id,
        message_id=message_id,
        step=Step(step),
        what=What(what),
        recipient=recipient,
        detail=detail,
    )
