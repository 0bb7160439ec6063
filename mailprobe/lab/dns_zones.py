"""The lab's name space: records as text, an authoritative lookup over them, and what goes wrong on the wire.

All zones live in one table, because the responder plays the resolver as well: an alias is followed wherever it
leads, and whatever the lab does not know does not exist. Names are lower-case text without the final dot; the
root is the empty string.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

HOUR = 3600
ALIAS_LIMIT = 16  # a longer chain, or a loop, is SERVFAIL as it is at Unbound and BIND


class Fault(StrEnum):
    """What the responder does to an answer instead of just sending it."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    BOGUS = "bogus"  # SERVFAIL as from a validating resolver, an answer when the client sets CD (RFC 4035 §3.2.2)
    SILENT = "silent"
    DROP_FIRST = "drop-first"  # every other UDP packet is lost, beginning with the first
    TRUNCATED = "truncated"  # UDP says TC, TCP answers
    TRUNCATED_TCP_RESET = "truncated-tcp-reset"  # UDP says TC, TCP is reset at the question
    WRONG_ID = "wrong-id"  # a forged NXDOMAIN with another message id comes first
    WRONG_QUESTION = "wrong-question"  # a forged NXDOMAIN to another question comes first
    EDNS_FORMERR = "edns-formerr"  # FORMERR to any query with an OPT record (RFC 6891 §7)
    AUTHORITATIVE = "authoritative"  # no fault: the answer comes with AA, as from the zone's own server
    GARBAGE = "garbage"  # the right id, and nothing else that makes sense


class Rrset(NamedTuple):
    """All records of one name and type, data in presentation form."""

    owner: str
    type: str
    ttl: int
    data: tuple[str, ...]


class Found(NamedTuple):
    """An answer and an authority section with their rcode, all as text."""

    rcode: str
    answer: tuple[Rrset, ...]
    authority: tuple[Rrset, ...]


class Zones:
    """A set of zones and the faults of their names."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Rrset]] = {"": {}}
        self._origins: list[str] = []
        self._faults: dict[tuple[str, str], Fault] = {}
        self.add_zone("", nameserver="ns.lab.test")

    def add_zone(self, origin: str, *, nameserver: str) -> None:
        """Begin a zone: its SOA and NS records. Zones may lie inside each other."""
        soa = f"{nameserver}. hostmaster.{nameserver}. 1 7200 900 1209600 300"
        self.add(origin, "SOA", soa)
        self.add(origin, "NS", f"{nameserver}.")
        self._origins.append(origin)
        self._origins.sort(key=len, reverse=True)

    def add(self, name: str, kind: str, *data: str, ttl: int = HOUR) -> None:
        """Add records of one type to a name; a later call for the same name and type adds to them."""
        node = self._node(name.lower())
        known = node.get(kind)
        node[kind] = Rrset(name.lower(), kind, ttl, (known.data if known else ()) + data)

    def add_address(self, name: str, address: str, *, reverse: bool = True) -> None:
        """Add an A or AAAA record and, when *reverse*, the PTR record that leads back."""
        if ":" not in address:
            self.add(name, "A", address)
        else:
            self.add(name, "AAAA", address)
        if reverse:
            self.add(reverse_name(address), "PTR", f"{name}.")

    def addresses(self) -> set[str]:
        """Give every address that some name has, IPv6 ones in their usual form (RFC 5952)."""
        import ipaddress

        rrsets = (node[kind] for node in self._nodes.values() for kind in ("A", "AAAA") if kind in node)
        return {str(ipaddress.ip_address(text)) for rrset in rrsets for text in rrset.data}

    def set_fault(self, name: str, fault: Fault, kind: str = "") -> None:
        """Give a name a wire fault, for one record type or (empty *kind*) for all."""
        self._node(name.lower())
        self._faults[name.lower(), kind] = fault

    def fault(self, name: str, kind: str) -> Fault | None:
        """Give the fault of a name and type, if there is one."""
        return self._faults.get((name, kind)) or self._faults.get((name, ""))

    def lookup(self, name: str, kind: str) -> Found:
        """Answer a question as a resolver would: aliases followed, SOA with every negative answer (RFC 2308)."""
        chain: list[Rrset] = []
        for _ in range(ALIAS_LIMIT):
            node = self._nodes.get(name)
            if node is None:
                return Found("NXDOMAIN", tuple(chain), self._authority(name))
            found = tuple(node.values()) if kind == "ANY" else (node[kind],) if kind in node else ()
            if found:
                return Found("NOERROR", (*chain, *found), ())
            alias = node.get("CNAME")
            if alias is None:
                return Found("NOERROR", tuple(chain), self._authority(name))
            chain.append(alias)
            name = alias.data[0].rstrip(".").lower()
        return Found("SERVFAIL", (), ())

    def _node(self, name: str) -> dict[str, Rrset]:
        """Give the node of a name, made together with every empty name above it (RFC 8020 §2)."""
        parent = name
        while parent not in self._nodes:
            self._nodes[parent] = {}
            parent = parent.partition(".")[2]
        return self._nodes[name]

    def _authority(self, name: str) -> tuple[Rrset, ...]:
        origin = next(zone for zone in self._origins if not zone or name == zone or name.endswith("." + zone))
        soa = self._nodes[origin]["SOA"]
        minimum = int(soa.data[0].rpartition(" ")[2])
        return (soa._replace(ttl=min(soa.ttl, minimum)),)


def reverse_name(address: str) -> str:
    """Give the name under which the PTR record of an address lives (RFC 1035 §3.5, RFC 3596 §2.5)."""
    if ":" not in address:
        return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    import ipaddress

    return ipaddress.ip_address(address).reverse_pointer
