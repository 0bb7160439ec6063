"""What the queue's database holds: its tables, and their rows as the program knows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from mailprobe.lab.post.database import storable
from mailprobe.lab.post.spool_file import Spooled
from mailprobe.model.road import Waiting

VERSION = 1
REPLY_CHARACTERS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class State(StrEnum):
    """How far a recipient has come."""

    INCOMING = "incoming"  # due at once
    ACTIVE = "active"  # being worked on
    DEFERRED = "deferred"  # due later
    HELD = "held"  # not due until somebody says so
    SENT = "sent"
    BOUNCED = "bounced"
    EXPIRED = "expired"


LIVE = (State.INCOMING, State.ACTIVE, State.DEFERRED, State.HELD)
DUE = (State.INCOMING, State.DEFERRED)


class Kind(StrEnum):
    """What a recipient waits for."""

    NEW = "new"  # the alias expander
    MAILBOX = "mailbox"  # local delivery
    REMOTE = "remote"  # the MTA client
    DISCARD = "discard"  # to be thrown away
    FAILED = "failed"  # to be returned to the sender


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What the queue knows of a whole letter; *arrived* is the lab's clock, *warned* tells of a delay warning."""

    queue_id: str
    message_id: str
    arrived: datetime
    sender: str
    size: int
    origin: str
    ret: str
    envid: str
    about: str
    warned: bool


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of a letter.

    *number* never changes and is given once within a letter. *address* is where it goes, *recipient* what the
    envelope said, *path* the aliases between. *user* is the mailbox. *sender* is the envelope sender for this one:
    an ``owner-`` alias changes it. *notify* and *orcpt* are what the sender asked for (RFC 3461), *notify* None when
    nothing. *tries* counts the tries so far, *reply* is the last thing said, and *remote* who said it.
    """

    queue_id: str
    number: int
    kind: Kind
    address: str
    recipient: str
    path: tuple[str, ...]
    user: str
    sender: str
    notify: str | None
    orcpt: str
    state: State
    tries: int
    next_try: datetime
    reply: str
    remote: str


class Due(msgspec.Struct, frozen=True):
    """A letter and those of its recipients that there is something to do for."""

    message: Message
    recipients: tuple[Recipient, ...]


SCHEMA = """
CREATE TABLE message(
    queue_id TEXT PRIMARY KEY, message_id TEXT, arrived INTEGER, sender TEXT, size INTEGER, origin TEXT, ret TEXT,
    envid TEXT, about TEXT, warned INTEGER
) WITHOUT ROWID;
CREATE TABLE recipient(
    queue_id TEXT, number INTEGER, kind TEXT, address TEXT, recipient TEXT, path TEXT, user TEXT, sender TEXT,
    notify TEXT, orcpt TEXT, state TEXT, tries INTEGER, next_try INTEGER, reply TEXT, remote TEXT,
    PRIMARY KEY(queue_id, number)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient(next_try) WHERE state IN ('incoming', 'deferred');
CREATE INDEX recipient_live ON recipient(state) WHERE state IN ('incoming', 'active', 'deferred', 'held');
CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, noted INTEGER, at INTEGER, site TEXT, queue_id TEXT, message_id TEXT,
    step INTEGER, what TEXT, recipient TEXT, detail TEXT, about TEXT
);
CREATE INDEX event_queue_id ON event(queue_id);
CREATE INDEX event_message_id ON event(message_id) WHERE message_id != '';
CREATE INDEX event_about ON event(about) WHERE about != '';
"""
WAITING = """
SELECT queue_id, message_id, arrived, size, recipient.sender, address, state, tries, next_try, reply
FROM recipient JOIN message USING(queue_id) WHERE state IN ({}) ORDER BY queue_id, number
"""
MESSAGE = "queue_id, message_id, arrived, sender, size, origin, ret, envid, about, warned"
RECIPIENT = (
    "queue_id, number, kind, address, recipient, path, user, sender, notify, orcpt, state, tries, next_try, reply, "
    "remote"
)


def first_rows(letter: Spooled, at: int) -> list[tuple[object, ...]]:
    """Give a row for each recipient of a letter that has just come, to be inserted."""
    envelope = letter.envelope
    asked = dict(zip(envelope.recipients, envelope.asked, strict=False))
    return [
        (
            letter.queue_id,
            number,
            Kind.NEW,
            storable(recipient),
            storable(recipient),
            storable(_path([recipient])),
            "",
            storable(envelope.sender),
            asked[recipient].notify if recipient in asked else None,
            storable(asked[recipient].orcpt if recipient in asked else ""),
            State.INCOMING,
            0,
            at,
            "",
        )
        for number, recipient in enumerate(dict.fromkeys(envelope.recipients))
    ]


def row_of(recipient: Recipient) -> tuple[object, ...]:
    """Give the row of a recipient, to be inserted."""
    return (
        recipient.queue_id,
        recipient.number,
        recipient.kind,
        storable(recipient.address),
        storable(recipient.recipient),
        storable(_path(recipient.path)),
        storable(recipient.user),
        storable(recipient.sender),
        recipient.notify,
        storable(recipient.orcpt),
        recipient.state,
        recipient.tries,
        stamp(recipient.next_try),
        storable(recipient.reply[:REPLY_CHARACTERS]),
    )


def _path(path: Sequence[str]) -> str:
    return "\n".join(path)  # no address holds a line end


def message_from(row: Sequence[Any]) -> Message:
    """Read a row of the columns MESSAGE."""
    queue_id, message_id, arrived, sender, size, origin, ret, envid, about, warned = row
    return Message(
        queue_id=queue_id,
        message_id=message_id,
        arrived=moment(arrived),
        sender=sender,
        size=size,
        origin=origin,
        ret=ret,
        envid=envid,
        about=about,
        warned=bool(warned),
    )


def recipient_from(row: Sequence[Any]) -> Recipient:
    """Read a row of the columns RECIPIENT."""
    (queue_id, number, kind, address, recipient, path, user, sender, notify, orcpt, state, tries, when, reply, by) = row
    return Recipient(
        queue_id=queue_id,
        number=number,
        kind=Kind(kind),
        address=address,
        recipient=recipient,
        path=tuple(path.split("\n")),
        user=user,
        sender=sender,
        notify=notify,
        orcpt=orcpt,
        state=State(state),
        tries=tries,
        next_try=moment(when),
        reply=reply,
        remote=by,
    )


def waiting_from(row: Sequence[Any], site: str) -> Waiting:
    """Read a row of the columns WAITING."""
    queue_id, message_id, arrived, size, sender, recipient, state, tries, next_try, reply = row
    return Waiting(
        site=site,
        queue_id=queue_id,
        message_id=message_id,
        arrived=moment(arrived),
        size=size,
        sender=sender,
        recipient=recipient,
        state=state,
        tries=tries,
        next_try=moment(next_try) if state in DUE else None,
        reply=reply,
    )


def words(these: Iterable[StrEnum]) -> str:
    """Write words of ours as a list in SQL."""
    return ", ".join(f"'{word}'" for word in these)


def stamp(at: datetime) -> int:
    """Give a time as the database holds it: whole microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Give the time that `stamp` wrote."""
    return _EPOCH + timedelta(microseconds=microseconds)
