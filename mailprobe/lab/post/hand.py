"""A letter that is being worked on."""

from __future__ import annotations

import msgspec

from mailprobe.lab.post.bounces import Action
from mailprobe.lab.post.queue_table import Message, Recipient, State
from mailprobe.lab.post.spool import Spooled


class Failure(msgspec.Struct, frozen=True):
    """A recipient that gets nothing: BOUNCED or EXPIRED, the *reply* that decided it, and the host that gave it."""

    recipient: Recipient
    state: State
    reply: str
    remote: str = ""


class Hand:
    """A letter with its octets at hand, those of its recipients that are being worked on, and what failed so far.

    *left* counts the recipients that are not settled for good; None where only the queue knows.
    """

    def __init__(self, message: Message, letter: Spooled, left: int | None = None) -> None:
        self.message = message
        self.letter = letter
        self.left = left
        self.open: dict[int, Recipient] = {}
        self.failures: list[Failure] = []
        self.late: list[Recipient] = []  # whose sender is to be warned
        self.successes: list[tuple[Recipient, Action]] = []  # whose sender asked to hear of it
        self.reports = 0  # that are on their way into the spool

    @property
    def queue_id(self) -> str:
        """The letter's queue id."""
        return self.letter.queue_id

    @property
    def is_free(self) -> bool:
        """True when nothing is being done for the letter."""
        return not self.open and not self.failures and not self.reports


def message_of(letter: Spooled) -> Message:
    """Give what the queue knows of a letter that it has just been given."""
    envelope = letter.envelope
    return Message(
        queue_id=letter.queue_id,
        message_id=letter.message_id,
        arrived=letter.arrived,
        sender=envelope.sender,
        size=len(letter.data),
        origin=letter.origin,
        ret=envelope.ret,
        envid=envelope.envid,
        about=letter.about,
        warned=False,
    )
