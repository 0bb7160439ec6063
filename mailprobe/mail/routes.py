"""Where a letter goes: to one server, to the exchangers of each recipient's domain, or through a unix socket.

A route is what the user asks for; `legs` makes of it the places to try, in order, for which recipients.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import groupby

import msgspec

from mailprobe.collect.lookups import Road, host, roads
from mailprobe.model.conversation import Place, Security
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Answer, Host, Status
from mailprobe.model.names import domain_name, host_and_port, is_address
from mailprobe.model.ports import WELL_KNOWN, Service
from mailprobe.model.sending import Outcome
from mailprobe.net.network import Network
from mailprobe.records.mx import exchangers, is_null

SUBMISSION_PORT, SUBMISSIONS_PORT, MX_PORT = 587, 465, 25
HOSTS_LIMIT = 10  # of one domain; those behind them are backups of backups
PLACES_LIMIT = 20  # addresses of one domain
_NO_MAIL_HOST = "5.4.4"


class Server(msgspec.Struct, frozen=True):
    """One server by name or address: a submission server as a rule, or one that speaks LMTP."""

    host: str
    port: int
    security: Security
    lmtp: bool = False


class Exchangers(msgspec.Struct, frozen=True):
    """The mail exchangers of each recipient's domain (RFC 5321 §5.1)."""

    security: Security = Security.OPPORTUNISTIC
    port: int = MX_PORT


class Socket(msgspec.Struct, frozen=True):
    """A unix socket behind which a server speaks SMTP or LMTP."""

    path: str
    lmtp: bool = False


Route = Server | Exchangers | Socket


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """The places to try, in order, for some of the recipients. Without places *outcome* and *detail* say why."""

    recipients: tuple[str, ...]
    places: tuple[Place, ...]
    outcome: Outcome = Outcome.NOT_SENT
    detail: str = ""


def server(text: str, security: Security | None = None, *, lmtp: bool = False) -> Server:
    """Read ``host``, ``host:port`` or an address as a server to hand letters to.

    Without a port it is 587, or 465 with ``tls``; LMTP has none of its own. Without *security* it is what the port is
    for: TLS at 465, opportunistic at 25 and for LMTP, else STARTTLS.

    Raises:
        UsageError: no host, or no port.
    """
    name, port = host_and_port(text)
    if name == "." or "*" in name:
        raise UsageError(f"{text!r} is no host")
    if port is None and lmtp:
        raise UsageError(f"LMTP has no port of its own; write {name}:24, or the path of a socket")
    number = port or (SUBMISSIONS_PORT if security is Security.TLS else SUBMISSION_PORT)
    return Server(name, number, security or _usual(number, lmtp=lmtp), lmtp)


def _usual(port: int, *, lmtp: bool) -> Security:
    if lmtp or port == MX_PORT:
        return Security.OPPORTUNISTIC
    return Security.TLS if port == SUBMISSIONS_PORT else Security.STARTTLS


async def legs(network: Network, route: Route, recipients: tuple[str, ...]) -> tuple[Leg, ...]:
    """Find the places for all recipients, those of one domain together."""
    if isinstance(route, Socket):
        place = Place(
            host="localhost",
            address="",
            port=0,
            service=Service.SMTP,
            security=Security.CLEAR,
            lmtp=route.lmtp,
            socket=route.path,
        )
        return (Leg(recipients=recipients, places=(place,)),)
    if isinstance(route, Server):
        return (await _to_server(network, route, recipients),)
    return await _to_exchangers(network, route, recipients)


async def _to_server(network: Network, route: Server, recipients: tuple[str, ...]) -> Leg:
    found = await host(network, route.host)
    if not found.addresses:
        return Leg(recipients=recipients, places=(), detail=_no_address(found))
    service = _service(route)
    places = tuple(
        Place(
            host=route.host,
            address=each.address,
            port=route.port,
            service=service,
            security=route.security,
            lmtp=route.lmtp,
        )
        for each in found.addresses[:PLACES_LIMIT]
    )
    return Leg(recipients=recipients, places=places)


def _service(route: Server) -> Service:
    if route.security is Security.TLS:
        return Service.SUBMISSIONS
    known = WELL_KNOWN.get(route.port, Service.SUBMISSION)
    return Service.SMTP if route.lmtp or known is Service.SMTP else Service.SUBMISSION


