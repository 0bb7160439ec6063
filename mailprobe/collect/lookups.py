"""Asks the DNS for a domain's way of mail: MX, then the addresses of every exchanger, in two round trips."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mailprobe.model.evidence import Address, Answer, Domain, Host, Status
from mailprobe.model.names import is_address, reverse_name
from mailprobe.net.dns.question import Question
from mailprobe.net.network import Network
from mailprobe.records.mx import exchangers

EXCHANGERS_LIMIT = 50  # a zone can name thousands: it does not decide how much we ask, nor of whom


class Road(msgspec.Struct, frozen=True):
    """A domain and the hosts that its mail goes to, in order of preference; no port has been asked yet."""

    domain: Domain
    hosts: tuple[Host, ...]


async def roads(network: Network, names: Sequence[str]) -> list[Road]:
    """Look up the MX of every name and the addresses of every exchanger (RFC 5321 §5.1).

    The names must be domain names as `mailprobe.model.names.domain_name` gives them. A name with no MX has
    its own addresses asked instead; a null MX (RFC 7505) leads nowhere.
    """
    answers = await network.resolve(Question(name, "MX") for name in names)
    pairs = list(zip(names, answers, strict=True))
    targets = [_targets(name, answer) for name, answer in pairs]
    await network.resolve(question for found in targets for name in found for question in _addresses(name))
    return [await _road(network, name, mx, found) for (name, mx), found in zip(pairs, targets, strict=True)]


def _targets(name: str, mx: Answer) -> list[str]:
    if mx.status is Status.NODATA:
        return [name]
    found = [exchanger.target for exchanger in exchangers(mx) if exchanger.target != "."]
    return list(dict.fromkeys(found))[:EXCHANGERS_LIMIT]


async def _road(network: Network, name: str, mx: Answer, targets: list[str]) -> Road:
    hosts = [await host(network, target) for target in targets]
    if mx.status is Status.NODATA:
        implicit = hosts[0].answers
        return Road(Domain(name=name, mx=mx, implicit=implicit), tuple(found for found in hosts if found.addresses))
    return Road(Domain(name=name, mx=mx, implicit=()), tuple(hosts))


async def host(network: Network, name: str) -> Host:
    """Give a host with its addresses; a name that is an address is its own only address."""
    if is_address(name):
        return Host(name=name, answers=(), addresses=(_bare(name),), greeted_as=())
    answers = await network.resolve(_addresses(name))
    found = dict.fromkeys(record.data for answer in answers for record in answer.matching)
    addresses = tuple(_bare(address) for address in found if network.serves_family(address))
    return Host(name=name, answers=tuple(answers), addresses=addresses, greeted_as=())


def _addresses(name: str) -> list[Question]:
    if is_address(name):
        return []
    # Both, whatever family is connected to: a host without AAAA still has an address.
    return [Question(name, kind) for kind in ("A", "AAAA")]


def _bare(address: str) -> Address:
    return Address(address=address, reverse=None, forward=(), sessions=())


async def reverse(network: Network, address: str) -> tuple[Answer, tuple[Answer, ...]]:
    """Ask the PTR of an address and the addresses of the names it gives, of the same family (RFC 8601 §2.7.3)."""
    (answer,) = await network.resolve([Question(reverse_name(address), "PTR")])
    kind = "AAAA" if ":" in address else "A"
    names = [record.data.removesuffix(".") for record in answer.matching][:REVERSE_NAMES]
    forward = await network.resolve(Question(name, kind) for name in names)
    return answer, tuple(forward)


REVERSE_NAMES = 10  # RFC 7208 §4.6.4 sets the same bound for PTR names
