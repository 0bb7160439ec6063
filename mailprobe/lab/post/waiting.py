"""What a site still has, for who only looks: another process, while the lab runs or when it is dead."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from mailprobe.lab.post.addresses import shown
from mailprobe.lab.post.database import explained, open_to_read
from mailprobe.lab.post.queue_ids import is_queue_id
from mailprobe.lab.post.queue_table import LIVE, WAITING, State, waiting_from, words
from mailprobe.lab.post.spool_file import SpoolError, read_head
from mailprobe.model.errors import UsageError
from mailprobe.model.road import Waiting

SPOOL = "spool"
FILES_READ = 100_000


def read_rows(site_dir: Path, *, finished: bool = False) -> list[Waiting]:
    """List every recipient of every letter that a site has, the oldest letter first; *finished* ones as well.

    Nothing is changed. Letters that only the spool has are there as ``spool``, one entry with the reason where a file
    cannot be read.

    Raises:
        DatabaseError: the queue's database cannot be read, and why.
        UsageError: the directory is not that of a post office.
    """
    database = site_dir / "queue.db"
    queued: list[Waiting] = []
    if database.exists():
        states = tuple(State) if finished else LIVE
        with contextlib.closing(open_to_read(database)) as connection, explained(database):
            rows = connection.execute(WAITING.format(words(states))).fetchall()
            known = {queue_id for (queue_id,) in connection.execute("SELECT queue_id FROM message")}
        queued = [waiting_from(row, site_dir.name) for row in rows]
    elif not (site_dir / "maildrop").is_dir():
        raise UsageError(f"{site_dir} is not the directory of a post office")
    else:
        known = set()
    spooled = [row for folder in ("queue", "maildrop") for row in _spooled(site_dir / folder, known)]
    return sorted(spooled + queued, key=lambda row: row.queue_id)


def _spooled(folder: Path, known: set[str]) -> list[Waiting]:
    try:
        files = sorted(file for file in folder.iterdir() if is_queue_id(file.name) and file.name not in known)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    return [row for file in files[:FILES_READ] for row in _rows_of(file, folder.parent.name)]


def _rows_of(file: Path, site: str) -> list[Waiting]:
    try:
        head = read_head(file)
    except SpoolError:  # it has just been taken, or cannot be opened now
        return []
    except ValueError as error:
        return _unreadable(file, site, f"no letter: {error}")
    return [
        Waiting(
            site=site,
            queue_id=head.queue_id,
            message_id=head.message_id,
            arrived=head.arrived,
            size=head.size,
            sender=head.envelope.sender,
            recipient=recipient,
            state=SPOOL,
            tries=0,
            next_try=None,
            reply="",
        )
        for recipient in dict.fromkeys(head.envelope.recipients)
    ]


def _unreadable(file: Path, site: str, why: str) -> list[Waiting]:
    try:
        status = file.lstat()
    except OSError:
        return []
    row = Waiting(
        site=site,
        queue_id=file.name,
        message_id="",
        arrived=datetime.fromtimestamp(status.st_mtime, UTC),
        size=status.st_size,
        sender="",
        recipient="",
        state=SPOOL,
        tries=0,
        next_try=None,
        reply=shown(why),
    )
    return [row]
