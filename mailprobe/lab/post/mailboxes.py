"""The mailboxes of one site: users, Maildirs and who is told of changes.

Delivery (``store``) comes from any thread and touches files only; uids are given when a reader looks.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mailprobe.lab.maildrop import NO_SUCH_USER, SPECIAL_USES
from mailprobe.lab.post.account import MAIL, Account
from mailprobe.lab.post.disk_mailbox import DiskMailbox, Owner
from mailprobe.lab.post.folder_names import SEPARATOR, user_directory
from mailprobe.lab.post.maildir import BATCH, Draft, Maildir
from mailprobe.lab.post.uid_index import UidIndex
from mailprobe.protocols.mailstore import (
    Envelope,
    MailboxBusyError,
    MailboxFullError,
    MailboxPausedError,
    StoreError,
    Verdict,
)


class Arrival(msgspec.Struct, frozen=True):
    """A letter for a user's mailbox; *unique* names it for ever, so that storing it twice stores it once."""

    user: str
    folder: str
    unique: str
    data: bytes


class Mailboxes:
    """All mailboxes of a site; implements ``protocols.mailstore.MailStore``.

    *directory* is the site's, *users* are local parts with their passwords. Users log in as ``bob`` or, when
    *domains* (or nothing) says so, as ``bob@domain``. *clock* gives the time, aware of its zone. *journal_read* is
    called with user, mailbox, unique name and protocol when a user agent has fetched a letter's text. *quota* is the
    octets that each user may keep, 0 for any. While *paused* says so nobody can log in or open a mailbox. *warn* is
    told, in a sentence, of what was repaired.
    """

    def __init__(
        self,
        directory: Path,
        users: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        journal_read: Callable[[str, str, str, str], None] = lambda *_: None,
        *,
        domains: Collection[str] = (),
        quota: int = 0,
        paused: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._secrets = {user.lower(): secret for user, secret in users.items()}
        self._domains = {domain.lower() for domain in domains}
        self._clock = clock
        self._journal_read = journal_read
        self._paused = paused
        self._host = re.sub(r"[^A-Za-z0-9.-]", "-", directory.name) or "lab"
        self._numbers = itertools.count()
        self._locked: set[str] = set()
        self._listeners: dict[object, tuple[Callable[[], None], asyncio.AbstractEventLoop | None]] = {}
        self._lock = threading.RLock()
        self._accounts = {user: Account(user, directory / MAIL / user_directory(user), quota) for user in self._secrets}
        for account in self._accounts.values():
            account.prepare(self._host)
        self._index = UidIndex(directory, clock, warn)

    def close(self) -> None:
        """Let go of the files."""
        self._index.close()

    # Delivery, from any thread

    def store(self, user: str, folder: str, unique: str, data: bytes) -> Path:
        """Put a letter, octet for octet, into a mailbox, which is made when it is not there; give its file.

        It is on the disk when this returns. A letter with that *unique* name that is in the mailbox already, under
        whatever flags, is left as it is.

        Raises:
            MailboxFullError: the user's quota leaves no room.
            StoreError: it cannot be stored now: no room on the disk, no permission, no such user.
            ValueError: *unique* is no file name.
        """
        outcome = self.store_many([Arrival(user, folder, unique, data)])[0]
        if not isinstance(outcome, Path):
            raise outcome
        return outcome

    def store_many(self, arrivals: Sequence[Arrival]) -> list[Path | MailboxFullError | StoreError]:
        """Store letters as ``store`` does, sharing what the disk has to do; give what came of each, in order.

        Raises:
            ValueError: a *unique* is no file name.
        """
        outcomes: list[Path | MailboxFullError | StoreError] = [StoreError("not tried")] * len(arrivals)
        places: dict[tuple[str, str], list[int]] = {}
        for number, arrival in enumerate(arrivals):
            places.setdefault((arrival.user, arrival.folder), []).append(number)
        for (user, folder), numbers in places.items():
            for start in range(0, len(numbers), BATCH):
                batch = numbers[start : start + BATCH]
                stored = self._store_batch(user, folder, [arrivals[number] for number in batch])
                for number, outcome in zip(batch, stored, strict=True):
                    outcomes[number] = outcome
        self.announce()
        return outcomes

    def _store_batch(
        self, user: str, folder: str, arrivals: list[Arrival]
    ) -> list[Path | MailboxFullError | StoreError]:
        try:
            account = self._account(user)
            if account is None:
                raise StoreError(f"no such user here: {user}")
            maildir = account.create(canonical(folder))
        except (MailboxFullError, StoreError) as error:
            return [error] * len(arrivals)
        return self._store_in(account, maildir, arrivals)

    def _store_in(
        self, account: Account, maildir: Maildir, arrivals: list[Arrival]
    ) -> list[Path | MailboxFullError | StoreError]:
        outcomes: dict[str, Path | MailboxFullError | StoreError] = {}
        drafts: list[Draft] = []
        releases: list[Callable[[], None]] = []
        try:
            for arrival in arrivals:
                try:
                    releases.append(account.admit(len(arrival.data)))
                    drafts.append(Draft(arrival.unique, arrival.data, self._clock()))
                except MailboxFullError as error:  # a letter that came before has its room
                    outcomes[arrival.unique] = maildir.stored([arrival.unique]).get(arrival.unique, error)
            for draft, file in zip(drafts, maildir.store(drafts), strict=True):
                outcomes[draft.unique] = file
        except StoreError as error:
            for arrival in arrivals:
                outcomes.setdefault(arrival.unique, error)
        finally:
            for release in releases:
                release()
        return [outcomes[arrival.unique] for arrival in arrivals]

    def _account(self, user: str) -> Account | None:
        local, at, domain = user.lower().rpartition("@")
        if at and self._domains and domain not in self._domains:
            return None
        return self._accounts.get(local if at else domain)

    def deliver(self, envelope: Envelope, data: bytes) -> None:
        """Put a message with Return-Path and Delivered-To into the INBOX of all recipients that are users here.

        Raises:
            MailboxFullError: one of them has no room; others may have got it.
            StoreError: it could not be stored for one of them.
        """
        unique = self._unique()
        for number, recipient in enumerate(envelope.recipients):
            user = self._user_of(recipient)
            if user is not None:
                head = f"Return-Path: <{envelope.sender}>\r\nDelivered-To: {recipient}\r\n"
                self.store(user, "INBOX", f"{unique}.{number}", head.encode("utf-8", "surrogateescape") + data)

    def has_room(self, user: str, octets: int) -> bool:
        """Tell whether a letter of that size would be taken now.

        Raises:
            StoreError: the letters that are there cannot be counted.
        """
        account = self._account(user)
        if account is None:
            return False
        try:
            account.admit(octets)()
        except MailboxFullError:
            return False
        return True

    # Who hears of changes

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have *listener* called after every change; give a function that ends it.

        Subscribed within an event loop, it is called in the loop's thread, wherever the change is made.
        """
        key = object()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._lock:
            self._listeners[key] = (listener, loop)
        return lambda: self._unsubscribe(key)

    def _unsubscribe(self, key: object) -> None:
        with self._lock:
            self._listeners.pop(key, None)

    def announce(self) -> None:
        """Tell all listeners that something may have changed; also for changes by other programs."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        with self._lock:
            listeners = list(self._listeners.values())
        for listener, loop in listeners:
            if loop is None or loop is here:
                listener()
            elif not loop.is_closed():
                with suppress(RuntimeError):  # it was closed just now
                    loop.call_soon_threadsafe(listener)

    # What the protocols ask for

    def secret(self, user: str) -> str | None:
        """Give a user's password, or None when there is no such user."""
        account = self._account(user)
        return None if account is None else self._secrets[account.user]

    def refuse_sender(self, _envelope: Envelope) -> Verdict | None:
        """Refuse nobody."""
        return None

    def refuse_recipient(self, _envelope: Envelope, recipient: str) -> Verdict | None:
        """Refuse who is no user; a ``+tag`` does not count."""
        return NO_SUCH_USER if self._user_of(recipient) is None else None

    def mailbox(self, user: str, name: str) -> DiskMailbox | None:
        """Give a user's mailbox; ``INBOX`` in any case is always there.

        Raises:
            MailboxPausedError: mailboxes cannot be read now.
            StoreError: the directory cannot be read.
        """
        self._demand_running()
        account, name = self._account(user), canonical(name)
        maildir = account.maildir(name) if account is not None else None
        if account is None or maildir is None:
            return None
        with self._lock:
            if name not in account.boxes:
                account.boxes[name] = DiskMailbox(name, maildir, self._index, self._owner(account))
            return account.boxes[name]

    def _owner(self, account: Account) -> Owner:
        def taken(name: str, unique: str, protocol: str) -> None:
            self._journal_read(account.user, name, unique, protocol)

        return Owner(account.user, self._clock, account.admit, self._unique, self.announce, taken)

    def lock(self, user: str) -> Callable[[], None]:
        """Give a POP3 session the user's INBOX for itself, and what gives it back.

        Raises:
            MailboxPausedError: mailboxes cannot be read now.
            MailboxBusyError: another POP3 session has it.
        """
        self._demand_running()
        account = self._account(user)
        owner = account.user if account is not None else user
        with self._lock:
            if owner in self._locked:
                raise MailboxBusyError("another POP3 session has the mailbox")
            self._locked.add(owner)
        return lambda: self._locked.discard(owner)

    def _demand_running(self) -> None:
        if self._paused():
            raise MailboxPausedError("mailboxes cannot be read now; try again later")

    def attributes(self, _user: str, name: str) -> tuple[str, ...]:
        """Give the special use of a mailbox that bears the name of one."""
        return (SPECIAL_USES[name],) if name in SPECIAL_USES else ()

    def names(self, user: str) -> tuple[str, ...]:
        """Give the names of a user's mailboxes, INBOX first.

        Raises:
            StoreError: the directory cannot be read.
        """
        account = self._account(user)
        return () if account is None else tuple(account.names())

    def create(self, user: str, name: str) -> bool:
        """Make a mailbox; False when the name is taken.

        Raises:
            MailboxFullError: the user has too many.
            StoreError: it cannot have that name, or cannot be made.
        """
        account, name = self._account(user), canonical(name)
        if account is None or account.maildir(name) is not None:
            return False
        account.create(name)
        return True

    def delete(self, user: str, name: str) -> bool:
        """Delete a mailbox; False when it is INBOX or not there.

        Raises:
            StoreError: it cannot be deleted.
        """
        account, name = self._account(user), canonical(name)
        if account is None or name == "INBOX" or account.maildir(name) is None:
            return False
        account.delete(name)
        self._index.drop(account.user, name)
        return True

    def rename(self, user: str, name: str, to: str) -> bool:
        """Rename a mailbox and those below it; False when it is INBOX, not there, or the new name is taken.

        Raises:
            StoreError: one of them cannot have its new name.
        """
        account, name, to = self._account(user), canonical(name), canonical(to)
        if account is None or "INBOX" in (name, to) or to.startswith(f"{name}{SEPARATOR}"):
            return False
        if account.maildir(name) is None or account.maildir(to) is not None:
            return False
        for old, new in account.rename(name, to):
            self._index.rename(account.user, old, new)
        return True

    def subscriptions(self, user: str) -> set[str]:
        """Give the names a user is subscribed to, to be changed in place; changes are kept.

        Raises:
            StoreError: they cannot be read.
        """
        account = self._account(user)
        return set() if account is None else _Subscriptions(self._index, account.user)

    def _user_of(self, recipient: str) -> str | None:
        local, _, domain = recipient.rpartition("@")
        local = (local or domain).strip('"').partition("+")[0]
        account = self._account(f"{local}@{domain}" if "@" in recipient else local)
        return None if account is None else account.user

    def _unique(self) -> str:
        now = self._clock()
        return f"{int(now.timestamp())}.M{now.microsecond:06d}P{os.getpid()}Q{next(self._numbers)}.{self._host}"


class _Subscriptions(set[str]):
    """A user's subscriptions; what is added or discarded is written down at once."""

    def __init__(self, index: UidIndex, user: str) -> None:
        index.mailbox(user, "INBOX")  # to which everybody is subscribed at first
        super().__init__(index.subscriptions(user))
        self._index = index
        self._user = user

    def add(self, name: str) -> None:
        """Subscribe."""
        self._index.subscribe(self._user, name, wanted=True)
        super().add(name)

    def discard(self, name: object) -> None:
        """Unsubscribe."""
        self._index.subscribe(self._user, str(name), wanted=False)
        super().discard(str(name))


def canonical(name: str) -> str:
    """Give the name of a mailbox as it is kept."""
    return "INBOX" if name.upper() == "INBOX" else name
