"""From sites to zones: who lives at which loopback address, and what the DNS says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mailprobe.lab.dns_zones import Zones, reverse_name
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import SUFFIX, Site

NETWORK = "127.53.0.0/16"
NETWORK_6 = "fd53::/16"  # IPv6 addresses here stand for the IPv4 address in their last 32 bits
DNS_ADDRESS = "127.53.0.53"
_PER_BLOCK = 250  # hosts live from 127.53.1.1 on; .0 and .255 stay free
_LETTERS = "abc"

Records = dict[tuple[str, str], tuple[str, ...]]

# The domains of the manual's own examples, as it shows them.
NAMED_SITES = (
    Site(domain="google.com", zone={"@ MX": ("10 smtp.google.com.",), "mx A": (), "smtp A": ("{a}",)}),
    Site(
        domain="pens.ac.id",
        zone={
            "@ MX": ("10 pmg2.pens.ac.id.", "20 mail.pens.ac.id.", "30 pmg.pens.ac.id."),
            "mx A": (),
            "pmg2 A": ("{a}",),
            "mail A": ("{b}",),
            "pmg A": ("{c}",),
        },
        addresses=3,
    ),
)

# The two ends of the road of a letter.
POST_SITES = (
    Site(
        domain=f"sender.{SUFFIX}",
        post=PostSite(
            users={"alice": "secret", "amir": "secret"},
            aliases="postmaster: alice\nabuse: alice\n",  # RFC 5321 §4.5.1, RFC 2142
        ),
    ),
    Site(
        domain=f"receiver.{SUFFIX}",
        post=PostSite(
            users={"bob": "secret", "carol": "secret", "dave": "secret"},
            aliases="postmaster: bob\nabuse: bob\nteam: bob, carol\n",
        ),
    ),
)


class Place(msgspec.Struct, frozen=True):
    """One IPv4 address of a site: the *number*-th.

    *names* are all the names that lead there, the host's own first; a healthy certificate is for all of them.
    """

    site: Site
    number: int
    address: str
    names: tuple[str, ...]

    @property
    def host(self) -> str:
        """What the host calls itself."""
        return self.names[0]


def settle(sites: Iterable[Site], zones: Zones) -> dict[str, Place]:
    """Give each site its addresses and write its records; give the places by address, IPv6 ones too."""
    _write_frame(zones)
    places: dict[str, Place] = {}
    addresses = _addresses()
    for site in sites:
        own = tuple(next(addresses) for _ in range(site.addresses))
        records = _records(site, own)
        for number, address in enumerate(own):
            places[address] = Place(site, number, address, _names(site, records, address))
        places.update(_places_6(records, places))
        _write(site, records, own, zones)
    return places


def fill(text: str, domain: str, addresses: tuple[str, ...]) -> str:
    """Put a site's domain and addresses into a text of its description."""
    text = text.replace("{d}", domain)
    for letter, address in zip(_LETTERS, addresses, strict=False):
        text = text.replace(f"{{{letter}}}", address)
    return text


def _addresses() -> Iterator[str]:
    for number in range(_PER_BLOCK * 254):
        block, host = divmod(number, _PER_BLOCK)
        yield f"127.53.{1 + block}.{1 + host}"


def _write_frame(zones: Zones) -> None:
    """Write what is there beside the sites: the zones themselves and localhost."""
    for origin in (SUFFIX, "google.com", "pens.ac.id", "53.127.in-addr.arpa"):
        zones.add_zone(origin, nameserver=f"ns.{SUFFIX}")
    zones.add_address(f"ns.{SUFFIX}", DNS_ADDRESS)
    zones.add_address("localhost", "127.0.0.1")


def _records(site: Site, own: tuple[str, ...]) -> Records:
    """Give a site's records by relative owner and type, the healthy ones first."""
    texts = {"@ MX": ("10 mx.{d}.",), "@ A": ("{a}",), "mx A": ("{a}",), **site.zone}
    records: Records = {}
    for key, data in texts.items():
        owner, _, kind = fill(key, site.domain, own).partition(" ")
        records[owner, kind] = tuple(fill(text, site.domain, own) for text in data)
    return records


def _names(site: Site, records: Records, address: str) -> tuple[str, ...]:
    """Give the names of the host at an address: its own, the domain, and the aliases."""
    owners = [owner for (owner, kind), data in records.items() if kind == "A" and address in data]
    aliases = [owner for owner, kind in records if kind == "CNAME"]
    hosts = [owner for owner in owners if owner != "@"] or ["mx"]
    return tuple(dict.fromkeys(_absolute(owner, site.domain) for owner in (*hosts, "@", *aliases)))


def _places_6(records: Records, places: dict[str, Place]) -> dict[str, Place]:
    """Give the places with an IPv6 address; loopback has only one of those, so they stand for IPv4 ones."""
    texts = [text for (_, kind), data in records.items() if kind == "AAAA" for text in data]
    if not texts:
        return {}
    import ipaddress

    numbers = [ipaddress.IPv6Address(text) for text in texts]
    behind = {str(number): str(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)) for number in numbers}
    return {address: places[other] for address, other in behind.items() if other in places}


def _write(site: Site, records: Records, own: tuple[str, ...], zones: Zones) -> None:
    for address in own:
        records.setdefault((address, "PTR"), (f"{_names(site, records, address)[0]}.",))
    for (owner, kind), data in records.items():
        if data:
            zones.add(_absolute(owner, site.domain), kind, *data, ttl=site.ttl)
    for key, fault in site.faults.items():
        owner, _, kind = fill(key, site.domain, own).partition(" ")
        zones.set_fault(_absolute(owner, site.domain), fault, kind)


def _absolute(owner: str, domain: str) -> str:
    if owner == "@":
        return domain
    if ":" in owner or owner.replace(".", "").isdigit():
        return reverse_name(owner)
    return f"{owner}.{domain}"
