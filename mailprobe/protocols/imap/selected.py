"""A selected mailbox as one client sees it: numbers for letters, and news only when they may be told."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence

import msgspec

from mailprobe.protocols.imap.grammar import spans
from mailprobe.protocols.mailstore import Letter, Mailbox


class Place(msgspec.Struct, frozen=True):
    """A letter and the number it has for this client now."""

    number: int
    letter: Letter


class Selected:
    """The client's view of a mailbox. Others may change the mailbox; the numbers change only in ``news``."""

    def __init__(self, name: str, mailbox: Mailbox, read_only: bool) -> None:
        self.name = name
        self.mailbox = mailbox
        self.read_only = read_only
        self._validity = mailbox.uid_validity
        self._uids: list[int] = []
        self._flags: dict[int, frozenset[str]] = {}  # as the client knows them
        self._taken: set[int] = set()
        self._changes = mailbox.changes  # before the uids are asked for: what comes between is told twice, not never
        self._add(mailbox.uids())

    @property
    def count(self) -> int:
        """How many letters the client knows of."""
        return len(self._uids)

    @property
    def highest_uid(self) -> int:
        """What ``*`` stands for among uids."""
        return self._uids[-1] if self._uids else 0

    @property
    def is_stale(self) -> bool:
        """True when the uids that the client knows have lost their meaning."""
        return self.mailbox.uid_validity != self._validity

    def places(self) -> list[Place]:
        """Give every letter that is still there, as it is now."""
        return self.pick(b"1:*", by_uid=False)

    def pick(self, sequence: bytes, by_uid: bool) -> list[Place]:
        """Give the letters that a set names, as they are now."""
        self.mailbox.uids()  # has the mailbox look for what others did
        found = []
        for low, high in zip(*spans(sequence, self.highest_uid if by_uid else self.count), strict=True):
            first = bisect_left(self._uids, low) if by_uid else low - 1
            last = bisect_right(self._uids, high) if by_uid else min(high, self.count)
            for at in range(max(0, first), last):
                letter = self.mailbox.get(self._uids[at])
                if letter is not None:
                    found.append(Place(at + 1, letter))
        return found

    def told(self, uid: int, flags: frozenset[str]) -> None:
        """Learn that the client knows these flags of a letter."""
        self._flags[uid] = flags

    def known_flags(self, uid: int) -> frozenset[str]:
        """Give the flags of a letter as the client knows them."""
        return self._flags.get(uid, frozenset())

    def take(self, uid: int) -> None:
        """Learn that the client has fetched the text of a letter; the mailbox is told once."""
        if uid not in self._taken:
            self._taken.add(uid)
            self.mailbox.taken(uid, "IMAP")

    def news(self) -> list[bytes]:
        """Give what changed since the last time, as untagged responses: what is gone, other flags, what is new."""
        changes = self.mailbox.changes
        if changes == self._changes:
            return []
        self._changes = changes
        now = self.mailbox.uids()
        known = self.highest_uid
        lines = self._gone(set(now)) + self._changed_flags()
        fresh = now[bisect_right(now, known) :]
        if fresh:
            self._add(fresh)
            lines.append(b"* %d EXISTS\r\n" % self.count)
        return lines

    def _add(self, uids: Sequence[int]) -> None:
        for uid in uids:
            letter = self.mailbox.get(uid)
            if letter is not None:
                self._uids.append(uid)
                self._flags[uid] = letter.flags

    def _gone(self, there: set[int]) -> list[bytes]:
        gone = [number for number, uid in enumerate(self._uids, 1) if uid not in there]
        for number in gone:
            self._flags.pop(self._uids[number - 1], None)
        if gone:
            self._uids = [uid for uid in self._uids if uid in there]
        return [b"* %d EXPUNGE\r\n" % number for number in reversed(gone)]  # so that the lower numbers stay right

    def _changed_flags(self) -> list[bytes]:
        lines = []
        for number, uid in enumerate(self._uids, 1):
            letter = self.mailbox.get(uid)
            if letter is not None and letter.flags != self._flags[uid]:
                self._flags[uid] = letter.flags
                lines.append(b"* %d FETCH (UID %d FLAGS %b)\r\n" % (number, uid, flag_list(letter.flags)))
        return lines


def flag_list(flags: Collection[str]) -> bytes:
    """Give flags as a list."""
    return b"(" + " ".join(sorted(flags)).encode("latin-1") + b")"


def uid_set(uids: list[int]) -> bytes:
    """Give uids as a set, neighbours joined."""
    runs: list[list[int]] = []
    for uid in sorted(uids):
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in runs)
