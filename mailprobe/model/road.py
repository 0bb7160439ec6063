"""The road of a letter: the eight steps from one user agent to another, and what is written down along it."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

import msgspec


class Step(IntEnum):
    """The eight steps of a letter; BESIDE is for what happens beside them, such as a retry or a bounce."""

    BESIDE = 0
    HANDED_OVER = 1  # the user agent hands the letter to its MTA
    SPOOLED = 2  # it waits in the spool, a file
    EXPANDED = 3  # the alias expander checks and rewrites the addresses from its database
    TAKEN = 4  # the MTA client takes it
    SENT = 5  # it crosses the network to the recipient's MTA server
    TARGETED = 6  # that side's alias expander finds the target
    STORED = 7  # it is in the mailbox
    READ = 8  # the recipient's user agent reads it


STEPS: dict[Step, str] = {
    Step.HANDED_OVER: "user agent hands over",
    Step.SPOOLED: "waits in the spool",
    Step.EXPANDED: "alias expander",
    Step.TAKEN: "MTA client takes it",
    Step.SENT: "crosses the network",
    Step.TARGETED: "alias expander finds the target",
    Step.STORED: "stored in the mailbox",
    Step.READ: "user agent reads it",
}


class Part(StrEnum):
    """The parts of a site that can be paused."""

    PICKUP = "pickup"  # takes letters from the spool
    EXPANDER = "expander"
    CLIENT = "client"  # the MTA client
    SERVER = "server"  # the MTA server; while it is paused it answers 421
    MAILBOX = "mailbox"  # local delivery
    READER = "reader"  # POP3 and IMAP; while paused logins are told to come back


class What(StrEnum):
    """What happened, in a word. The comment says the step it belongs to."""

    HANDED_OVER = "handed-over"  # 1
    SPOOLED = "spooled"  # 2, at the receiving site too
    EXPANDED = "expanded"  # 3 where the letter was handed over, else 6 (TARGETED)
    TAKEN = "taken"  # 4
    SENT = "sent"  # 5, written by the side that sends
    RECEIVED = "received"  # 5, written by the side that receives
    TARGETED = "targeted"  # 6
    STORED = "stored"  # 7
    READ = "read"  # 8
    # beside the eight steps
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    DELAYED = "delayed"  # a warning was sent to the sender
    HELD = "held"
    DROPPED = "dropped"
    DUPLICATE = "duplicate"  # a second way to the same mailbox, suppressed
    CORRUPT = "corrupt"


class RoadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a letter at one site.

    *at* is the lab's clock. *queue_id* is the site's own, *message_id* the letter's, with its brackets. *recipient*
    is the address at this point, empty when it is about the whole letter. *detail* is for people: replies, TLS,
    file names, addresses before and after expansion.
    """

    at: datetime
    site: str
    queue_id: str
    message_id: str
    step: Step
    what: What
    recipient: str
    detail: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of a letter that a site still has, or had.

    *state* is ``spool`` for what waits in the spool, else the queue's: incoming, active, deferred, held, sent,
    bounced, expired. *reply* is what was last said about it; *next_try* None when none is due.
    """

    site: str
    queue_id: str
    message_id: str
    arrived: datetime
    size: int
    sender: str
    recipient: str
    state: str
    tries: int
    next_try: datetime | None
    reply: str
