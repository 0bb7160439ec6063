"""A selected mailbox as one client sees it: numbers for letters, and news only when they may be told."""

from __future__ import annotations

import msgspec

from mailprobe.protocols.imap.grammar import in_set
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
        self._uids = list(mailbox.uids())

    @property
    def count(self) -> int:
        """How many letters the client knows of."""
        return len(self._uids)

    @property
    def highest_uid(self) -> int:
        """What ``*`` stands for among uids."""
        return self._uids[-1] if self._uids else 0

    def places(self) -> list[Place]:
        """Give every letter that is still there."""
        found = []
        for number, uid in enumerate(self._uids, 1):
            letter = self.mailbox.get(uid)
            if letter is not None:
                found.append(Place(number, letter))
        return found

    def pick(self, sequence: bytes, by_uid: bool) -> list[Place]:
        """Give the letters that a set names."""
        if by_uid:
            wanted = set(in_set(sequence, self._uids, self.highest_uid))
            return [place for place in self.places() if place.letter.uid in wanted]
        numbers = set(in_set(sequence, range(1, self.count + 1), self.count))
        return [place for place in self.places() if place.number in numbers]

    def news(self) -> list[bytes]:
        """Give what changed since the last time, as untagged responses."""
        now = self.mailbox.uids()
        there = set(now)
        lines = []
        for number in range(len(self._uids), 0, -1):  # from the end, so that numbers stay right
            if self._uids[number - 1] not in there:
                del self._uids[number - 1]
                lines.append(b"* %d EXPUNGE\r\n" % number)
        known = self.highest_uid
        fresh = [uid for uid in now if uid > known] if self._uids else list(now)
        if fresh:
            self._uids += fresh
            lines.append(b"* %d EXISTS\r\n" % self.count)
        return lines


def uid_set(uids: list[int]) -> bytes:
    """Give uids as a set, neighbours joined."""
    runs: list[list[int]] = []
    for uid in sorted(uids):
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in runs)
