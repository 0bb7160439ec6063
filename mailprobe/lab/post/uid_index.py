"""What a Maildir cannot keep: uids, keywords, dates with their zone, and subscriptions, in one sqlite file for a site.

It may always be rebuilt from the Maildirs: then every mailbox has a new uidvalidity, as RFC 3501 §2.3.1.1 asks. The
highest uidvalidity that was ever given stands in a file of its own, so that none comes twice.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec

from mailprobe.protocols.mailstore import StoreError

DATABASE = "mailboxes.db"
VALIDITY = "mailboxes.uidvalidity"
VERSION = 1
BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY, user TEXT NOT NULL, name TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL, UNIQUE (user, name));
CREATE TABLE letter (
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, base BLOB NOT NULL, size INTEGER NOT NULL,
    received REAL NOT NULL, zone INTEGER NOT NULL, keywords TEXT NOT NULL,
    PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;
CREATE TABLE subscription (user TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;
"""


class Numbers(msgspec.Struct, frozen=True):
    """What is known of a mailbox as a whole; *key* is good until the index is rebuilt."""

    key: int
    uid_validity: int
    uid_next: int


class Filed(msgspec.Struct, frozen=True):
    """A letter in the index. *base* is its file's name without flags, *size* what RFC822.SIZE says."""

    uid: int
    base: str
    size: int
    received: datetime
    keywords: tuple[str, ...]


