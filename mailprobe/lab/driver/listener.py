"""A port of the lab: what all its connections have in common."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from mailprobe.lab.driver.connection import Connection
from mailprobe.lab.plan import Plan
from mailprobe.protocols.events import ServerCore
from mailprobe.protocols.mailstore import Envelope, Verdict

Subscribe = Callable[[Callable[[], None]], Callable[[], None]]


class Done(Protocol):
    """What tells a connection the verdicts on its message, once, in the thread of the event loop."""

    def __call__(self, *verdicts: Verdict) -> None:
        """Let the conversation go on; nothing happens when the client has gone."""


Decide = Callable[[Envelope, bytes, Done], None]


class Listener:
    """What every connection to one port has in common; an instance is the protocol factory of the port.

    *context* is asked for when the first handshake starts. *flight_delay_s* holds back everything that answers
    one read, each flight of a handshake, and the greeting. A client that is silent for *idle_s* is dropped.
    *subscribe* takes a function to call whenever mail has arrived. *accept* is given each whole message and what to
    call with the verdicts on it; without it the core puts messages into its mail store. *certificate* gives the
    server's own as DER, for channel binding.
    """

    def __init__(
        self,
        core: Callable[[], ServerCore],
        *,
        plan: Plan | None = None,
        context: Callable[[], ssl.SSLContext] | None = None,
        implicit: bool = False,
        flight_delay_s: float = 0.0,
        idle_s: float = 60.0,
        subscribe: Subscribe | None = None,
        accept: Decide | None = None,
        certificate: Callable[[], bytes] | None = None,
    ) -> None:
        self.core = core
        self.plan = plan or Plan()
        self.context = context
        self.implicit = implicit
        self.flight_delay_s = flight_delay_s
        self.idle_s = idle_s
        self.subscribe = subscribe
        self.accept = accept
        self.certificate = certificate
        self.connections: set[Connection] = set()

    def __call__(self) -> Connection:
        """Make what asyncio asks for when a client connects."""
        return Connection(self)

    def abort(self) -> None:
        """Drop every connection."""
        for connection in tuple(self.connections):
            connection.abort()


async def serve(listener: Listener, address: str, port: int) -> asyncio.Server:
    """Listen on one address; port 0 lets the system choose."""
    return await asyncio.get_running_loop().create_server(listener, address, port)
