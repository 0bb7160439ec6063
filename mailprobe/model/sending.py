"""What came of sending a letter, recipient by recipient."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Reply, Stage, Struct


class Outcome(StrEnum):
    """What became of one recipient."""

    ACCEPTED = "accepted"  # the server took responsibility for the letter
    REFUSED = "refused"  # 5xx: never
    DEFERRED = "deferred"  # 4xx: later
    UNCERTAIN = "uncertain"  # the letter was out, and no reply to its end came: it may arrive
    NOT_SENT = "not-sent"  # it did not come to that: no connection, no TLS, stopped before


class RecipientOutcome(Struct, frozen=True, kw_only=True):
    """One recipient: the outcome, the *stage* that decided it, and the *reply* that did, None when none came."""

    address: str
    outcome: Outcome
    stage: Stage
    reply: Reply | None
    detail: str


class Sending(Struct, frozen=True, kw_only=True):
    """One letter on its way: every conversation that was tried, in order, and what came of each recipient.

    *size* counts octets as sent; *ms* is from the first connection to the last reply.
    """

    message_id: str
    sender: str
    size: int
    started: datetime
    ms: float
    conversations: tuple[Conversation, ...]
    recipients: tuple[RecipientOutcome, ...]
