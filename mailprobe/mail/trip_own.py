"""What is ours in a mailbox: letters and reports, where each is, and how it is known again before it is deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mailprobe.mail.reading import Inbox
from mailprobe.mail.trip_letter import TOKEN_HEADER, token_of
from mailprobe.model.trip import Bounce, Copy
from mailprobe.records.header import values

_REPORT_FIELDS = ("Message-ID", "Date", "From", "Subject", "Content-Type")  # the last one has a boundary of its own
_MESSAGE_ID = re.compile(r"<[!-~]{1,250}>")


class Sign(msgspec.Struct, frozen=True):
    """What a letter of ours has in its header: our *token*, or, for a report, the *fields* that it was read with."""

    token: str
    fields: tuple[tuple[str, ...], ...] = ()

    def fits(self, header: bytes) -> bool:
        """Tell whether that is the header."""
        return token_of(header) == self.token if self.token else _fields(header) == self.fields

    @property
    def wanted(self) -> tuple[str, str] | None:
        """The field and the word to search it by; None for a report that has no name."""
        if self.token:
            return TOKEN_HEADER, self.token
        named = [name for name in self.fields[0] if _MESSAGE_ID.fullmatch(name)]
        return ("Message-ID", named[0]) if named else None


def sign_of_report(octets: bytes) -> Sign:
    """Give what a report is known by."""
    return Sign("", _fields(octets))


def _fields(octets: bytes) -> tuple[tuple[str, ...], ...]:
    return tuple(values(octets, name) for name in _REPORT_FIELDS)


class Spot(msgspec.Struct, frozen=True):
    """A place in a mailbox. The uid names the letter for as long as the inbox says that this is its *validity*."""

    folder: str
    uid: str
    validity: str

    def holds_in(self, inbox: Inbox) -> bool:
        """Tell whether the uid still names the same letter, with its folder open."""
        return inbox.validity(self.uid) == self.validity


class _Entry(msgspec.Struct, frozen=True):
    """One letter of ours with what it tells, each with the token of the letter that it is about."""

    sign: Sign
    copies: tuple[tuple[str, Copy], ...] = ()
    bounces: tuple[tuple[str, Bounce], ...] = ()

    def at(self, uid: str) -> _Entry:
        """Give the same, under another uid."""
        return self._changed(uid=uid)

    def removed(self) -> _Entry:
        """Give the same, deleted."""
        return self._changed(removed=True)

    def _changed(self, **changes: object) -> _Entry:
        change = msgspec.structs.replace
        copies = tuple((token, change(copy, **changes)) for token, copy in self.copies)
        return _Entry(self.sign, copies, tuple((token, change(bounce, **changes)) for token, bounce in self.bounces))


class Own:
    """Everything in one mailbox that is ours, in the order in which it was found."""

    def __init__(self) -> None:
        self._entries: dict[Spot, _Entry] = {}

    def __contains__(self, spot: Spot) -> bool:
        return spot in self._entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add_copy(self, spot: Spot, token: str, copy: Copy) -> None:
        """Add a letter of ours."""
        self._entries[spot] = _Entry(Sign(token), copies=((token, copy),))

    def add_report(self, spot: Spot, sign: Sign, bounces: Iterable[tuple[str, Bounce]]) -> None:
        """Add a report about letters of ours."""
        self._entries[spot] = _Entry(sign, bounces=tuple(bounces))

    def copies_of(self, token: str) -> list[Copy]:
        """Give where a letter was found."""
        return [copy for entry in self._entries.values() for about, copy in entry.copies if about == token]

    def bounces_of(self, token: str) -> list[Bounce]:
        """Give what reports say of a letter."""
        return [bounce for entry in self._entries.values() for about, bounce in entry.bounces if about == token]

    def within(self, folder: str) -> Iterator[tuple[Spot, Sign]]:
        """Give what is in a folder."""
        yield from [(spot, entry.sign) for spot, entry in self._entries.items() if spot.folder == folder]

    def astray(self, inbox: Inbox, folder: str) -> dict[Sign, list[Spot]]:
        """Give what is in an open folder, but under uids that hold no more."""
        found: dict[Sign, list[Spot]] = {}
        for spot, sign in self.within(folder):
            if not spot.holds_in(inbox):
                found.setdefault(sign, []).append(spot)
        return found

    def met_again(self, inbox: Inbox, spot: Spot, sign: Sign) -> bool:
        """Tell whether what is found here was known before, under a uid that holds no more; note its new one."""
        for before in self.astray(inbox, spot.folder).get(sign, ())[:1]:
            self._entries = {
                (spot if known == before else known): (entry.at(spot.uid) if known == before else entry)
                for known, entry in self._entries.items()
            }
            return True
        return False

    def remove(self, folder: str, uids: Sequence[str], inbox: Inbox) -> None:
        """Note what was deleted from an open folder."""
        for spot, entry in list(self._entries.items()):
            if spot.folder == folder and spot.uid in uids and spot.holds_in(inbox):
                self._entries[spot] = entry.removed()
