"""The lab: a small honest internet on loopback, and in it servers that misbehave by name.

The lab lives in a daemon thread with an event loop of its own. Only the DNS is bound when it starts. A mail port
is bound when somebody asks for the way to it, in the thread that asks, and handed to the loop, so that asking
never waits.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mailprobe.lab.dns_responder import DnsResponder
from mailprobe.lab.dns_zones import Zones
from mailprobe.lab.pki import Authority
from mailprobe.lab.scenario import Reach
from mailprobe.lab.scenarios import SCENARIOS as SCENARIOS
from mailprobe.lab.servers import Behaviour
from mailprobe.lab.sites import DNS_ADDRESS, NAMED_SITES, NETWORK, NETWORK_6, Place, settle
from mailprobe.lab.sockets import bind, can_bind, fill_backlog
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import WELL_KNOWN

if TYPE_CHECKING:
    from mailprobe.lab.driver import Listener
    from mailprobe.lab.maildrop import Maildrop

_ONLY_ADDRESS = "127.0.0.1"
_DNS_PORT = 53
_FILES_NEEDED = 8192  # every port of every host, and both ends of some connections
_STOP_S = 5.0
_STOP_ROUNDS = 20

Endpoint = tuple[str, int]
Result = TypeVar("Result")


class Lab:
    """All the hosts of the lab.

    *flight_delay_s* holds back everything that answers a flight, DNS answers too. With *fixed_ports* the ports are
    the usual ones plus that number (0 means the real ones), else whatever is free; where there is no loopback
    address but 127.0.0.1 they are whatever is free in any case. *directory* is where ``ca.pem`` goes, None for
    a temporary directory that goes with the lab.
    """

    def __init__(
        self, *, flight_delay_s: float = 0.0, fixed_ports: int | None = None, directory: Path | None = None
    ) -> None:
        self._delay_s = flight_delay_s
        self._fixed_ports = fixed_ports
        self._authority = Authority(directory)
        self._zones = Zones()
        self._places = settle((*(scenario.site for scenario in SCENARIOS), *NAMED_SITES), self._zones)
        self._lock = threading.Lock()
        self._bound: dict[Endpoint, Endpoint] = {}
        self._sockets: list[socket.socket] = []
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Task[asyncio.Server]] = []
        self._nowhere: Endpoint | None = None

    # Life

    def start(self) -> None:
        """Start the thread and bind the DNS.

        Raises:
            OSError: the address or the port for the DNS cannot be had.
        """
        self._own_addresses = can_bind(DNS_ADDRESS)
        self._dns = DnsResponder(self._zones, flight_delay_s=self._delay_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mailprobe-lab", daemon=True)
        self._thread.start()
        try:
            self._dns_endpoint = self._wait_for(self._dns.start(*self._real(DNS_ADDRESS, _DNS_PORT)))
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Close everything, end the thread and remove what was written."""
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()
        for each in self._sockets:
            each.close()
        self._authority.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What clients need

    @property
    def resolver(self) -> str:
        """Where the DNS listens, as ``address:port``."""
        return _text(self._dns_endpoint)

    @property
    def ca_file(self) -> Path:
        """A PEM file with the lab's root, made when it is first asked for."""
        return self._authority.ca_file

    @property
    def internal_networks(self) -> tuple[str, ...]:
        """The networks whose addresses are no mistake here."""
        return (NETWORK, NETWORK_6)

    def route(self, address: str, port: int) -> Endpoint:
        """Give where an address and port of the lab's internet really listen, bound now if need be.

        What the lab does not serve leads to an endpoint that refuses. Any thread may ask.
        """
        with self._lock:
            place = self._places.get(address)
            if place is None or port not in WELL_KNOWN:
                return self._refusing()
            known = self._bound.get((place.address, port))
            if known is None:
                known = self._bound[place.address, port] = self._open(place, port)
            return known

    def lab_file(self) -> LabFile:
        """Bind everything and say where it listens.

        Addresses that are not the lab's own but named in its DNS are in it too, and refuse: nobody who uses the file
        shall talk to a real host by mistake.
        """
        _allow_many_files()
        ports = {
            _text((address, port)): _text(self.route(address, port))
            for address in sorted({*self._places, *self._zones.addresses()})
            for port in WELL_KNOWN
        }
        return LabFile(
            resolver=self.resolver,
            ca_file=str(self.ca_file),
            internal_networks=self.internal_networks,
            ports=ports,
        )

    def hosts(self) -> list[tuple[str, str]]:
        """Give every host of the lab with its address, in the order of the catalogue; a domain's own name stands for
        the only host it has.
        """
        many = [place.site.domain for place in self._places.values()]
        return [
            (place.host if many.count(place.site.domain) > 1 else place.site.domain, address)
            for address, place in self._places.items()
        ]

    # Ports

    def _open(self, place: Place, port: int) -> Endpoint:
        """Bind one port of one host."""
        behaviour = Behaviour(place, port)
        bound = bind(*self._real(place.address, port))
        endpoint: Endpoint = bound.getsockname()[:2]
        if behaviour.reach is Reach.OPEN:
            bound.listen()
            self._loop.call_soon_threadsafe(self._serve, bound, self._listener(behaviour))
            return endpoint
        self._sockets.append(bound)
        if behaviour.reach is Reach.FILTERED:
            self._sockets.extend(fill_backlog(bound))
        return endpoint

    @cached_property
    def _mail(self) -> Maildrop:
        """All mail of the lab: one maildrop for every host."""
        from mailprobe.lab.maildrop import Maildrop  # here and below, because asking the DNS needs no servers

        return Maildrop()

    def _listener(self, behaviour: Behaviour) -> Listener:
        from mailprobe.lab.driver import Listener

        listener = Listener(
            behaviour.core(self._mail),
            plan=behaviour.plan,
            context=partial(behaviour.context, self._authority),
            implicit=behaviour.implicit,
            flight_delay_s=self._delay_s,
            subscribe=self._mail.subscribe,
        )
        self._listeners.append(listener)
        return listener

    def _serve(self, bound: socket.socket, listener: Listener) -> None:
        """Let the loop accept; runs in the lab's thread."""
        self._servers.append(self._loop.create_task(self._loop.create_server(listener, sock=bound)))

    def _real(self, address: str, port: int) -> Endpoint:
        """Give what to bind for an address and port of the lab's internet."""
        if not self._own_addresses:
            return _ONLY_ADDRESS, 0
        return address, 0 if self._fixed_ports is None else port + self._fixed_ports

    def _refusing(self) -> Endpoint:
        if self._nowhere is None:
            bound = bind(_ONLY_ADDRESS, 0)
            self._sockets.append(bound)
            self._nowhere = bound.getsockname()[:2]
        return self._nowhere

    # The thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _wait_for(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_STOP_S)

    async def _close(self) -> None:
        self._dns.close()
        for server in await asyncio.gather(*self._servers):
            server.close()
        for _ in range(_STOP_ROUNDS):  # what was just accepted becomes a connection only after some rounds
            for listener in self._listeners:
                listener.abort()
            await asyncio.sleep(0)


def _text(endpoint: Endpoint) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"


def _allow_many_files() -> None:
    """Raise the limit of open files as far as may be; without it, binding says what is wrong."""
    try:
        import resource
    except ImportError:  # Windows has neither the module nor the limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_NEEDED if hard == resource.RLIM_INFINITY else min(_FILES_NEEDED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