# -- exchangers ------------------------------------------------------------------------------------------------


async def _to_exchangers(network: Network, route: Exchangers, recipients: tuple[str, ...]) -> tuple[Leg, ...]:
    domains: dict[str, list[str]] = {}
    for address in recipients:
        domains.setdefault(_domain(address), []).append(address)
    named = [domain for domain in domains if not is_address(domain)]
    found = dict(zip(named, await roads(network, named), strict=True))
    return tuple([_leg(network, route, tuple(whom), domain, found.get(domain)) for domain, whom in domains.items()])


def _domain(address: str) -> str:
    """Give the domain in A-labels, or the address in an address literal."""
    domain = address.rpartition("@")[2]
    if domain.startswith("["):
        return domain[1:-1].removeprefix("IPv6:")
    return domain_name(domain)


def _leg(network: Network, route: Exchangers, recipients: tuple[str, ...], domain: str, road: Road | None) -> Leg:
    if road is None:
        if not network.serves_family(domain):
            return Leg(recipients=recipients, places=(), detail=f"4.4.4 {domain} is of the other address family")
        return Leg(recipients=recipients, places=(_place(route, domain, domain),))
    if (refusal := _refusal(road)) is not None:
        return Leg(recipients=recipients, places=(), outcome=refusal[0], detail=refusal[1])
    places = [_place(route, each.name, address.address) for each in _in_order(road) for address in each.addresses]
    if not places:
        return Leg(recipients=recipients, places=(), detail=_no_address(*road.hosts))
    return Leg(recipients=recipients, places=tuple(places[:PLACES_LIMIT]))


def _place(route: Exchangers, name: str, address: str) -> Place:
    return Place(host=name, address=address, port=route.port, service=Service.SMTP, security=route.security)


def _in_order(road: Road) -> Iterator[Host]:
    """Give the hosts by preference, those of one preference in any order (RFC 5321 §5.1)."""
    by_name = {each.name: each for each in road.hosts}
    preferences = {each.target: each.preference for each in reversed(exchangers(road.domain.mx))}
    ranked = sorted(by_name, key=lambda name: preferences.get(name, 0))
    count = 0
    for _, names in groupby(ranked, key=lambda name: preferences.get(name, 0)):
        equal = list(names)
        random.shuffle(equal)
        for name in equal:
            if count < HOSTS_LIMIT:
                count += 1
                yield by_name[name]


def _refusal(road: Road) -> tuple[Outcome, str] | None:
    """Say why the domain's own records leave no way; None when they leave one."""
    mx, name = road.domain.mx, road.domain.name
    if is_null(mx):
        return Outcome.REFUSED, f"5.1.10 {name} takes no mail: it has a null MX (RFC 7505)"
    if mx.status is Status.NXDOMAIN:
        return Outcome.REFUSED, f"5.1.2 the domain {name} does not exist"
    if mx.status not in {Status.ANSWERED, Status.NODATA}:
        return Outcome.NOT_SENT, f"4.4.3 the MX of {name} could not be looked up: {_words(mx)}"
    if mx.status is Status.ANSWERED and not road.hosts:
        return Outcome.REFUSED, f"{_NO_MAIL_HOST} the MX records of {name} name no host"
    if mx.status is Status.NODATA and not road.hosts and _settled(road.domain.implicit):
        return Outcome.REFUSED, f"{_NO_MAIL_HOST} {name} has neither MX nor address"
    return None


def _no_address(*hosts: Host) -> str:
    answers = [answer for each in hosts for answer in each.answers]
    names = ", ".join(each.name for each in hosts[:3]) or "it"
    unsettled = next((answer for answer in answers if not _settled((answer,))), None)
    if unsettled is not None:
        return f"4.4.3 the addresses of {names} could not be looked up: {_words(unsettled)}"
    if any(answer.matching for answer in answers):
        return f"4.4.4 {names}: no address of a family that is used here"
    return f"{_NO_MAIL_HOST} {names}: no address"


def _settled(answers: tuple[Answer, ...]) -> bool:
    return all(answer.status in {Status.ANSWERED, Status.NODATA, Status.NXDOMAIN} for answer in answers)


def _words(answer: Answer) -> str:
    return answer.detail or answer.status.value