class UidIndex:
    """The sqlite file of a site. *warn* is told, once, when it had to be rebuilt; *generation* changes then."""

    def __init__(self, directory: Path, clock: Callable[[], datetime], warn: Callable[[str], None]) -> None:
        self.generation = 0
        self._path = directory / DATABASE
        self._validity = directory / VALIDITY
        self._clock = clock
        self._warn = warn
        self._lock = threading.RLock()
        self._database = self._open()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def mailbox(self, user: str, name: str) -> Numbers:
        """Give a mailbox, made known when it is not yet.

        This and all below raise StoreError when the file cannot be read or written.
        """
        with self._using() as database:
            row = find_mailbox(database, user, name)
            if row is None:
                columns = (user, name, self._next_validity())
                database.execute("INSERT INTO mailbox (user, name, uidvalidity, uidnext) VALUES (?, ?, ?, 1)", columns)
                if name == "INBOX":
                    database.execute("INSERT OR IGNORE INTO subscription VALUES (?, ?)", (user, name))
                row = find_mailbox(database, user, name)
            assert row is not None, "it was put in"
            return row

    def letters(self, key: int) -> list[Filed]:
        """Give the letters of a mailbox in the order of their uids."""
        with self._using() as database:
            return read_letters(database, key)

    def add(self, key: int, letters: Iterable[Filed], uid_next: int) -> None:
        """File letters whose uids are all below *uid_next*."""
        rows = [(key, each.uid, os.fsencode(each.base), each.size, *_seconds(each), _joined(each)) for each in letters]
        with self._using() as database:
            database.executemany("INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("UPDATE mailbox SET uidnext = ? WHERE id = ?", (uid_next, key))

    def forget(self, key: int, uids: Collection[int]) -> None:
        """Drop letters that are gone."""
        with self._using() as database:
            database.executemany("DELETE FROM letter WHERE mailbox = ? AND uid = ?", [(key, uid) for uid in uids])

    def set_keywords(self, key: int, uid: int, keywords: tuple[str, ...]) -> None:
        """Replace the keywords of a letter."""
        with self._using() as database:
            columns = (" ".join(keywords), key, uid)
            database.execute("UPDATE letter SET keywords = ? WHERE mailbox = ? AND uid = ?", columns)

    def drop(self, user: str, name: str) -> None:
        """Forget a mailbox that was deleted; its uidvalidity never comes again."""
        with self._using() as database:
            self._drop(database, user, name)

    def _drop(self, database: sqlite3.Connection, user: str, name: str) -> None:
        row = find_mailbox(database, user, name)
        if row is not None:
            database.execute("DELETE FROM letter WHERE mailbox = ?", (row.key,))
            database.execute("DELETE FROM mailbox WHERE id = ?", (row.key,))

    def rename(self, user: str, name: str, to: str) -> None:
        """Give a mailbox its new name; its letters keep their uids."""
        with self._using() as database:
            self._drop(database, user, to)  # one whose directory another program has deleted
            database.execute("UPDATE mailbox SET name = ? WHERE user = ? AND name = ?", (to, user, name))

    def subscriptions(self, user: str) -> set[str]:
        """Give the names that a user is subscribed to."""
        with self._using() as database:
            return {name for (name,) in database.execute("SELECT name FROM subscription WHERE user = ?", (user,))}

    def subscribe(self, user: str, name: str, wanted: bool) -> None:
        """Put a name into a user's subscriptions, or take it out."""
        with self._using() as database:
            if wanted:
                database.execute("INSERT OR IGNORE INTO subscription VALUES (?, ?)", (user, name))
            else:
                database.execute("DELETE FROM subscription WHERE user = ? AND name = ?", (user, name))

    # The file

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Give the database for one transaction."""
        with self._lock:
            try:
                with self._database:
                    yield self._database
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise StoreError(f"{self._path.name} cannot be read or written: {error}") from None
                self._database.close()
                self._database = self._rebuild(error)
                raise StoreError(f"{self._path.name} was damaged and has been rebuilt; try again") from None

    def _open(self) -> sqlite3.Connection:
        there = self._path.exists()
        database = None
        try:
            database = sqlite3.connect(self._path, timeout=BUSY_S, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")  # a crash of the machine may cost the last uids, no letters
            if not there or self._was_being_made(database):
                database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            _examine(database)
        except sqlite3.DatabaseError as error:
            if database is not None:
                database.close()
            if not there or not _is_damage(error):
                raise StoreError(f"{self._path.name} cannot be read or written: {error}") from None
            return self._rebuild(error)
        except StoreError:
            if database is not None:
                database.close()
            raise
        return database

    def _was_being_made(self, database: sqlite3.Connection) -> bool:
        """Tell whether an earlier lab died before there was anything in the file."""
        made = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return not made and not self._validity.exists()

    def _rebuild(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Move the damaged file aside and start with an empty one."""
        number = 1
        while (aside := self._path.with_name(f"{DATABASE}.damaged-{number}")).exists():
            number += 1
        try:
            self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._path.with_name(DATABASE + suffix).rename(f"{aside}{suffix}")
        except OSError as trouble:
            raise StoreError(f"{self._path.name} is damaged and cannot be moved aside: {trouble.strerror}") from None
        self.generation += 1
        database = self._open()
        self._warn(
            f"{self._path} was damaged ({error}); it is now {aside.name}, and all mailboxes get a new uidvalidity:"
            " no letter is lost, but mail programs read them anew, and keywords and subscriptions are gone"
        )
        return database

    def _next_validity(self) -> int:
        """Give a uidvalidity that is higher than any before."""
        try:
            highest = int(self._validity.read_text(encoding="ascii")[:12])
        except (OSError, ValueError):
            row = self._database.execute("SELECT max(uidvalidity) FROM mailbox").fetchone()
            highest = row[0] or 0
        value = max(int(self._clock().timestamp()), highest + 1)
        draft = self._validity.with_suffix(".tmp")
        try:
            draft.write_text(f"{value}\n", encoding="ascii")
            draft.replace(self._validity)
        except OSError as error:
            raise StoreError(f"{self._validity.name} cannot be written: {error.strerror}") from None
        return value


class _StrangeError(sqlite3.DatabaseError):
    """A database that is none of ours, or not in order."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what makes the code an extended one
    return isinstance(error, _StrangeError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _examine(database: sqlite3.Connection) -> None:
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StoreError(f"{DATABASE} was made by a newer mailprobe; use that one, or remove the file")
    if found != VERSION:
        raise _StrangeError(f"version {found} where {VERSION} was due")
    complaint = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if complaint != "ok":
        raise _StrangeError(complaint)


def open_to_read(directory: Path) -> sqlite3.Connection | None:
    """Open the index of a site from another process, or give None when there is none that can be read."""
    path = directory / DATABASE
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        _examine(database)
    except (sqlite3.DatabaseError, StoreError, OSError):
        return None
    return database


def find_mailbox(database: sqlite3.Connection, user: str, name: str) -> Numbers | None:
    """Give what the index knows of a mailbox, or None."""
    query = "SELECT id, uidvalidity, uidnext FROM mailbox WHERE user = ? AND name = ?"
    row = database.execute(query, (user, name)).fetchone()
    return None if row is None else Numbers(*row)


def read_letters(database: sqlite3.Connection, key: int) -> list[Filed]:
    """Give the letters of a mailbox in the order of their uids."""
    query = "SELECT uid, base, size, received, zone, keywords FROM letter WHERE mailbox = ? ORDER BY uid"
    return [
        Filed(uid, os.fsdecode(base), size, moment(received, zone), tuple(keywords.split()))
        for uid, base, size, received, zone, keywords in database.execute(query, (key,))
    ]


def _seconds(letter: Filed) -> tuple[float, int]:
    """Give a date as seconds since 1970 and the minutes of its zone."""
    offset = letter.received.utcoffset() or timedelta()
    return letter.received.timestamp(), int(offset.total_seconds()) // 60


def moment(seconds: float, zone: int = 0) -> datetime:
    """Give the time so many seconds after 1970 in a zone so many minutes east; what is no time is 1970."""
    try:
        return datetime.fromtimestamp(seconds, timezone(timedelta(minutes=zone)))
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _joined(letter: Filed) -> str:
    return " ".join(letter.keywords)
