"""From what a user names to evidence: the domain, its hosts, every address, every port, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from mailprobe import __version__
from mailprobe.collect import lookups
from mailprobe.collect.probes import probe_legacy, probe_nameless, probe_starttls
from mailprobe.collect.survey import Door, Notes, session, survey
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import (
    SCHEMA,
    Address,
    Answer,
    Domain,
    Evidence,
    Host,
    Kind,
    Session,
    Settings,
    Stage,
    Status,
    Target,
    Trouble,
)
from mailprobe.model.names import domain_name, host_and_port, is_address
from mailprobe.model.ports import SEVEN_PORTS, WELL_KNOWN, Port, Protocol, Service
from mailprobe.net.dns.question import Question
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.smtp.client import server_name

# Connections go where a zone says: so many hosts and addresses are asked, the others are named as not asked.
HOSTS_LIMIT = 20
ADDRESSES_LIMIT = 16


class Wish(msgspec.Struct, frozen=True):
    """One target as the user gave it: a domain to follow, or a host, with the ports to ask there."""

    asked: str
    name: str
    follow_mx: bool
    ports: tuple[Port, ...]


class Depth(msgspec.Struct, frozen=True):
    """How much to ask: *probes* for the facts that need connections of their own, *names* for reverse DNS.

    *thorough* asks STARTTLS ports, too, whether they take old TLS versions.
    """

    probes: bool = True
    names: bool = True
    thorough: bool = False


GLANCE = Depth(probes=False, names=False)


def parse_target(text: str, ports: tuple[Port, ...] | None = None, *, follow_mx: bool = True) -> Wish:
    """Read a target: a domain, whose MX is followed; an address or ``host:port``, which is asked itself.

    *ports* are those the user listed, None for the seven. A listed port may say what service ``host:port`` has.

    Raises:
        UsageError: no name, no address, no port, or a port that contradicts the list.
    """
    name, number = host_and_port(text)
    if number is None:
        return Wish(text, name, follow_mx and not is_address(name), ports or SEVEN_PORTS)
    if ports is None:
        return Wish(text, name, False, (Port(number, WELL_KNOWN.get(number, Service.UNKNOWN)),))
    listed = tuple(port for port in ports if port.number == number)
    if not listed:
        raise UsageError(f"{text!r} asks port {number}, which --ports does not list; give one or the other")
    return Wish(text, name, False, listed)


async def collect(network: Network, wishes: Sequence[Wish], depth: Depth) -> Evidence:
    """Gather evidence about every target, side by side; never raises for anything a server does."""
    started = network.now()
    targets = await asyncio.gather(*(_target(network, wish, depth) for wish in wishes))
    await network.parted()
    reach = network.reach
    settings = Settings(
        resolver=reach.resolver,
        ehlo_name=reach.ehlo_name or "address literal",
        internal_networks=reach.internal_networks,
        ports=tuple(dict.fromkeys(port.number for wish in wishes for port in wish.ports)),
        thorough=depth.thorough,
    )
    return Evidence(
        schema=SCHEMA, mailprobe=__version__, collected_at=started, settings=settings, targets=tuple(targets)
    )


async def _target(network: Network, wish: Wish, depth: Depth) -> Target:
    domain: Domain | None = None
    if wish.follow_mx:
        (road,) = await lookups.roads(network, [wish.name])
        domain, hosts = road.domain, road.hosts
    else:
        hosts = (await lookups.host(network, wish.name),)
    deadline = Deadline(network.limits.target_s)
    asked = (_host(network, host, wish.ports, depth, deadline) for host in hosts[:HOSTS_LIMIT])
    finished = (*await asyncio.gather(*asked), *hosts[HOSTS_LIMIT:])
    return Target(asked=wish.asked, domain=domain, hosts=finished, trouble=_trouble(domain, hosts))


def _trouble(domain: Domain | None, hosts: Sequence[Host]) -> Trouble | None:
    """Say why there was nobody to ask, when there was nobody."""
    if any(host.addresses for host in hosts):
        return None
    answers = [domain.mx, *domain.implicit] if domain else []
    answers += [answer for host in hosts for answer in host.answers]
    if any(answer.status is Status.ANSWERED for answer in answers if answer.type != "MX"):
        detail = "no address of the family asked for (-4, -6)"
        return Trouble(stage=Stage.RESOLVE, kind=Kind.LOCAL, detail=detail)
    telling = next((answer for answer in answers if answer.status is not Status.ANSWERED), None)
    if telling is None:
        return None
    kind, words = _NO_ADDRESS[telling.status]
    extra = f" ({telling.detail})" if telling.detail else ""
    return Trouble(stage=Stage.RESOLVE, kind=kind, detail=f"{telling.name} {telling.type}: {words}{extra}")


_NO_ADDRESS = {
    Status.NXDOMAIN: (Kind.REJECTED, "there is no such name (NXDOMAIN)"),
    Status.NODATA: (Kind.REJECTED, "there is no such record (NODATA)"),
    Status.SERVFAIL: (Kind.TEMPORARY, "the resolver failed (SERVFAIL)"),
    Status.REFUSED: (Kind.TEMPORARY, "the resolver refused (REFUSED)"),
    Status.TIMEOUT: (Kind.TIMEOUT, "the resolver did not answer"),
    Status.FAILED: (Kind.TEMPORARY, "the resolver gave no usable answer"),
}


async def _host(network: Network, host: Host, ports: tuple[Port, ...], depth: Depth, deadline: Deadline) -> Host:
    chosen, others = host.addresses[:ADDRESSES_LIMIT], host.addresses[ADDRESSES_LIMIT:]
    tasks = (_address(network, host.name, address.address, ports, depth, deadline) for address in chosen)
    addresses = (*await asyncio.gather(*tasks), *others)
    greeted_as = await _greeted_as(network, addresses) if depth.names else ()
    return msgspec.structs.replace(host, addresses=addresses, greeted_as=greeted_as)


async def _address(
    network: Network, host: str, address: str, ports: tuple[Port, ...], depth: Depth, deadline: Deadline
) -> Address:
    doors = [Door(host, address, port) for port in ports]
    sessions = asyncio.gather(*(_session(network, door, depth, deadline) for door in doors))
    if not depth.names:
        return Address(address=address, reverse=None, forward=(), sessions=tuple(await sessions))
    (reverse, forward), found = await asyncio.gather(lookups.reverse(network, address), sessions)
    return Address(address=address, reverse=reverse, forward=forward, sessions=tuple(found))


async def _session(network: Network, door: Door, depth: Depth, deadline: Deadline) -> Session:
    if not depth.probes or door.port.service.protocol is Protocol.UNKNOWN:
        return session(door, await survey(network, door, deadline))
    first = asyncio.ensure_future(survey(network, door, deadline))
    if door.port.service.implicit_tls:
        notes = await _with_implicit_probes(network, door, deadline, first)
    else:
        notes = await _with_starttls_probes(network, door, deadline, first)
    if notes.tls is not None and (door.port.service.implicit_tls or depth.thorough) and not notes.answered_in_clear:
        notes.legacy = await probe_legacy(network, door, deadline)
    return session(door, notes)


async def _with_implicit_probes(
    network: Network, door: Door, deadline: Deadline, first: asyncio.Future[Notes]
) -> Notes:
    nameless = probe_nameless(network, door, deadline)
    notes, (tls, trouble) = await asyncio.gather(first, nameless)
    if tls is not None and _turned_away(notes):
        notes = await survey(network, door, deadline)
    if notes.tls is not None and not notes.answered_in_clear:
        notes.nameless, notes.nameless_trouble = tls, trouble
    return notes


async def _with_starttls_probes(
    network: Network, door: Door, deadline: Deadline, first: asyncio.Future[Notes]
) -> Notes:
    notes, second = await asyncio.gather(first, probe_starttls(network, door, deadline))
    if not second.turned_away and _turned_away(notes):
        notes = await survey(network, door, deadline)
    if notes.tls is None or not notes.offers_starttls:
        return notes
    if second.turned_away:
        second = await probe_starttls(network, door, deadline)
    if second.refused_in_transaction:
        second = await probe_starttls(network, door, deadline, transaction=False)
    notes.injection = second.injection
    notes.nameless, notes.nameless_trouble = second.nameless, second.nameless_trouble
    if second.nameless is None and second.injection is not None and second.injection.trouble is None:
        notes.nameless, notes.nameless_trouble = await probe_nameless(network, door, deadline)
    return notes


def _turned_away(notes: Notes) -> bool:
    """Tell whether a server that lets in one of us at a time let in the other one: then it is our turn now."""
    trouble = notes.trouble
    return trouble is not None and trouble.stage in {Stage.CONNECT, Stage.GREETING} and trouble.kind in _CROWDED


_CROWDED = {Kind.TEMPORARY, Kind.REJECTED, Kind.CLOSED, Kind.RESET, Kind.REFUSED}


async def _greeted_as(network: Network, addresses: Sequence[Address]) -> tuple[Answer, ...]:
    """Look up the names by which the SMTP servers of a host go, when they are names at all."""
    names = dict.fromkeys(
        name for address in addresses for found in address.sessions if (name := _greeting_name(found)) is not None
    )
    questions = [Question(name, kind) for name in names for kind in ("A", "AAAA")]
    return tuple(await network.resolve(questions))


def _greeting_name(found: Session) -> str | None:
    if found.greeting is None or found.speaks != "smtp" or not found.greeting.status.startswith("2"):
        return None
    name = server_name(found.greeting)
    try:
        return domain_name(name) if "." in name and not is_address(name.strip("[]")) else None
    except UsageError:
        return None
