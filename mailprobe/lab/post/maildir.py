"""One Maildir on disk: a letter is a file, and its flags stand in the file's name.

A letter is written below ``tmp``, synced, and renamed into ``new`` or ``cur``: others see it whole or not at all
(https://cr.yp.to/proto/maildir.html). The names are those that Dovecot reads and writes too:
``UNIQUE,S=octets,W=octets:2,FLAGS``. *S* is the size of the file, *W* its size with every line end as CRLF. What is
written here has S equal to W and is given out octet for octet; a file of another program, with the line ends of
Unix, is given out with CRLF.

Everything here blocks and may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from mailprobe.protocols.mailstore import LetterGoneError, StoreError

PLACES = ("tmp", "new", "cur")
LETTER_LIMIT = 256 << 20  # octets; a bigger file is not read
BATCH = 64  # letters that are open at once

_UNIQUE = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{0,149}\Z")
_SIZE = re.compile(r",([SW])=([0-9]{1,15})(?=,|\Z)")
_BARE_LF = re.compile(rb"(?<!\r)\n")


class Entry(msgspec.Struct, frozen=True):
    """A letter as its name tells of it.

    *base* is the name up to the flags and never changes; *info* is what follows it, ``:2,FS`` or nothing. *octets* is
    the size of the file; *exact* tells that it is given out as it is.
    """

    base: str
    place: str
    info: str
    octets: int
    exact: bool

    @property
    def unique(self) -> str:
        """What the letter was called when it was stored."""
        return self.base.partition(",")[0]

    @property
    def name(self) -> str:
        """The file's place and name, from the Maildir on."""
        return f"{self.place}/{self.base}{self.info}"

    @property
    def letters(self) -> str:
        """The flags, one letter each."""
        return self.info[3:] if self.info.startswith(":2,") else ""


class Draft(msgspec.Struct, frozen=True):
    """A letter to be stored; *unique* names it for ever, *letters* are its flags."""

    unique: str
    data: bytes
    when: datetime
    letters: str = ""


