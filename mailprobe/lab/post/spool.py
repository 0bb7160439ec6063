"""The spool: letters as files, each there whole or not at all.

A file holds one line of JSON, who sends it to whom, and below it the letter's octets. It is written under ``tmp/``,
flushed to the disk, and only then renamed into ``maildrop/``: whoever was told 250 has a letter that neither a
crash nor a power cut takes away. The queue moves it to ``queue/``, and what cannot be read goes to ``corrupt/`` with
the reason beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Container, Sequence
from pathlib import Path

from mailprobe.lab.post.queue_ids import is_queue_id, new_queue_id
from mailprobe.lab.post.spool_file import (
    LETTER_OCTETS,
    Spooled,
    SpoolError,
    explained,
    message_id_of,
    read_letter,
    refusal,
    write_letter,
)
from mailprobe.model.errors import MailprobeError

__all__ = ["CorruptLetterError", "Spool", "SpoolError", "Spooled", "is_queue_id", "message_id_of", "new_queue_id"]


class CorruptLetterError(MailprobeError):
    """A file of the spool is no letter; it has been moved to *moved_to* with the reason beside it."""

    def __init__(self, text: str, moved_to: Path) -> None:
        super().__init__(text)
        self.moved_to = moved_to


class _Flusher:
    """Flushes a folder to the disk; callers who come while a flush is under way share the next one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._condition = threading.Condition()
        self._running = False
        self._begun = 0
        self._ended = 0

    def flush(self) -> None:
        """Return when a flush that began after this call has ended.

        Raises:
            OSError: the folder cannot be flushed.
        """
        with self._condition:
            wanted = self._begun + 1
            while self._ended < wanted:
                if self._running:
                    self._condition.wait()
                else:
                    self._lead()

    def _lead(self) -> None:
        self._running = True
        self._begun += 1
        number = self._begun
        self._condition.release()
        try:
            _flush_folder(self._folder)
        finally:
            self._condition.acquire()
            self._running = False
            self._condition.notify_all()
        self._ended = number


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Spool:
    """The spool of one site, below its *directory*: ``tmp/``, ``maildrop/``, ``queue/`` and ``corrupt/``.

    Every method blocks, and any thread may call it. The post office has the spool for itself, and removes what an
    earlier one left half written. Another process that only puts letters into it is a *guest*, and removes nothing.

    Raises:
        SpoolError: the folders cannot be made.
    """

    def __init__(self, directory: Path, *, guest: bool = False) -> None:
        self._tmp, self._maildrop, self._queue, self._corrupt = (
            directory / name for name in ("tmp", "maildrop", "queue", "corrupt")
        )
        with explained(directory):
            for folder in (self._tmp, self._maildrop, self._queue, self._corrupt):
                folder.mkdir(parents=True, exist_ok=True)
            if not guest:
                _remove_all(self._tmp)
        self._flusher = _Flusher(self._maildrop)

    def write(self, letter: Spooled) -> Path:
        """Put a letter into ``maildrop/``; when this returns, it is on the disk.

        Raises:
            SpoolError: it is not in the spool, as there is no space, no permission, or it is too large.
        """
        (written,) = self.write_many([letter])
        if isinstance(written, SpoolError):
            raise written
        return written

    def write_many(self, letters: Sequence[Spooled]) -> list[Path | SpoolError]:
        """Put letters into ``maildrop/``, each whole or not at all; the folder is flushed once for all of them.

        Gives the file of each letter, or why it is not in the spool.
        """
        written = [self._written(letter) for letter in letters]
        if not any(isinstance(item, Path) for item in written):
            return written
        try:
            self._flusher.flush()
        except OSError as error:
            return [refusal(self._maildrop, error) if isinstance(item, Path) else item for item in written]
        return written

    def _written(self, letter: Spooled) -> Path | SpoolError:
        path = self._maildrop / letter.queue_id
        if not is_queue_id(letter.queue_id) or path.exists():
            return SpoolError(f"{letter.queue_id!r} is no new queue id")
        if len(letter.data) > LETTER_OCTETS:
            return SpoolError(f"the letter has {len(letter.data)} octets; the spool takes {LETTER_OCTETS} at most")
        temporary = self._tmp / letter.queue_id
        try:
            write_letter(temporary, letter)
            temporary.rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return refusal(self._maildrop, error)
        return path

    def waiting(self) -> list[str]:
        """Give the names of all files in ``maildrop/``, oldest letter first; `take` finds out what they are.

        Raises:
            SpoolError: the folder cannot be read.
        """
        return self._names(self._maildrop)

    def orphans(self, known: Container[str] = ()) -> list[str]:
        """Give the names of all files in ``queue/`` that are not *known*, oldest letter first.

        Raises:
            SpoolError: the folder cannot be read.
        """
        return [name for name in self._names(self._queue) if name not in known]

    def _names(self, folder: Path) -> list[str]:
        with explained(folder):
            return sorted(path.name for path in folder.iterdir())

    def take(self, queue_id: str) -> Spooled:
        """Move a letter from ``maildrop/`` to ``queue/`` and give it.

        Raises:
            CorruptLetterError: it is no letter, and has been moved to ``corrupt/``.
            SpoolError: it is not there, or cannot be moved or read now.
        """
        path = self._maildrop / _one_name(queue_id)
        if not is_queue_id(queue_id):
            raise self._put_aside(path, "a file that the spool did not write")
        letter = self._read(path)  # first: what cannot be read now stays where it is looked for again
        with explained(path):
            path.rename(self._queue / queue_id)
        return letter

    def read(self, queue_id: str) -> Spooled:
        """Give a letter, wherever it is.

        Raises:
            CorruptLetterError: it is no letter, and has been moved to ``corrupt/``.
            SpoolError: it is not there, or cannot be read now.
        """
        return self._read(self.path(queue_id))

    def _read(self, path: Path) -> Spooled:
        try:
            return read_letter(path)
        except ValueError as error:
            raise self._put_aside(path, str(error)) from None

    def remove(self, queue_id: str) -> None:
        """Remove a letter, wherever it is; it does not matter when it is gone.

        Raises:
            SpoolError: it cannot be removed.
        """
        path = self.path(queue_id)
        with explained(path), contextlib.suppress(FileNotFoundError):
            path.unlink()

    def path(self, queue_id: str) -> Path:
        """Give the file of a letter: in ``queue/``, or in ``maildrop/`` while it is not there.

        Raises:
            SpoolError: the name would lead out of the spool.
        """
        path = self._queue / _one_name(queue_id)
        return path if os.path.lexists(path) else self._maildrop / queue_id

    def _put_aside(self, path: Path, why: str) -> CorruptLetterError:
        """Move a file to ``corrupt/`` under a name that is free, and write the reason beside it."""
        name = _plain_name(path.name)
        aside = self._corrupt / name
        with explained(self._corrupt):
            while os.path.lexists(aside):
                aside = self._corrupt / f"{name}.{secrets.token_hex(4)}"
            path.rename(aside)
            aside.with_name(f"{aside.name}.why").write_text(f"{why}\n", encoding="utf-8")
        return CorruptLetterError(f"{name} is no letter: {why}; see {aside}", aside)


def _remove_all(folder: Path) -> None:
    for leftover in folder.iterdir():
        with contextlib.suppress(OSError):  # a directory, which nobody here made, or somebody was faster
            leftover.unlink()


def _one_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise SpoolError(f"{name!r} is no queue id")
    return name


def _plain_name(name: str) -> str:
    """Give a name that can be shown on a terminal, and with a suffix still is one."""
    return re.sub(r"[^0-9A-Za-z._-]", "_", name)[:100].lstrip(".") or "_"
