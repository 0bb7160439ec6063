"""Users and mailboxes in memory. Bounded everywhere: everyone knows the passwords."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec

from mailprobe.protocols.mailstore import Envelope, Letter, MailboxBusyError, MailboxFullError, Verdict

USERS = {"alice": "secret", "bob": "secret"}
ALIASES = {"postmaster": "alice", "abuse": "alice"}  # RFC 5321 §4.5.1, RFC 2142
MAILBOX_LETTERS = 1000
MAILBOX_OCTETS = 32 << 20
MAILBOXES_PER_USER = 100
RELAYED_KEPT = 20
SPECIAL_USES = {name: f"\\{name}" for name in ("Archive", "Drafts", "Junk", "Sent", "Trash")}  # RFC 6154 §2
NO_SUCH_USER = Verdict(550, "5.1.1", "No such user here")


class MemoryMailbox:
    """One mailbox; *changed* is called after every change."""

    def __init__(self, uid_validity: int, clock: Callable[[], datetime], changed: Callable[[], None]) -> None:
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.changes = 0
        self._clock = clock
        self._tell = changed
        self._letters: dict[int, Letter] = {}
        self._octets = 0

    def _changed(self) -> None:
        self.changes += 1
        self._tell()

    def uids(self) -> tuple[int, ...]:
        """Give the uids of all letters, ascending."""
        return tuple(self._letters)

    def get(self, uid: int) -> Letter | None:
        """Give a letter, or None when it is gone."""
        return self._letters.get(uid)

    def has_room(self, octets: int) -> bool:
        """Tell whether a letter of that size can be stored."""
        return len(self._letters) < MAILBOX_LETTERS and self._octets + octets <= MAILBOX_OCTETS

    def append(self, data: bytes, flags: Collection[str] = (), received: datetime | None = None) -> int:
        """Store a letter and give its uid.

        Raises:
            MailboxFullError: there is no room.
        """
        if not self.has_room(len(data)):
            raise MailboxFullError("mailbox full")
        uid = self.uid_next
        self.uid_next += 1
        self._octets += len(data)
        when = received or self._clock()
        self._letters[uid] = Letter(uid=uid, size=len(data), flags=frozenset(flags), received=when, read=lambda: data)
        self._changed()
        return uid

    def set_flags(self, uid: int, flags: Collection[str]) -> None:
        """Replace the flags of a letter, if it is still there."""
        letter = self._letters.get(uid)
        if letter is not None and letter.flags != frozenset(flags):
            self._letters[uid] = msgspec.structs.replace(letter, flags=frozenset(flags))
            self._changed()

    def remove(self, uids: Collection[int]) -> None:
        """Delete letters; uids that are gone do not matter."""
        for uid in uids:
            letter = self._letters.pop(uid, None)
            if letter is not None:
                self._octets -= letter.size
        self._changed()

    def taken(self, uid: int, protocol: str) -> None:
        """Take no notice: nobody asks this store who has read what."""


class Maildrop:
    """All users of a lab.

    Local parts name users in every local domain; case and a ``+tag`` do not count. What is for nobody here is
    kept in *relayed*, the last RELAYED_KEPT of it.
    """

    def __init__(
        self, users: Mapping[str, str] = USERS, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._users = dict(users)
        self._clock = clock
        self._listeners: dict[object, Callable[[], None]] = {}
        self._validity = 0
        self._mailboxes = {user: {"INBOX": self._new_mailbox()} for user in self._users}
        self._subscriptions = {user: {"INBOX"} for user in self._users}
        self._locked: set[str] = set()
        self.relayed: deque[tuple[Envelope, bytes]] = deque(maxlen=RELAYED_KEPT)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have *listener* called after every change; give a function that ends it."""
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    def secret(self, user: str) -> str | None:
        """Give a user's password, or None when there is no such user."""
        return self._users.get(user)

    def refuse_sender(self, _envelope: Envelope) -> Verdict | None:
        """Refuse nobody."""
        return None

    def refuse_recipient(self, _envelope: Envelope, recipient: str) -> Verdict | None:
        """Refuse who is no user; the local part alone counts."""
        return None if self._user_of(recipient) is not None else NO_SUCH_USER

    def deliver(self, envelope: Envelope, data: bytes) -> None:
        """Put a message with its trace lines (RFC 5321 §4.4) into the mailboxes of all recipients.

        Raises:
            MailboxFullError: no recipient got it, as one of them has no room.
        """
        users = [self._user_of(recipient) for recipient in envelope.recipients]
        inboxes = [self._mailboxes[user]["INBOX"] for user in dict.fromkeys(users) if user is not None]
        traced = self._trace(envelope) + data
        if not all(inbox.has_room(len(traced)) for inbox in inboxes):
            raise MailboxFullError("mailbox full")
        for inbox in inboxes:
            inbox.append(traced)
        if None in users:
            self.relayed.append((envelope, traced))

    def mailbox(self, user: str, name: str) -> MemoryMailbox | None:
        """Give a user's mailbox; ``INBOX`` in any case is always there."""
        return self._mailboxes[user].get(_canonical(name)) if user in self._mailboxes else None

    def lock(self, user: str) -> Callable[[], None]:
        """Give a POP3 session the user's INBOX for itself, and what gives it back.

        Raises:
            MailboxBusyError: another POP3 session has it.
        """
        if user in self._locked:
            raise MailboxBusyError("another POP3 session has the mailbox")
        self._locked.add(user)
        return lambda: self._locked.discard(user)

    def attributes(self, _user: str, name: str) -> tuple[str, ...]:
        """Give the special use of a mailbox that bears the name of one."""
        return (SPECIAL_USES[name],) if name in SPECIAL_USES else ()

    def names(self, user: str) -> tuple[str, ...]:
        """Give the names of a user's mailboxes."""
        return tuple(self._mailboxes[user])

    def create(self, user: str, name: str) -> bool:
        """Make a mailbox; False when the name is taken.

        Raises:
            MailboxFullError: the user has too many.
        """
        boxes = self._mailboxes[user]
        if _canonical(name) in boxes:
            return False
        if len(boxes) >= MAILBOXES_PER_USER:
            raise MailboxFullError("too many mailboxes")
        boxes[_canonical(name)] = self._new_mailbox()
        return True

    def delete(self, user: str, name: str) -> bool:
        """Delete a mailbox; False when it is INBOX or not there."""
        if _canonical(name) == "INBOX":
            return False
        return self._mailboxes[user].pop(name, None) is not None

    def rename(self, user: str, name: str, to: str) -> bool:
        """Rename a mailbox and those below it; False when it is INBOX, not there, or a new name is taken."""
        boxes = self._mailboxes[user]
        pairs = {each: to + each.removeprefix(name) for each in boxes if each == name or each.startswith(f"{name}/")}
        if (
            "INBOX" in (_canonical(name), _canonical(to))
            or name not in pairs
            or not boxes.keys().isdisjoint(pairs.values())
        ):
            return False
        self._mailboxes[user] = {pairs.get(each, each): box for each, box in boxes.items()}
        return True

    def subscriptions(self, user: str) -> set[str]:
        """Give the names a user is subscribed to."""
        return self._subscriptions[user]

    def _user_of(self, address: str) -> str | None:
        local = address.rpartition("@")[0] or address
        name = local.strip('"').lower().partition("+")[0]
        name = ALIASES.get(name, name)
        return name if name in self._users else None

    def _trace(self, envelope: Envelope) -> bytes:
        text = (
            f"Return-Path: <{envelope.sender}>\r\n"
            f"Received: from {envelope.client_name} by {envelope.server_name}\r\n"
            f"\twith {envelope.protocol}; {format_datetime(self._clock())}\r\n"
        )
        return text.encode("utf-8", "surrogateescape")

    def _new_mailbox(self) -> MemoryMailbox:
        self._validity += 1
        return MemoryMailbox(self._validity, self._clock, self._announce)

    def _announce(self) -> None:
        for listener in tuple(self._listeners.values()):
            listener()


def _canonical(name: str) -> str:
    return "INBOX" if name.upper() == "INBOX" else name
