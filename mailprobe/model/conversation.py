"""One conversation held on purpose, as a mail program or another server holds it: evidence, never an opinion."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from mailprobe.model.evidence import Capabilities, Exchange, Reply, Struct, Tls, Trouble
from mailprobe.model.ports import Service


class Security(StrEnum):
    """How a conversation gets its TLS."""

    TLS = "tls"  # from the first octet; whoever cannot is left
    STARTTLS = "starttls"  # asked for, and left without it
    OPPORTUNISTIC = "opportunistic"  # asked for where offered (RFC 7435)
    CLEAR = "clear"  # never


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where to hold a conversation. *socket* is the path of a unix socket, else empty; then *address* is empty.

    *host* is the name that the certificate is compared with and that goes out as SNI.
    """

    host: str
    address: str
    port: int
    service: Service
    security: Security
    lmtp: bool = False
    socket: str = ""


class LoginOutcome(Struct, frozen=True, kw_only=True):
    """A login: with which *mechanism* (``LOGIN``, ``USER``, ``APOP`` or a SASL name), and how it ended."""

    user: str
    mechanism: str
    succeeded: bool
    reply: Reply | None


class Conversation(Struct, frozen=True, kw_only=True):
    """A whole conversation. Capabilities are None where that stage was not reached or they were not asked for.

    *timings* maps a stage to its milliseconds; *leftover* as in `mailprobe.model.evidence.Session`.
    """

    service: str
    host: str
    address: str
    port: int
    greeting: Reply | None
    exchanges: tuple[Exchange, ...]
    before_tls: Capabilities | None
    after_tls: Capabilities | None
    after_login: Capabilities | None
    leftover: bytes
    tls: Tls | None
    login: LoginOutcome | None
    timings: dict[str, float]
    trouble: Trouble | None
