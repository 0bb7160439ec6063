"""What the server cores need to know of users and their mail; the lab keeps it in memory."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import msgspec

from mailprobe.model.errors import MailprobeError


class MailboxFullError(MailprobeError):
    """There is no room for another message or mailbox."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What SMTP knows of a message beside the message.

    *protocol* is the word for the Received line (RFC 3848): ``SMTP``, ``ESMTP``, ``ESMTPS``, ``ESMTPSA`` ...
    """

    sender: str
    recipients: tuple[str, ...]
    client_name: str
    server_name: str
    protocol: str


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One stored message. *uid* never changes and is never given twice within a mailbox (RFC 3501 §2.3.1.1)."""

    uid: int
    data: bytes
    flags: frozenset[str]
    received: datetime


class Mailbox(Protocol):
    """One mailbox; its letters are in the order of their uids."""

    @property
    def uid_validity(self) -> int:
        """The number that changes when uids start anew."""

    @property
    def uid_next(self) -> int:
        """The uid that the next letter gets."""

    def uids(self) -> tuple[int, ...]:
        """Give the uids of all letters, ascending."""

    def get(self, uid: int) -> Letter | None:
        """Give a letter, or None when it is gone."""

    def append(self, data: bytes, flags: Collection[str] = (), received: datetime | None = None) -> int:
        """Store a letter and give its uid; *received* None means now.

        Raises:
            MailboxFullError: there is no room.
        """

    def set_flags(self, uid: int, flags: Collection[str]) -> None:
        """Replace the flags of a letter, if it is still there."""

    def remove(self, uids: Collection[int]) -> None:
        """Delete letters; uids that are gone do not matter."""


class MailStore(Protocol):
    """Users, their secrets and their mailboxes."""

    def secret(self, user: str) -> str | None:
        """Give a user's password, or None when there is no such user."""

    def accepts(self, address: str) -> bool:
        """Tell whether mail for the local part of *address* has a mailbox here."""

    def deliver(self, envelope: Envelope, data: bytes) -> None:
        """Put a message into the mailboxes of all recipients.

        Raises:
            MailboxFullError: no recipient got it, as one of them has no room.
        """

    def mailbox(self, user: str, name: str) -> Mailbox | None:
        """Give a user's mailbox; ``INBOX`` in any case is always there."""

    def names(self, user: str) -> tuple[str, ...]:
        """Give the names of a user's mailboxes."""

    def create(self, user: str, name: str) -> bool:
        """Make a mailbox; False when the name is taken.

        Raises:
            MailboxFullError: the user has too many.
        """

    def delete(self, user: str, name: str) -> bool:
        """Delete a mailbox; False when it cannot be."""

    def rename(self, user: str, name: str, to: str) -> bool:
        """Rename a mailbox; False when it cannot be."""

    def subscriptions(self, user: str) -> set[str]:
        """Give the names a user is subscribed to, to be changed in place by their owner."""


def password_fits(store: MailStore, user: str, password: str) -> bool:
    """Tell whether the user exists and has that password."""
    secret = store.secret(user)
    return secret is not None and secret == password