class Maildir:
    """One Maildir; *octets* is what its letters take, as far as is known since the last scan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.octets = 0
        self._scanned = False
        self._counted = (0, 0)  # the stamp when they were counted last
        self._uniques: set[str] = set()  # of all letters that were ever seen or stored
        self._seen: dict[str, dict[str, Entry]] = {"new": {}, "cur": {}}  # by file name, at the last scan
        self._turn = threading.Condition()
        self._busy: set[str] = set()  # uniques that a thread is storing
        self._anchored = False  # our own directories are known to be on the disk

    def prepare(self) -> None:
        """Make the directories that are not there.

        Raises:
            StoreError: they cannot be made.
        """
        try:
            for place in PLACES:
                (self.path / place).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _store_error(self.path, error) from None

    def sweep(self, host: str) -> None:
        """Remove from ``tmp`` what we, the *host* in the names, left half written; others may be writing there now."""
        with suppress(OSError):
            for file in list((self.path / "tmp").iterdir()):
                if file.name.endswith(f".{host}"):
                    file.unlink(missing_ok=True)

    def stamp(self) -> tuple[int, int]:
        """Give what changes whenever a name in ``new`` or ``cur`` does: their times of change, in nanoseconds.

        Raises:
            StoreError: the directories cannot be read.
        """
        try:
            if not (self.path / "new").is_dir():  # somebody has swept the whole mailbox away
                self.prepare()
            return (self.path / "new").stat().st_mtime_ns, (self.path / "cur").stat().st_mtime_ns
        except OSError as error:
            raise _store_error(self.path, error) from None

    def scan(self, known: Collection[str] = ()) -> dict[str, Entry]:
        """Give every letter by its base name. *known* are those that were there at the last scan.

        Raises:
            StoreError: the directories cannot be read.
        """
        with self._turn:
            try:
                found = self._listed()
                if any(base not in found for base in known):
                    found |= self._listed()  # a directory may not show what is renamed while it is read
            except OSError as error:
                raise _store_error(self.path, error) from None
            self.octets = sum(entry.octets for entry in found.values())
            self._uniques = {entry.unique for entry in found.values()}
            self._scanned = True
        return found

    def recount(self) -> None:
        """Bring *octets* up to date.

        Raises:
            StoreError: the directories cannot be read.
        """
        if not self._scanned or self.stamp() != self._counted:
            stamp = self.stamp()
            self.scan()
            self._counted = stamp

    def _listed(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for place, seen in self._seen.items():
            now: dict[str, Entry] = {}
            with os.scandir(self.path / place) as files:
                for file in files:
                    entry = seen.get(file.name) or _entry(place, file)
                    if entry is not None:
                        now[file.name] = found[entry.base] = entry
            self._seen[place] = now
        return found

    # Storing

    def store(self, drafts: Sequence[Draft]) -> list[Path]:
        """Store letters, safe on the disk, and give their files.

        A letter whose *unique* is there already, with whatever flags, is left as it is.

        Raises:
            StoreError: something could not be stored. What was is there; the same call may be made again.
            ValueError: a *unique* that is no file name.
        """
        for draft in drafts:
            if not _UNIQUE.match(draft.unique):
                raise ValueError(f"{draft.unique!r} is no name for a letter")
        files: dict[str, Path] = {}
        for start in range(0, len(drafts), BATCH):
            batch = {draft.unique: draft for draft in drafts[start : start + BATCH]}
            with self._claim(batch):
                files |= self._store_batch(list(batch.values()))
        return [files[draft.unique] for draft in drafts]

    @contextmanager
    def _claim(self, uniques: Collection[str]) -> Iterator[None]:
        """Keep other threads from storing the same letters now."""
        with self._turn:
            self._turn.wait_for(lambda: self._busy.isdisjoint(uniques))
            self._busy.update(uniques)
        try:
            yield
        finally:
            with self._turn:
                self._busy.difference_update(uniques)
                self._turn.notify_all()

    def _store_batch(self, drafts: list[Draft]) -> dict[str, Path]:
        files = self.stored([draft.unique for draft in drafts])
        missing = [draft for draft in drafts if draft.unique not in files]
        try:
            self._write(missing)
            with self._turn:
                for draft in missing:
                    files[draft.unique] = self._publish(draft)
            self._sync({"cur" if draft.letters else "new" for draft in missing})
        except OSError as error:
            for draft in missing:
                with suppress(OSError):
                    (self.path / "tmp" / draft.unique).unlink()
            raise _store_error(self.path, error) from None
        return files

    def stored(self, uniques: Collection[str]) -> dict[str, Path]:
        """Give the files of those of the letters that are there, with whatever flags.

        Raises:
            StoreError: the directories cannot be read.
        """
        if not (self.path / "new").is_dir():
            self.prepare()
        if not self._scanned:
            self.scan()
        if self._uniques.isdisjoint(uniques):
            return {}
        there = {entry.unique: entry for entry in self.scan().values()}
        return {unique: self.path / there[unique].name for unique in uniques if unique in there}

    def _write(self, drafts: list[Draft]) -> None:
        """Write the files below tmp, all of them before the first is synced: the disk can take them together."""
        opened: list[int] = []
        try:
            for draft in drafts:
                name = self.path / "tmp" / draft.unique
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
                opened.append(file)
                left = memoryview(draft.data)
                while left:
                    left = left[os.write(file, left) :]
                os.utime(file, (draft.when.timestamp(), draft.when.timestamp()))
            for file in opened:
                os.fsync(file)
        finally:
            for file in opened:
                os.close(file)

    def _publish(self, draft: Draft) -> Path:
        size = len(draft.data)
        base = f"{draft.unique},S={size},W={size}"
        target = self.path / (f"cur/{base}:2,{draft.letters}" if draft.letters else f"new/{base}")
        (self.path / "tmp" / draft.unique).rename(target)
        self._uniques.add(draft.unique)
        self.octets += size
        return target

    def _sync(self, places: Collection[str]) -> None:
        """Have the names on the disk; the first time also those of our own directories."""
        directories = [self.path / place for place in places]
        if directories and not self._anchored:
            directories += [self.path, self.path.parent]
        for directory in directories:
            file = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        self._anchored = self._anchored or bool(directories)

    # One letter

    def read(self, entry: Entry) -> bytes:
        """Give a letter as it is given out.

        Raises:
            LetterGoneError: there is no such file, perhaps because its flags have changed.
            StoreError: it cannot be read.
        """
        try:
            with open(self.path / entry.name, "rb", opener=open_file) as file:
                data = file.read(LETTER_LIMIT + 1)
        except FileNotFoundError:
            raise LetterGoneError("the letter is gone") from None
        except OSError as error:
            raise _store_error(self.path, error) from None
        if len(data) > LETTER_LIMIT:
            raise StoreError(f"the letter has more than {LETTER_LIMIT} octets")
        return data if entry.exact else _BARE_LF.sub(b"\r\n", data)

    def written(self, entry: Entry) -> float:
        """Give the time of a letter's file, in seconds since 1970; 0 when it is gone."""
        try:
            return (self.path / entry.name).stat(follow_symlinks=False).st_mtime
        except OSError:
            return 0.0

    def relabel(self, entry: Entry, letters: str) -> Entry:
        """Give a letter other flags.

        Raises:
            LetterGoneError: there is no such file, perhaps because its flags have changed.
            StoreError: it cannot be renamed.
        """
        fresh = Entry(entry.base, "cur", f":2,{letters}", entry.octets, entry.exact)
        try:
            (self.path / entry.name).rename(self.path / fresh.name)
        except FileNotFoundError:
            raise LetterGoneError("the letter is gone") from None
        except OSError as error:
            raise _store_error(self.path, error) from None
        return fresh

    def discard(self, entry: Entry) -> None:
        """Delete a letter.

        Raises:
            LetterGoneError: there is no such file, perhaps because its flags have changed.
            StoreError: it cannot be deleted.
        """
        with self._turn:
            try:
                (self.path / entry.name).unlink()
            except FileNotFoundError:
                raise LetterGoneError("the letter is gone") from None
            except OSError as error:
                raise _store_error(self.path, error) from None
            self.octets -= entry.octets


