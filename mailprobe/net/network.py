"""`Network`: the one seam to the world, and the one thing that is handed around.

A lab is reached through the same class with another resolver, trust anchors and port map; nothing in here asks
whether there is one.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mailprobe.model.errors import NetworkError, UsageError
from mailprobe.model.evidence import Answer, Kind, Trust
from mailprobe.model.names import address_family
from mailprobe.net.dns.local import local_answer
from mailprobe.net.dns.question import Question
from mailprobe.net.dns.servers import Server, parse_resolver
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline, Limits

if TYPE_CHECKING:
    import asyncio

    from mailprobe.net.dns.lookup import Lookup
    from mailprobe.net.stream import Stream
    from mailprobe.net.trust import TrustStore

CONNECTIONS_PER_PORT = 2
IN_FLIGHT = 200  # connections and questions at once: a domain may name thousands of exchangers, files are fewer
Result = TypeVar("Result")
Route = Callable[[str, int], tuple[str, int]]


def direct(address: str, port: int) -> tuple[str, int]:
    """Go where the name says: the route of the real world."""
    return address, port


class Reach(msgspec.Struct, frozen=True):
    """How a network reaches the world.

    *resolver* as `mailprobe.net.dns.servers.parse_resolver` reads it; *source* the local address to connect
    from, None for the system's choice; *families* ``(4, 6)`` or one of them; *ca_file* trust anchors in place
    of the system's; *route* maps an address and port to where they really listen; *internal_networks* are CIDR
    ranges whose addresses are no mistake here; *ehlo_name* is None for the address literal of each connection.
    *connections_per_port* bounds what one server sees of us at once. *clock* gives the time of day, None for this
    machine's own.
    """

    resolver: str = "system"
    source: str | None = None
    families: tuple[int, ...] = (4, 6)
    ca_file: Path | None = None
    route: Route = direct
    internal_networks: tuple[str, ...] = ()
    ehlo_name: str | None = None
    limits: Limits = Limits()
    connections_per_port: int = CONNECTIONS_PER_PORT
    clock: Callable[[], datetime] | None = None

    @property
    def source_family(self) -> int | None:
        """4 or 6 where a source address is given."""
        return address_family(self.source) if self.source is not None else None


class Network:
    """Resolve, connect and verify, with one cache, one trust store and one set of limits for a run."""

    def __init__(self, reach: Reach) -> None:
        """Check what can be checked without sending anything.

        Raises:
            UsageError: the resolver or the source address is none, or the file with trust anchors is not there.
        """
        self.reach = reach
        self.limits = reach.limits
        self._servers: tuple[Server, ...] | None = None
        self._answers: dict[Question, Answer] = {}
        self._pending: dict[Question, asyncio.Future[Answer]] = {}
        self._slots: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._gate: asyncio.Semaphore | None = None
        self._under_way: list[tuple[str, int]] = []
        self._trust: TrustStore | None = None
        self._partings: set[asyncio.Task[None]] = set()
        if reach.resolver != "system":
            self._servers = parse_resolver(reach.resolver)
        if reach.source is not None:
            _check_source(reach.source)
        if reach.ca_file is not None and not reach.ca_file.is_file():
            raise UsageError(f"--ca-file {reach.ca_file}: there is no such file")

    # -- resolve -----------------------------------------------------------------------------------------------

    @property
    def servers(self) -> tuple[Server, ...]:
        """The resolvers in use.

        Raises:
            UsageError: the resolver given is none, or the system has none.
        """
        if self._servers is None:
            self._servers = parse_resolver(self.reach.resolver)
        return self._servers

    async def resolve(self, questions: Iterable[Question]) -> list[Answer]:
        """Ask all questions side by side, each at most once a run, and give the answers in order.

        A negative answer is an answer. Without a running event loop the sockets block: see `run_blocking`.
        """
        wanted = list(questions)
        for question in wanted:
            local = local_answer(question)
            if local is not None:
                self._answers[question] = local
        missing = [question for question in dict.fromkeys(wanted) if question not in self._answers]
        if missing:
            await self._ask(missing)
        return [self._answers[question] for question in wanted]

    async def _ask(self, questions: list[Question]) -> None:
        if _loop_is_running():
            await self._ask_concurrently(questions)
            return
        from mailprobe.net.dns import blocking

        answers = blocking.run([self._lookup(question) for question in questions])
        self._answers.update(zip(questions, answers, strict=True))

    async def _ask_concurrently(self, questions: list[Question]) -> None:
        import asyncio

        await asyncio.gather(*(self._ask_once(question) for question in questions))

    async def _ask_once(self, question: Question) -> None:
        """Ask, or wait for whoever is asking the same."""
        import asyncio

        from mailprobe.net.dns import concurrent

        task = self._pending.get(question)
        if task is None:
            ca_file = str(self.reach.ca_file) if self.reach.ca_file else None
            task = asyncio.ensure_future(self._within_gate(lambda: concurrent.run(self._lookup(question), ca_file)))
            self._pending[question] = task
            task.add_done_callback(lambda _: self._pending.pop(question))
        self._answers[question] = await asyncio.shield(task)  # one who gives up must not stop it for the others

    async def _within_gate(self, asking: Callable[[], Coroutine[object, object, Result]]) -> Result:
        async with self._open_gate():
            return await asking()

    def _open_gate(self) -> asyncio.Semaphore:
        import asyncio

        if self._gate is None:
            self._gate = asyncio.Semaphore(IN_FLIGHT)
        return self._gate

    def _lookup(self, question: Question) -> Lookup:
        from mailprobe.net.dns.lookup import lookup

        return lookup(question, self.servers, try_s=self.limits.lookup_try_s, total_s=self.limits.lookup_s)

    @property
    def needs_loop(self) -> bool:
        """True when the resolver can only be asked on an event loop."""
        return any(server.transport != "udp" for server in self.servers)

    # -- connect -----------------------------------------------------------------------------------------------

    async def connect(
        self, address: str, port: int, deadline: Deadline, octets_limit: int = SESSION_OCTETS_LIMIT
    ) -> Stream:
        """Connect to a port, when fewer connections to it are open than the reach allows; closing one frees its place.

        Waiting for a free place is bounded by the deadline, connecting by the limit for it, too. *octets_limit* is
        what the server may send in all, until `Stream.allow` says more.

        Raises:
            NetworkError: LOCAL when no place came free in time, else as `mailprobe.net.stream.open_stream`.
        """
        import asyncio

        from mailprobe.net.stream import open_stream

        source = self.reach.source
        if source is not None and address_family(source) != address_family(address):
            raise NetworkError(Kind.LOCAL, f"the source address {source} is of the other address family")
        slot = self._slots.setdefault((address, port), asyncio.Semaphore(self.reach.connections_per_port))
        gate = self._open_gate()
        await _enter(slot, gate, deadline)
        self._under_way.append((address, port))

        def leave() -> None:
            self._under_way.remove((address, port))
            gate.release()
            slot.release()

        try:
            limit_s = deadline.remaining(self.limits.connect_s)
            real_address, real_port = self._way_to(address, port)
            return await open_stream(
                real_address, real_port, source=source, limit_s=limit_s, on_close=leave, octets_limit=octets_limit
            )
        except BaseException:
            leave()
            raise

    async def connect_socket(self, path: str, deadline: Deadline, octets_limit: int = SESSION_OCTETS_LIMIT) -> Stream:
        """Connect to a unix socket of this machine.

        Raises:
            NetworkError: as `mailprobe.net.stream.open_socket`.
        """
        from mailprobe.net.stream import open_socket

        limit_s = deadline.remaining(self.limits.connect_s)
        return await open_socket(path, limit_s=limit_s, octets_limit=octets_limit)

    def _way_to(self, address: str, port: int) -> tuple[str, int]:
        try:
            return self.reach.route(address, port)
        except OSError as error:  # a lab that cannot bind, for want of files mostly
            raise NetworkError(Kind.LOCAL, f"this machine could not: {error.strerror or error}") from None

    @property
    def waiting_for(self) -> list[str]:
        """Name the ports that a conversation is going on with, as ``address:port``."""
        return [f"{address}:{port}" for address, port in dict.fromkeys(self._under_way)]

    def part(self, stream: Stream, limit_s: float) -> None:
        """Close a stream once the server has answered our goodbye, after *limit_s* at the latest.

        Nobody has to wait for it, but `parted` must be awaited before the event loop ends.
        """
        import asyncio

        parting = asyncio.ensure_future(_part(stream, limit_s))
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)

    async def parted(self) -> None:
        """Wait until every goodbye is said."""
        import asyncio

        await asyncio.gather(*self._partings)

    def serves_family(self, address: str) -> bool:
        """Tell whether the user wants addresses of this family asked; a source address decides it, too."""
        family = address_family(address)
        return family in self.reach.families and self.reach.source_family in {None, family}

    def ehlo_name(self, stream: Stream) -> str:
        """Give the name to introduce ourselves by: the user's, or our address literal (RFC 5321 §4.1.4)."""
        if self.reach.ehlo_name:
            return self.reach.ehlo_name
        address = stream.local_address.partition("%")[0]
        if not address:
            return "localhost"  # over a unix socket there is no address
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    # -- verify ------------------------------------------------------------------------------------------------

    def verify(self, chain: tuple[bytes, ...]) -> Trust:
        """Say what the trust store thinks of a chain, now. See `mailprobe.net.trust.TrustStore.verify`."""
        return self.trust.verify(chain, self.now())

    @property
    def trust(self) -> TrustStore:
        """The trust store; made when a certificate is first to be judged, loaded by its own `load`."""
        from mailprobe.net.trust import TrustStore

        if self._trust is None:
            self._trust = TrustStore(self.reach.ca_file)
        return self._trust

    def now(self) -> datetime:
        """The time of day; the only clock that evidence is stamped with."""
        return self.reach.clock() if self.reach.clock is not None else datetime.now(UTC)


