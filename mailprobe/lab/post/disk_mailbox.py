"""One mailbox: a Maildir with uids. Whatever other programs do to the Maildir is noticed at the next look.

A look costs two ``stat`` calls while nothing changes. A change within the resolution of the file system's times could
hide behind an earlier one, so a look trusts the times only when they were SETTLED_NS old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from mailprobe.lab.post.maildir import Draft, Entry, Maildir, named_sizes, served_size, split_name
from mailprobe.lab.post.uid_index import Filed, UidIndex, moment
from mailprobe.protocols.mailstore import Letter, LetterGoneError, StoreError

SETTLED_NS = 100_000_000  # clocks of file systems tick every 10 ms at worst
FLAGS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
Result = TypeVar("Result")
_LETTERS = {flag: letter for letter, flag in FLAGS.items()}


class Owner(msgspec.Struct, frozen=True):
    """What a mailbox needs of the store it belongs to.

    *admit* reserves room for that many octets or raises MailboxFullError, and gives what ends the reservation.
    *unique* makes names for letters; *changed* is called after every change; *taken* with the name of a mailbox, the
    unique name of a letter and the protocol by which its text was fetched.
    """

    user: str
    clock: Callable[[], datetime]
    admit: Callable[[int], Callable[[], None]]
    unique: Callable[[], str]
    changed: Callable[[], None]
    taken: Callable[[str, str, str], None]


class DiskMailbox:
    """One mailbox of one user; the same object for everybody who looks at it."""

    def __init__(self, name: str, maildir: Maildir, index: UidIndex, owner: Owner) -> None:
        self.name = name
        self.maildir = maildir
        self._index = index
        self._owner = owner
        self._lock = threading.RLock()
        self._deleted = False
        self._changes = 0
        self._forget_everything()

    def _forget_everything(self) -> None:
        self._generation = -1
        self._key = self._validity = 0
        self._next = 1
        self._stamp = (0, 0)
        self._settled = False
        self._uids: tuple[int, ...] | None = ()
        self._letters: dict[int, Letter] = {}
        self._entries: dict[str, Entry] = {}
        self._by_base: dict[str, int] = {}
        self._filed: dict[int, Filed] = {}

    # What the protocols ask for

    @property
    def uid_validity(self) -> int:
        """The number that changes when uids start anew."""
        self.look()
        return self._validity

    @property
    def uid_next(self) -> int:
        """The uid that the next letter gets."""
        self.look()
        return self._next

    @property
    def changes(self) -> int:
        """A number that is another one whenever letters came, went or have other flags."""
        self.look()
        return self._changes

    def uids(self) -> tuple[int, ...]:
        """Give the uids of all letters that are there now, ascending.

        Raises:
            StoreError: the mailbox cannot be read.
        """
        self.look()
        with self._lock:
            if self._uids is None:
                self._uids = tuple(sorted(self._letters))
            return self._uids

    def get(self, uid: int) -> Letter | None:
        """Give a letter as the last look saw it, or None when it was gone then."""
        return self._letters.get(uid)

    def append(self, data: bytes, flags: Collection[str] = (), received: datetime | None = None) -> int:
        """Store a letter and give its uid; *received* None means now.

        Raises:
            MailboxFullError: the user's quota leaves no room.
            StoreError: it cannot be stored.
        """
        letters, keywords = _split_flags(flags)
        when = received or self._owner.clock()
        release = self._owner.admit(len(data))
        try:
            with self._lock:
                self.look()
                if self._deleted:
                    raise StoreError("the mailbox was deleted")
                uid = self._next
                file = self.maildir.store([Draft(self._owner.unique(), data, when, letters)])[0]
                self._take_in(file, Filed(uid, split_name(file.name)[0], len(data), when, keywords))
        finally:
            release()
        self._owner.changed()
        return uid

    def _take_in(self, file: Path, filed: Filed) -> None:
        """Give a letter that was stored just now its uid."""
        entry = Entry(filed.base, file.parent.name, split_name(file.name)[1], filed.size, True)
        try:
            self._admit([filed])
        except StoreError:
            with suppress(StoreError):
                self.maildir.discard(entry)
            raise
        self._show(entry)

    def set_flags(self, uid: int, flags: Collection[str]) -> None:
        """Replace the flags of a letter, if it is still there.

        Raises:
            StoreError: they cannot be kept.
        """
        letters, keywords = _split_flags(flags)
        with self._lock:
            filed = self._filed.get(uid)
            if filed is None or self._letters[uid].flags == frozenset(flags):
                return
            if filed.keywords != keywords:
                self._index.set_keywords(self._key, uid, keywords)
                self._filed[uid] = msgspec.structs.replace(filed, keywords=keywords)
            try:
                entry = self._with_file(uid, lambda entry: self._relabelled(entry, letters))
            except LetterGoneError:
                return
            self._show(entry)
        self._owner.changed()

    def _relabelled(self, entry: Entry, letters: str) -> Entry:
        foreign = "".join(letter for letter in entry.letters if letter not in FLAGS)
        wanted = "".join(sorted(set(letters + foreign)))
        return entry if wanted == entry.letters else self.maildir.relabel(entry, wanted)

    def remove(self, uids: Collection[int]) -> None:
        """Delete letters; uids that are gone do not matter.

        Raises:
            StoreError: one cannot be deleted.
        """
        with self._lock:
            gone: list[int] = []
            try:
                for uid in uids:
                    with suppress(LetterGoneError):
                        self._with_file(uid, self.maildir.discard)
                    gone.append(uid)
            finally:
                self._drop(gone)
        self._owner.changed()

    def taken(self, uid: int, protocol: str) -> None:
        """Learn that a user agent has fetched the text of a letter."""
        filed = self._filed.get(uid)
        if filed is not None:
            self._owner.taken(self.name, filed.base.partition(",")[0], protocol)

    def bury(self) -> None:
        """Learn that the mailbox was deleted: it stays empty for those who still look at it."""
        with self._lock:
            self._deleted = True
            self._letters, self._entries, self._filed, self._by_base = {}, {}, {}, {}
            self._uids = ()
            self._changes += 1

    # Looking

    def look(self, force: bool = False) -> None:
        """See what has changed on the disk.

        Raises:
            StoreError: the mailbox cannot be read.
        """
        with self._lock:
            if self._deleted:
                return
            if self._generation != self._index.generation:
                self._load()
            stamp = self.maildir.stamp()
            if self._settled and stamp == self._stamp and not force:
                return
            begun = time.time_ns()
            entries = self.maildir.scan(self._entries)
            self._update(entries)
            self._stamp, self._settled = stamp, begun - max(stamp) > SETTLED_NS

    def _load(self) -> None:
        """Start from the index."""
        self._forget_everything()
        self._changes += 1
        generation = self._index.generation
        numbers = self._index.mailbox(self._owner.user, self.name)
        self._key, self._validity, self._next = numbers.key, numbers.uid_validity, numbers.uid_next
        for filed in self._index.letters(self._key):
            self._filed[filed.uid] = filed
            self._by_base[filed.base] = filed.uid
        self._generation = generation

    def _update(self, entries: dict[str, Entry]) -> None:
        self._drop([uid for base, uid in self._by_base.items() if base not in entries])
        fresh = [entry for base, entry in entries.items() if base not in self._by_base]
        if fresh:
            dated = sorted((self.maildir.written(entry), entry.base, entry) for entry in fresh)
            self._admit(
                Filed(uid, base, self._served_size(entry), moment(written), ())
                for uid, (written, base, entry) in enumerate(dated, self._next)
            )
        for base in self._by_base:
            if self._entries.get(base) is not entries[base]:
                self._show(entries[base])

    def _served_size(self, entry: Entry) -> int:
        told = named_sizes(entry.base).get("W")
        if told is not None:
            return told
        try:
            return served_size(self.maildir.read(entry))
        except StoreError:  # who asks for the letter will be told why
            return entry.octets

    def _admit(self, letters: Iterable[Filed]) -> None:
        """Take letters with the next uids into the index."""
        admitted = list(letters)
        self._index.add(self._key, admitted, self._next + len(admitted))
        self._next += len(admitted)
        for filed in admitted:
            self._filed[filed.uid] = filed
            self._by_base[filed.base] = filed.uid

    def _drop(self, uids: Collection[int]) -> None:
        """Forget letters that are gone."""
        known = [self._filed.pop(uid) for uid in uids if uid in self._filed]
        for filed in known:
            self._by_base.pop(filed.base, None)
            self._entries.pop(filed.base, None)
            self._letters.pop(filed.uid, None)
        if known:
            self._uids = None
            self._changes += 1
            with suppress(StoreError):  # a disk without room; what stays in the index is dropped when it is read again
                self._index.forget(self._key, [filed.uid for filed in known])

    def _show(self, entry: Entry) -> None:
        """Make a letter what its file's name and the index say."""
        self._entries[entry.base] = entry
        uid = self._by_base[entry.base]
        filed = self._filed[uid]
        flags = frozenset((*(FLAGS[letter] for letter in entry.letters if letter in FLAGS), *filed.keywords))
        if uid not in self._letters:
            self._uids = None
            self._changes += 1
            self._letters[uid] = Letter(
                uid=uid, size=filed.size, flags=flags, received=filed.received, read=self._reader(uid)
            )
        elif self._letters[uid].flags != flags:
            self._changes += 1
            self._letters[uid] = msgspec.structs.replace(self._letters[uid], flags=flags)

    def _reader(self, uid: int) -> Callable[[], bytes]:
        return lambda: self._with_file(uid, self.maildir.read)

    def _with_file(self, uid: int, action: Callable[[Entry], Result]) -> Result:
        """Do something with a letter's file, under the name that it has now.

        Raises:
            LetterGoneError: it is gone.
        """
        for force in (False, True):
            with self._lock:
                if force:
                    self.look(force=True)
                filed = self._filed.get(uid)
                entry = self._entries.get(filed.base) if filed is not None else None
            if entry is None:
                break
            try:
                return action(entry)
            except LetterGoneError:  # another program may have changed its flags
                continue
        raise LetterGoneError("the letter is gone")


def _split_flags(flags: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Give the system flags as letters for the file's name, and the keywords."""
    letters = "".join(sorted(_LETTERS[flag] for flag in set(flags) if flag in _LETTERS))
    return letters, tuple(sorted(flag for flag in set(flags) if flag not in _LETTERS))
