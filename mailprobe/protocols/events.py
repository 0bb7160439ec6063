"""What a server core asks of whoever owns the socket, and the interface that all server cores share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from mailprobe.protocols.mailstore import Envelope, Verdict
from mailprobe.protocols.sasl import ChannelBinding


class Send(msgspec.Struct, frozen=True):
    """Write *data*, one whole reply.

    *tag* says what the reply answers: ``greeting``, or the command in lower case. Replies in the middle of a
    command have tags of their own: ``auth-challenge``, ``eom`` (the end of a message), ``literal``, ``done``.
    """

    data: bytes
    tag: str


class StartTls(msgspec.Struct, frozen=True):
    """Switch to TLS now; the core stands still until ``secured`` or ``resume`` is called."""


class Close(msgspec.Struct, frozen=True):
    """End the connection in good order once everything is written."""


class Accept(msgspec.Struct, frozen=True):
    """A whole message has come; the core stands still until ``accepted`` is told what becomes of it."""

    envelope: Envelope
    data: bytes


Event = Send | StartTls | Close | Accept


class ServerCore(Protocol):
    """One server side of one conversation: no clock, no socket."""

    @property
    def secure(self) -> bool:
        """True inside TLS."""

    def greeting(self) -> list[Event]:
        """Give what is said first."""

    def receive(self, data: bytes) -> list[Event]:
        """Take octets and give what they cause.

        A core stops early after a lot of output; call again with ``b""`` until nothing comes.
        """

    def met(self, address: str) -> None:
        """Learn the client's IP address, before anything else."""

    def accepted(self, *verdicts: Verdict) -> list[Event]:
        """Learn what becomes of the message in ``Accept``: one verdict, or over LMTP one for each recipient."""

    def deliver(self) -> list[Event]:
        """Put the message in ``Accept`` into the mail store at once, and go on as after ``accepted``."""

    def ended(self) -> None:
        """Learn that the connection is gone, however it went: locks are given back."""

    def secured(self, tls: str = "", bindings: Collection[ChannelBinding] = (), identity: str | None = None) -> None:
        """Learn that the handshake is finished, and forget what was learnt before it.

        *tls* is the version, such as ``TLSv1.3``; *identity* the name in the client's certificate, None without
        one that is trusted.
        """

    def resume(self) -> list[Event]:
        """Learn that the TLS that was asked for will not come; carry on in clear."""

    def take_pending(self) -> bytes:
        """Remove and give the octets that came behind the command that asked for TLS."""

    def updates(self) -> list[Event]:
        """Give what can be said unasked, now that a mailbox may have changed."""
