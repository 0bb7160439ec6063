"""A trip: one letter sent on purpose, and what was found of it at its end. Evidence, never an opinion."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Struct, Trouble
from mailprobe.model.finding import Finding
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Access(StrEnum):
    """How a mailbox is read."""

    IMAP = "imap"
    POP3 = "pop3"


class Hop(Struct, frozen=True, kw_only=True):
    """What one ``Received`` field tells (RFC 5321 §4.4). Clauses that it does not have are empty.

    *by* took the letter from *client*, which came from *client_address*, in *protocol* (RFC 3848), under *queue_id*.
    *tls* is None when the field does not say. *at* is by the clock of *by*, None when there is no date that can be
    read. *delay_s* counts from the hop before it, from the sending for the first; below 0 when clocks disagree.
    """

    by: str
    client: str
    client_address: str
    protocol: str
    tls: bool | None
    queue_id: str
    at: Moment | None
    delay_s: float | None


class Copy(Struct, frozen=True, kw_only=True):
    """The letter as it was found in the recipient's mailbox.

    *uid* is the UID of IMAP or the unique-id of POP3. *seen_at* is by our clock, *watched* tells whether it came while
    we looked. *arrived_at* is the mail server's word (INTERNALDATE), None where there is none. *hops* are in the order
    of the road. *unchanged* compares the body with what was sent, None when it was not *fetched*; *difference* names
    the first line that differs.
    """

    folder: str
    junk: bool
    uid: str
    seen_at: Moment
    watched: bool
    arrived_at: Moment | None
    fetched: bool
    hops: tuple[Hop, ...]
    unchanged: bool | None
    difference: str
    removed: bool


class Bounce(Struct, frozen=True, kw_only=True):
    """What one delivery report says of one recipient (RFC 3464 §2.3), and where it was found.

    *action* is ``failed``, ``delayed``, ``delivered``, ``relayed`` or ``expanded``; *status* an enhanced code such as
    ``5.1.1``; *remote* the server that said so. What the report does not tell is empty.
    """

    recipient: str
    action: str
    status: str
    diagnostic: str
    remote: str
    folder: str
    uid: str
    removed: bool


class Look(Struct, frozen=True, kw_only=True):
    """What came of reading a mailbox: the *folders* that were searched, the last conversation, and its trouble."""

    user: str
    access: Access
    folders: tuple[str, ...]
    conversation: Conversation | None
    trouble: Trouble | None


class State(StrEnum):
    """What became of a letter, in a word."""

    ARRIVED = "arrived"
    RETURNED = "returned"  # a report says that it failed, and there is no copy
    REFUSED = "refused"  # the first server did not take it, for ever or for now
    PENDING = "pending"  # a later run looks again
    LOST = "lost"  # taken, and not seen again
    UNKNOWN = "unknown"  # nobody looked, or nobody knows whether it was taken


class Thresholds(Struct, frozen=True, kw_only=True):
    """Seconds: when a delivery is slow, when it is late, and how long a letter is waited for until it is lost."""

    warn_s: float
    crit_s: float
    wait_s: float


class Trip(Struct, frozen=True, kw_only=True):
    """One letter from *sender* to *recipient*, known by its *token*.

    *sending* is None when the run that sent it did not live to write down what came of it. *look* is at the
    recipient's mailbox, None when it was not looked at; *sender_look* at the sender's own, where bounces go, None
    without a login. *pending* tells that nothing was found and that a later run looks again. *looked_at* is the only
    "now" that a check may see, *waited_s* the time from the sending to the last look. *paused* tells that a part of the
    lab was made to stand still on the way, on purpose.
    """

    sender: str
    recipient: str
    token: str
    message_id: str
    sent_at: Moment
    sending: Sending | None
    look: Look | None
    sender_look: Look | None
    copies: tuple[Copy, ...]
    bounces: tuple[Bounce, ...]
    thresholds: Thresholds
    looked_at: Moment
    waited_s: float
    pending: bool
    paused: bool = False

    @property
    def name(self) -> str:
        """The trip in words: from whom to whom."""
        return f"{self.sender} to {self.recipient}"

    @property
    def outcome(self) -> RecipientOutcome | None:
        """What the first server said of the recipient; None when nobody knows any more."""
        return self.sending.recipients[0] if self.sending is not None and self.sending.recipients else None

    @property
    def state(self) -> State:
        """What became of the letter, as far as is known."""
        if self.copies:
            return State.ARRIVED
        if any(bounce.action == "failed" for bounce in self.bounces):
            return State.RETURNED
        taken = self.outcome.outcome if self.outcome is not None else Outcome.UNCERTAIN
        if taken in {Outcome.REFUSED, Outcome.DEFERRED, Outcome.NOT_SENT}:
            return State.REFUSED
        if self.pending:
            return State.PENDING
        seen = self.look is not None and self.look.trouble is None
        return State.LOST if seen and taken is Outcome.ACCEPTED else State.UNKNOWN

    @property
    def delay_s(self) -> float | None:
        """How long the first copy took, in seconds; None when there is none, or when nobody knows.

        By our own clock where we saw it come, else by that of the mail server.
        """
        delays = [delay for copy in self.copies if (delay := self.delay_of(copy)) is not None]
        return min(delays, default=None)

    def delay_of(self, copy: Copy) -> float | None:
        """Tell how long a copy took; see `delay_s`."""
        dates = [hop.at for hop in copy.hops if hop.at is not None]
        arrived = copy.seen_at if copy.watched else copy.arrived_at or (dates[-1] if dates else None)
        return max(0.0, (arrived - self.sent_at).total_seconds()) if arrived is not None else None


class TripReport(Struct, frozen=True, kw_only=True):
    """Judged trips: all that a format needs. *mailprobe* is the version that judged, *at* when it was done."""

    mailprobe: str
    at: Moment
    trips: tuple[Trip, ...]
    findings: tuple[Finding, ...]