async def _enter(slot: asyncio.Semaphore, gate: asyncio.Semaphore, deadline: Deadline) -> None:
    """Wait for a place at a port and for one in the whole run, or for neither."""
    import asyncio

    try:
        async with asyncio.timeout(deadline.remaining(3_600.0)):
            await slot.acquire()
            try:
                await gate.acquire()
            except BaseException:
                slot.release()
                raise
    except TimeoutError:
        text = "not asked: the time for this target was spent on its other hosts and ports"
        raise NetworkError(Kind.LOCAL, text) from None


async def _part(stream: Stream, limit_s: float) -> None:
    try:
        await stream.read(limit_s)
    except NetworkError:
        pass  # nothing that happens here matters any more
    finally:
        stream.close()


def run_blocking(coroutine: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine that only resolves, without an event loop: on blocking sockets it never waits for one."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for an event loop")


def _loop_is_running() -> bool:
    """Tell whether an event loop runs, without importing one to find out."""
    if "asyncio" not in sys.modules:
        return False
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_source(source: str) -> None:
    family = address_family(source)
    if family is None:
        raise UsageError(f"--source {source!r} is no IP address")
    try:
        with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6) as channel:
            channel.bind((source, 0))
    except OSError as error:
        raise UsageError(f"--source {source}: this machine cannot use that address ({error.strerror})") from None
