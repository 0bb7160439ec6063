"""The databases of a post office: opened, explained when they cannot be, and read by others while they are written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from mailprobe.model.errors import MailprobeError

TEXT = "CAST(? AS TEXT)"  # in SQL, the place of a text that `storable` has made
BUSY_S = 10.0  # a writer waits so long for another; readers never wait
WAL_OCTETS = 16 << 20  # the write-ahead log shrinks to this after a checkpoint
_DAMAGE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class DatabaseError(MailprobeError):
    """A database of the post office cannot be used; the text names the file and says what to do.

    *full* tells that the disk is, so that it may work later.
    """

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class DamagedDatabaseError(DatabaseError):
    """The file is no database, or no longer one."""


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open a database for one writer and any number of readers, and make it when it is not there.

    A commit survives the end of the process, however sudden; the last ones may be lost when the power goes.
    *schema* is SQL that does nothing where the tables exist, *version* its number.

    Raises:
        DatabaseError: it cannot be opened, or another version of mailprobe made it.
        DamagedDatabaseError: the file is no database, or another program's.
    """
    with explained(path):
        connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
        try:
            _prepare(connection, path, schema, version)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    connection.text_factory = _text
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if found > version:
        raise DatabaseError(f"{path} was made by a newer mailprobe; use that one, or remove the file")
    if tables and not found:
        raise DamagedDatabaseError(f"{path} is another program's database; move it away")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA journal_size_limit={WAL_OCTETS}")
    if found < version:
        connection.executescript(f"BEGIN IMMEDIATE;{schema};PRAGMA user_version={version};COMMIT;")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that another process may be writing, or was writing when it was killed.

    Raises:
        DatabaseError: it is not there, or cannot be read, and why.
    """
    if not path.exists():
        raise DatabaseError(f"{path} is not there; no post office has run here")
    try:
        with explained(path):
            return _reader(path, "mode=ro")
    except DatabaseError as error:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.Error) or _code(cause) not in _UNWRITABLE:
            raise
        return _open_unchanging(path)


def _open_unchanging(path: Path) -> sqlite3.Connection:
    """Read a database in a folder where nothing can be written: possible when its last writer ended in good order."""
    log = path.with_name(f"{path.name}-wal")
    with contextlib.suppress(OSError):
        if log.exists() and log.stat().st_size:
            raise DatabaseError(
                f"{path} cannot be read: its folder is read-only here, and its last changes are still in {log.name}; "
                f"copy the folder to where you may write, and read it there"
            )
    with explained(path):
        return _reader(path, "immutable=1")


def _reader(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, timeout=BUSY_S)
    connection.text_factory = _text
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a database into words.

    Raises:
        DatabaseError: SQLite reported an error.
        DamagedDatabaseError: the file is no database, or damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) in _DAMAGE:
            raise DamagedDatabaseError(f"{path} is damaged ({error}); move it away to start anew") from error
        raise DatabaseError(f"{path}: {_reason(error)}", full=_code(error) == sqlite3.SQLITE_FULL) from error


def _reason(error: sqlite3.Error) -> str:
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return "no space left on the disk"
        case sqlite3.SQLITE_READONLY:
            return "the file, or its folder, is read-only"
        case sqlite3.SQLITE_CANTOPEN:
            return "cannot be opened; is it a file, and may you read and write it and its folder?"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another process is writing it; does a lab run in this directory?"
        case _:
            return str(error)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the primary code of an extended one


def storable(text: str) -> str | bytes:
    """Give what SQLite can hold of a text with any octets in it; `TEXT` stands for it in the SQL."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which no octets stand for
        return text.encode("utf-8", "surrogatepass")


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def move_aside(path: Path, now: datetime) -> Path:
    """Rename a damaged database, with what SQLite keeps beside it, so that a new one can be made.

    Raises:
        DatabaseError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S}")
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S}-{number}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise DatabaseError(f"{path} is damaged, and cannot be moved away: {error.strerror}") from None
    return aside
