"""Where the mail for a domain goes, host by host (RFC 5321 §5.1)."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from itertools import groupby

import msgspec

from mailprobe.model.errors import MailprobeError
from mailprobe.model.evidence import Answer, Status
from mailprobe.model.names import is_address
from mailprobe.net.dns.question import Question
from mailprobe.net.network import Network
from mailprobe.records.mx import Exchanger, exchangers, is_null

HOSTS_LIMIT = 50  # a zone may name thousands
_NO = {Status.NXDOMAIN, Status.NODATA}


class Host(msgspec.Struct, frozen=True):
    """One address to try; *name* is what its certificate is for."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name}[{self.address}]"


class RouteError(MailprobeError):
    """There is no way to a domain; *enhanced* begins with 4 where one may be found later (RFC 3463)."""

    def __init__(self, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.enhanced = enhanced


async def route(network: Network, domain: str, own: Collection[str]) -> list[Host]:
    """Give the hosts that take mail for *domain*, the first to be tried first, those of one preference in any order.

    *own* are our names and addresses: what is not nearer to the goal than we are is left out.

    Raises:
        RouteError: nobody takes mail for it, or that is not known now.
    """
    if domain.startswith("["):
        return _literal(domain, own)
    (answer,) = await network.resolve([Question(domain, "MX")])
    names = _exchangers(domain, answer, own)
    answers = await network.resolve(Question(name, kind) for name in names for kind in ("A", "AAAA"))
    found = [
        Host(name, record.data)
        for name, answer in zip(_each_twice(names), answers, strict=True)
        for record in answer.matching
        if network.serves_family(record.data)
    ]
    hosts = list(dict.fromkeys(host for host in found if host.address not in own))
    if hosts:
        return hosts
    if found:
        raise RouteError("5.4.6", f"mail for {domain} loops back to myself")
    if any(answer.status not in _NO | {Status.ANSWERED} for answer in answers):
        raise RouteError("4.4.3", f"the addresses of the exchangers of {domain} cannot be looked up now")
    raise RouteError("5.4.4", f"no exchanger of {domain} has an address")


def _literal(domain: str, own: Collection[str]) -> list[Host]:
    address = domain[1:-1].removeprefix("IPv6:")
    if not is_address(address):
        raise RouteError("5.1.2", f"{domain} is no address literal")
    if address in own:
        raise RouteError("5.4.6", f"mail for {domain} loops back to myself")
    return [Host(domain, address)]


def _exchangers(domain: str, answer: Answer, own: Collection[str]) -> list[str]:
    """Give the names of the exchangers in the order to try them in; the domain's own where it has none."""
    if answer.status is Status.NODATA:
        return [domain]
    if answer.status is Status.NXDOMAIN:
        raise RouteError("5.1.2", f"the domain {domain} does not exist")
    if answer.status is not Status.ANSWERED:
        raise RouteError("4.4.3", f"the exchangers of {domain} cannot be looked up now")
    if is_null(answer):
        raise RouteError("5.1.10", f"{domain} takes no mail (null MX)")
    found = [each for each in exchangers(answer) if not each.is_null]
    ours = [each.preference for each in found if each.target in own]
    nearer = [each for each in found if not ours or each.preference < min(ours)]
    if found and not nearer:
        raise RouteError("5.4.6", f"mail for {domain} loops back to myself")
    if not found:
        raise RouteError("5.4.4", f"no exchanger of {domain} can be understood")
    return [each.target for each in _shuffled(nearer)][:HOSTS_LIMIT]


def _shuffled(found: Iterable[Exchanger]) -> list[Exchanger]:
    order: list[Exchanger] = []
    for _, group in groupby(found, key=lambda each: each.preference):
        equals = list(group)
        random.shuffle(equals)  # RFC 5321 §5.1: spread the load across them
        order += equals
    return order


def _each_twice(names: list[str]) -> Iterable[str]:
    return (name for name in names for _ in range(2))
