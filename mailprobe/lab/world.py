"""The lab: a small honest internet on loopback, and in it servers that misbehave by name.

The lab lives in a daemon thread with an event loop of its own. Only the DNS is bound when it starts. A mail port
is bound when somebody asks for the way to it, in the thread that asks, and handed to the loop, so that asking
never waits. A site with a post office opens it when the first client comes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mailprobe.lab.dns_responder import DnsResponder
from mailprobe.lab.dns_zones import Zones
from mailprobe.lab.pki import Authority
from mailprobe.lab.scenario import Reach, Site
from mailprobe.lab.scenarios import SCENARIOS as SCENARIOS
from mailprobe.lab.servers import Behaviour
from mailprobe.lab.sites import DNS_ADDRESS, NAMED_SITES, NETWORK, NETWORK_6, POST_SITES, Place, settle
from mailprobe.lab.sockets import bind, can_bind, fill_backlog
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import WELL_KNOWN

if TYPE_CHECKING:
    from mailprobe.lab.driver import Listener, Subscribe
    from mailprobe.lab.maildrop import Maildrop
    from mailprobe.lab.post.control import Answer, Order
    from mailprobe.lab.post.town import Town
    from mailprobe.net.network import Network

_ONLY_ADDRESS = "127.0.0.1"
_DNS_PORT = 53
_FILES_NEEDED = 8192  # every port of every host, and both ends of some connections
_STOP_S = 5.0
_STOP_ROUNDS = 20
_CONNECTIONS = 8  # of an MTA client to one host
_ORDER_S = 30.0
_PATIENCE_S = 1_800.0  # RFC 3501 §5.4: a server waits at least so long for a client that is logged in

Endpoint = tuple[str, int]
Result = TypeVar("Result")


class Lab:
    """All the hosts of the lab.

    *flight_delay_s* holds back everything that answers a flight, DNS answers too. With *fixed_ports* the ports are
    the usual ones plus that number (0 means the real ones), else whatever is free; where there is no loopback
    address but 127.0.0.1 they are whatever is free in any case. *directory* is where ``ca.pem`` and the mail of the
    sites with a post office go, None for a temporary directory that goes with the lab; a lab that is started again in
    the same directory goes on where the last one ended, however it ended. *sites* are there beside those of the
    catalogue; their domains lie below ``lab.test``. *complain* is told, in one line each and in
    the lab's thread, of files that cannot be used.
    """

    def __init__(
        self,
        *,
        flight_delay_s: float = 0.0,
        fixed_ports: int | None = None,
        directory: Path | None = None,
        sites: Sequence[Site] = (),
        complain: Callable[[str], None] | None = None,
    ) -> None:
        self._delay_s = flight_delay_s
        self._fixed_ports = fixed_ports
        directory = directory.absolute() if directory is not None else None  # others use the lab file from elsewhere
        self._authority = Authority(directory)
        self._zones = Zones()
        known = (*(scenario.site for scenario in SCENARIOS), *NAMED_SITES, *POST_SITES)
        self._places = settle((*known, *sites), self._zones)
        self._directory = directory
        self._complain = complain or _say_nothing
        self._lock = threading.Lock()
        self._bound: dict[Endpoint, Endpoint] = {}
        self._sockets: list[socket.socket] = []
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Task[asyncio.Server]] = []
        self._unserved: list[tuple[socket.socket, Listener]] = []
        self._nowhere: Endpoint | None = None
        self._clients: dict[str, list[Listener]] = {}  # of the sites with a post office

    # Life

    def start(self) -> None:
        """Start the thread, bind the DNS, and open the post offices that have letters.

        Raises:
            OSError: the address or the port for the DNS cannot be had, or the directory cannot be used.
            UsageError: another lab runs in the directory.
        """
        self._own_addresses = can_bind(DNS_ADDRESS)
        self._dns = DnsResponder(self._zones, flight_delay_s=self._delay_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mailprobe-lab", daemon=True)
        self._thread.start()
        try:
            self._dns_endpoint = self._wait_for(self._dns.start(*self._real(DNS_ADDRESS, _DNS_PORT)))
            if self._directory is not None and self.town.domains_with_letters():
                self._wait_for(self.town.open_offices(()))
        except OSError:
            self.stop()
            self._refuse_company()  # whose ports are the same: that says more than "address in use"
            raise
        except BaseException:
            self.stop()
            raise

    def _refuse_company(self) -> None:
        """Make sure that no other lab runs in the directory.

        Raises:
            UsageError: one does.
        """
        from mailprobe.lab.post.town import LOCK, locked

        if self._directory is not None and (self._directory / LOCK).exists():
            locked(self._directory / LOCK).close()

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
        """Bind everything, open the post offices of the two sites, and say where it all is.

        Addresses that are not the lab's own but named in its DNS are in it too, and refuse: nobody who uses the file
        shall talk to a real host by mistake.
        """
        _allow_many_files()
        self._wait_for(self.town.open_offices(site.domain for site in POST_SITES))
        directory = str(self.town.directory.absolute()) if self.town.directory is not None else ""
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
            directory=directory,
            control=f"{directory}/control.sock",
            clock=f"{directory}/clock",
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

    # Mail of the sites with a post office

    @cached_property
    def town(self) -> Town:
        """The post offices; what they do, they do in the lab's thread."""
        from mailprobe.lab.post.town import Town

        places: dict[str, list[Place]] = {}
        for address, place in self._places.items():
            if place.site.post is not None and address == place.address:
                places.setdefault(place.site.domain, []).append(place)
        return Town(places, self._directory, network=self._way_out, hang_up=self._hang_up, complain=self._complain)

    def now(self) -> datetime:
        """The lab's time, which may be ahead of the real one."""
        return self.town.now() if "town" in self.__dict__ or self._directory is not None else datetime.now(UTC)

    @property
    def skips_waiting(self) -> bool:
        """Whether the lab's clock jumps to what is due next when nothing else is left to do."""
        return self.town.skips_waiting

    @skips_waiting.setter
    def skips_waiting(self, skips: bool) -> None:
        self.town.skips_waiting = skips

    @property
    def mail_directory(self) -> Path:
        """Where the post offices keep everything, made now if need be."""
        self._wait_for(self.town.open_offices(()))
        assert self.town.directory is not None
        return self.town.directory

    def order(self, order: Order) -> Answer:
        """Have something done to the post offices, and give how they are after it.

        Raises:
            UsageError: there is no such part or site, or no such amount of time.
        """
        return self._wait_for(self.town.obey(order), _ORDER_S)

    def rest(self, limit_s: float = 10.0) -> None:
        """Wait until no post office has anything left to do before the clock moves.

        Raises:
            TimeoutError: they are still busy after *limit_s*.
        """
        self._wait_for(self.town.rest(), limit_s)

    def _way_out(self, place: Place) -> Network:
        """Give the network as a site's MTA client sees it: mail comes from the site's own address."""
        from mailprobe.net.labs import inside
        from mailprobe.net.network import Network
        from mailprobe.net.network import Reach as Way

        source = place.address if self._own_addresses else None
        way = Way(source=source, families=(4,), ehlo_name=place.host, connections_per_port=_CONNECTIONS)
        return Network(inside(way, self))

    def _hang_up(self, domain: str) -> None:
        for listener in self._clients.get(domain, ()):
            listener.abort()

    # Ports

    def _open(self, place: Place, port: int) -> Endpoint:
        """Bind one port of one host."""
        behaviour = Behaviour(place, port)
        bound = bind(*self._real(place.address, port))
        endpoint: Endpoint = bound.getsockname()[:2]
        if behaviour.reach is Reach.OPEN:
            bound.listen()
            self._hand_over(bound, self._listener(behaviour))
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

        domain = behaviour.domain
        at_post = behaviour.post is not None
        listener = Listener(
            behaviour.core(partial(self.town.store, domain) if at_post else lambda: self._mail),
            plan=behaviour.plan,
            context=partial(behaviour.context, self._authority),
            implicit=behaviour.implicit,
            flight_delay_s=self._delay_s,
            subscribe=self._news_of(behaviour),
            accept=partial(self.town.accept, domain) if at_post else None,
            idle_s=_PATIENCE_S if at_post else 60.0,
        )
        self._listeners.append(listener)
        if at_post:
            self._clients.setdefault(domain, []).append(listener)
        return listener

    def _news_of(self, behaviour: Behaviour) -> Subscribe | None:
        """Give what tells a server of new mail; only IMAP has something to say unasked."""
        if behaviour.post is None:
            return self._mail.subscribe
        return partial(self.town.subscribe, behaviour.domain) if behaviour.tells_news else None

    def _hand_over(self, bound: socket.socket, listener: Listener) -> None:
        """Have the loop accept at a port. One call takes over all that gather: whoever binds everything does not
        wake the loop for each port.
        """
        self._unserved.append((bound, listener))
        if len(self._unserved) == 1:
            self._loop.call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        """Let the loop accept at the ports that were handed over; runs in the lab's thread."""
        with self._lock:
            taken, self._unserved = self._unserved, []
        for bound, listener in taken:
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

    def _wait_for(self, coroutine: Coroutine[Any, Any, Result], limit_s: float = _STOP_S) -> Result:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError:
            future.cancel()
            raise

    async def _close(self) -> None:
        if "town" in self.__dict__:  # first: its MTA clients ask the DNS and the servers
            await self.town.close()
        self._dns.close()
        for server in await asyncio.gather(*self._servers):
            server.close()
        for _ in range(_STOP_ROUNDS):  # what was just accepted becomes a connection only after some rounds
            for listener in self._listeners:
                listener.abort()
            await asyncio.sleep(0)
        await _end_the_rest()


async def _end_the_rest() -> None:
    """End what nobody waits for any more, such as a question to the DNS that was under way."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.sleep(0)


def _say_nothing(_text: str) -> None:
    """Complain to nobody: whoever started the lab has no ear for it."""


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
