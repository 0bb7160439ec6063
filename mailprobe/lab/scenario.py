"""The words in which scenarios are written: a healthy mail domain, and what it does otherwise.

In all texts of a scenario ``{d}`` stands for its domain and ``{a}``, ``{b}``, ``{c}`` for its addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from mailprobe.lab.certificates import Certificate, Offer
from mailprobe.lab.dns_zones import HOUR, Fault
from mailprobe.lab.plan import Rule
from mailprobe.lab.post.site import PostSite
from mailprobe.model.finding import Verdict

SUFFIX = "lab.test"


class Reach(StrEnum):
    """What TCP meets at a port."""

    OPEN = "open"
    REFUSED = "refused"  # bound, and nobody listens
    FILTERED = "filtered"  # SYNs are swallowed, as a firewall does it


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What some ports of a domain's hosts do otherwise than a healthy server.

    Empty *ports* means all of them, *address* None every address (0 is ``{a}``). *config* are fields of the
    protocol's server configuration; *implicit* tells whether TLS comes first, None as usual at that port.
    *nameless* is the certificate for clients that send no SNI; *needs_name* sends them away.
    """

    ports: tuple[int, ...] = ()
    address: int | None = None
    reach: Reach = Reach.OPEN
    config: Mapping[str, object] = {}
    rules: tuple[Rule, ...] = ()
    certificate: Certificate | None = None
    nameless: Certificate | None = None
    needs_name: bool = False
    offer: Offer | None = None
    implicit: bool | None = None

    def concerns(self, port: int, address: int) -> bool:
        """Tell whether the change is made at a port of an address, counted from 0."""
        return (not self.ports or port in self.ports) and self.address in (None, address)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A mail domain with its hosts.

    *zone* maps ``owner TYPE`` to records and replaces the healthy ones of that owner and type; owners are
    relative to the domain, ``@`` the domain itself; ``{a} PTR`` is the reverse name of an address. An empty tuple
    removes. *addresses* counts the loopback addresses the site has. With *post* it has a post office of its own, else
    its mail lies with that of all the others.
    """

    domain: str
    zone: Mapping[str, tuple[str, ...]] = {}
    ttl: int = HOUR
    faults: Mapping[str, Fault] = {}
    addresses: int = 1
    changes: tuple[Change, ...] = ()
    post: PostSite | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a server or a zone does, and what one check has to say of it.

    The *twin* is the name of a scenario that the same check passes and that differs by one rule. *wrong* says in
    one line what is done wrong, or what is odd and must be tolerated when the verdict is ``ok``. *where* are the
    ports it shows at, empty for all. *layer* names the file of the catalogue it stands in. *asked* is what to
    give to ``mailprobe check --lab``.
    """

    name: str
    check: str
    verdict: Verdict
    wrong: str
    twin: str = "good"
    where: tuple[int, ...] = ()
    asked: str = "{d}"
    layer: str = ""
    zone: Mapping[str, tuple[str, ...]] = {}
    ttl: int = HOUR
    faults: Mapping[str, Fault] = {}
    addresses: int = 1
    changes: tuple[Change, ...] = ()
    post: PostSite | None = None

    @property
    def domain(self) -> str:
        """The mail domain that shows it."""
        return f"{self.name}.{SUFFIX}"

    @property
    def target(self) -> str:
        """What to give to ``mailprobe check --lab``."""
        return self.asked.replace("{d}", self.domain)

    @property
    def unavailable(self) -> str:
        """Why the local OpenSSL cannot show this scenario; empty when it can."""
        offers = [change.offer for change in self.changes if change.offer is not None]
        if not offers:
            return ""
        from mailprobe.lab.pki import unavailable  # here, because the catalogue alone needs no TLS

        return next((reason for reason in map(unavailable, offers) if reason), "")

    @property
    def site(self) -> Site:
        """The mail domain behind the scenario."""
        return Site(
            domain=self.domain,
            zone=self.zone,
            ttl=self.ttl,
            faults=self.faults,
            addresses=self.addresses,
            changes=self.changes,
            post=self.post,
        )