def _entry(place: str, file: os.DirEntry[str]) -> Entry | None:
    """Read a file's name; None when it is no letter, or gone."""
    if file.name.startswith(".") or not file.is_file(follow_symlinks=False):
        return None
    base, info = split_name(file.name)
    told = named_sizes(base)
    if "S" in told:
        return Entry(base, place, info, told["S"], told["S"] == told.get("W"))
    try:
        return Entry(base, place, info, file.stat(follow_symlinks=False).st_size, False)
    except FileNotFoundError:
        return None


def split_name(name: str) -> tuple[str, str]:
    """Cut a file name into its base and the rest, which holds the flags."""
    base, colon, info = name.partition(":")
    return base, colon + info


def named_sizes(base: str) -> dict[str, int]:
    """Give the sizes that a base name tells: S is that of the file, W the one with CRLF."""
    return {match[1]: int(match[2]) for match in _SIZE.finditer(base)}


def served_size(data: bytes) -> int:
    """Count the octets that a file of another program has with CRLF."""
    return len(data) + data.count(b"\n") - data.count(b"\r\n")


def open_file(path: str, _flags: int) -> int:
    """Open a letter; neither a link nor a pipe leads elsewhere."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _store_error(path: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)  # the names of files are not for clients
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"no room on the disk for mail in {path.name}: {reason}")
    return StoreError(f"mail in {path.name} cannot be read or written: {reason}")
