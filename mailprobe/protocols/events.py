"""What a server core asks of whoever owns the socket, and the interface that all server cores share."""

from __future__ import annotations

from typing import Protocol

import msgspec


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


Event = Send | StartTls | Close


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

    def secured(self) -> None:
        """Learn that the handshake is finished, and forget what was learnt before it."""

    def resume(self) -> list[Event]:
        """Learn that the TLS that was asked for will not come; carry on in clear."""

    def take_pending(self) -> bytes:
        """Remove and give the octets that came behind the command that asked for TLS."""

    def updates(self) -> list[Event]:
        """Give what can be said unasked, now that a mailbox may have changed."""
