"""What the server cores need to know of users and their mail; the lab keeps it in memory."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

import msgspec

from mailprobe.model.errors import MailprobeError


class MailboxFullError(MailprobeError):
    """There is no room for another message or mailbox."""


class Verdict(msgspec.Struct, frozen=True):
    """What an SMTP server says of a sender, a recipient or a message: code, enhanced code (RFC 3463) and text."""

    code: int
    enhanced: str
    text: str


class MailboxBusyError(MailprobeError):
    """Another session has the mailbox for itself (RFC 1939 §4), or it cannot be read now."""


class MailboxPausedError(MailboxBusyError):
    """No mailbox can be read now; later it can."""


class Asked(msgspec.Struct, frozen=True):
    """What a sender asked for one recipient (RFC 3461 §4): *notify* as given, None when not; *orcpt* decoded or ""."""

    notify: str | None = None
    orcpt: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What SMTP knows of a message beside the message.

    *protocol* is the word for the Received line (RFC 3848): ``SMTP``, ``ESMTP``, ``ESMTPS``, ``ESMTPSA`` ...
    *client_address* is the client's IP address, empty when nobody told. *user* is who logged in, None for a
    stranger. *tls* is the TLS version, empty in clear. *asked* has one entry per recipient. *ret* is ``FULL``,
    ``HDRS`` or empty, *envid* decoded (RFC 3461 §4.3, §4.4). *body* is ``7BIT``, ``8BITMIME`` or ``BINARYMIME``.
    *requiretls* asks every hop for TLS (RFC 8689).
    """

    sender: str
    recipients: tuple[str, ...]
    client_name: str
    server_name: str
    protocol: str
    client_address: str = ""
    user: str | None = None
    tls: str = ""
    asked: tuple[Asked, ...] = ()
    ret: str = ""
    envid: str = ""
    body: str = "7BIT"
    smtputf8: bool = False
    requiretls: bool = False


class StoreError(MailprobeError):
    """Mail cannot be read or written: the disk is full, a permission is missing, a letter is gone."""


class LetterGoneError(StoreError):
    """The letter was removed in the meantime."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One stored message. *uid* never changes and is never given twice within a mailbox (RFC 3501 §2.3.1.1).

    *size* counts the octets of *data*, which *read* fetches from where they are kept.
    """

    uid: int
    size: int
    flags: frozenset[str]
    received: datetime
    read: Callable[[], bytes]

    @property
    def data(self) -> bytes:
        """The message, read anew each time.

        Raises:
            LetterGoneError: it was removed in the meantime.
            StoreError: it cannot be read.
        """
        return self.read()


class Mailbox(Protocol):
    """One mailbox; its letters are in the order of their uids."""

    @property
    def uid_validity(self) -> int:
        """The number that changes when uids start anew."""

    @property
    def uid_next(self) -> int:
        """The uid that the next letter gets."""

    @property
    def changes(self) -> int:
        """A number that is another one whenever letters came, went or have other flags."""

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

    def taken(self, uid: int, protocol: str) -> None:
        """Learn that a user agent has fetched the text of a letter; *protocol* is ``POP3`` or ``IMAP``."""


class MailStore(Protocol):
    """Users, their secrets and their mailboxes."""

    def secret(self, user: str) -> str | None:
        """Give a user's password, or None when there is no such user."""

    def refuse_sender(self, envelope: Envelope) -> Verdict | None:
        """Say why mail of this sender is not taken now, or None; the envelope has no recipients yet."""

    def refuse_recipient(self, envelope: Envelope, recipient: str) -> Verdict | None:
        """Say why a recipient in a domain of ours is not taken, or None; the envelope has those taken so far."""

    def deliver(self, envelope: Envelope, data: bytes) -> None:
        """Put a message into the mailboxes of all recipients.

        Raises:
            MailboxFullError: no recipient got it, as one of them has no room.
        """

    def mailbox(self, user: str, name: str) -> Mailbox | None:
        """Give a user's mailbox; ``INBOX`` in any case is always there."""

    def lock(self, user: str) -> Callable[[], None]:
        """Give a POP3 session the user's INBOX for itself (RFC 1939 §4), and what gives it back.

        Raises:
            MailboxBusyError: another POP3 session has it, or mailboxes cannot be read now.
        """

    def attributes(self, user: str, name: str) -> tuple[str, ...]:
        """Give the special uses of a mailbox, such as ``\\Junk`` (RFC 6154 §2)."""

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
    """Tell whether the user exists and has that password, in a time that says nothing about either."""
    secret = store.secret(user)
    octets = [text.encode("utf-8", "surrogateescape") for text in (secret or "", password)]
    return hmac.compare_digest(*octets) and secret is not None
