"""The MTA client: where each letter goes, host by host, and what the hosts say.

Each domain has lanes, one to each of its hosts, the preferred first. A letter goes to the first; what that host does
not take now goes on to the next; and what the last one does not take is put off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from mailprobe.lab.post.bounces import Action
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.hand import Hand
from mailprobe.lab.post.lanes import Lane, Said
from mailprobe.lab.post.ledger import Ledger
from mailprobe.lab.post.parcels import Errand
from mailprobe.lab.post.queue_table import Recipient
from mailprobe.lab.post.routes import RouteError, route
from mailprobe.model.errors import UsageError
from mailprobe.model.names import domain_name
from mailprobe.model.road import Part, Step, What
from mailprobe.model.sending import Outcome
from mailprobe.net.network import Network

ROUTE_S = 60.0  # for how long a route is used without looking it up again
FULL = 200  # recipients under way
RECIPIENTS_AT_ONCE = 100  # RFC 5321 §4.5.3.1.8: a server takes at least so many


class Carrier:
    """Carries the letters of one site to other domains; *own* are our names and addresses."""

    def __init__(self, desk: Desk, ledger: Ledger, own: Collection[str], network: Callable[[], Network]) -> None:
        self.desk = desk
        self.ledger = ledger
        self.own = own
        self.network = network
        self.under_way = 0  # recipients
        self._domains: dict[str, _Destination] = {}

    @property
    def is_full(self) -> bool:
        """True when more should wait in the queue: other mail has to be worked on as well."""
        return self.under_way >= FULL

    def is_paused(self) -> bool:
        """Tell whether nothing may be begun now."""
        return Part.CLIENT in self.desk.paused

    def carry(self, hand: Hand, recipients: Sequence[Recipient]) -> None:
        """Carry a letter to recipients elsewhere."""
        groups: dict[tuple[str, str], list[Recipient]] = {}
        for recipient in recipients:
            domain = recipient.address.rpartition("@")[2]
            groups.setdefault((domain.lower(), recipient.sender), []).append(recipient)
            self.ledger.note(hand, Step.TAKEN, What.TAKEN, recipient.address, f"for {domain}")
        self.under_way += len(recipients)
        for (domain, sender), found in groups.items():
            destination = self._domains.setdefault(domain, _Destination(domain, self))
            for start in range(0, len(found), RECIPIENTS_AT_ONCE):
                group = tuple(found[start : start + RECIPIENTS_AT_ONCE])
                destination.add(Errand(hand=hand, sender=sender, recipients=group))

    def give_back(self) -> None:
        """Put what has not been begun back into the queue, as the MTA client is paused."""
        for destination in self._domains.values():
            for errand in destination.give_back():
                self.under_way -= len(errand.recipients)
                for recipient in errand.recipients:
                    self.ledger.put_back(errand.hand, recipient)

    async def close(self) -> None:
        """Drop every connection."""
        for destination in self._domains.values():
            await destination.close()


class _Destination:
    """One domain."""

    def __init__(self, domain: str, carrier: Carrier) -> None:
        self._domain = domain
        self._carrier = carrier
        self._waiting: deque[Errand] = deque()
        self._lanes: tuple[Lane, ...] = ()
        self._found_at = -ROUTE_S
        self._search: asyncio.Task[None] | None = None

    def add(self, errand: Errand) -> None:
        now = asyncio.get_running_loop().time()
        if self._lanes and (now - self._found_at < ROUTE_S or any(lane.is_open for lane in self._lanes)):
            self._lanes[0].add(errand)
            return
        self._waiting.append(errand)
        if self._search is None:
            self._search = asyncio.get_running_loop().create_task(self._find())

    def give_back(self) -> list[Errand]:
        left = [*self._waiting, *(errand for lane in self._lanes for errand in lane.give_back())]
        self._waiting.clear()
        return left

    async def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    async def _find(self) -> None:
        """Look up where the domain's mail goes, and send what has gathered that way."""
        carrier = self._carrier
        try:
            network = carrier.network()
            hosts = await route(network, _name(self._domain), carrier.own)
        except (RouteError, UsageError) as error:
            self._search = None
            self._no_way(error)
            return
        self._search = None
        self._found_at = asyncio.get_running_loop().time()
        self._lanes = tuple(
            Lane(network, carrier.desk.host, host, _Listener(self, number), carrier.is_paused)
            for number, host in enumerate(hosts)
        )
        while self._waiting:
            self._lanes[0].add(self._waiting.popleft())

    def _no_way(self, error: RouteError | UsageError) -> None:
        ledger = self._carrier.ledger
        enhanced = error.enhanced if isinstance(error, RouteError) else "4.4.3"
        for errand in self.give_back():
            self._carrier.under_way -= len(errand.recipients)
            for recipient in errand.recipients:
                if enhanced.startswith("4"):
                    ledger.put_off(errand.hand, recipient, f"451 {enhanced} {error}")
                else:
                    code = 556 if enhanced == "5.1.10" else 550  # RFC 7505 §4.2
                    ledger.fail(errand.hand, recipient, f"{code} {enhanced} {error}")
        self._carrier.desk.wake()

    def told(self, number: int, errand: Errand, said: Sequence[Said]) -> None:
        """Hear what a host said; what it did not take now goes to the next one, or is put off."""
        left: list[tuple[Recipient, Said]] = []
        for recipient, word in zip(errand.recipients, said, strict=True):
            if word.outcome is Outcome.ACCEPTED:
                self._accepted(errand.hand, recipient, word)
            elif word.outcome is Outcome.REFUSED:
                self._carrier.ledger.fail(errand.hand, recipient, word.text, _who_said(word))
            else:
                left.append((recipient, word))
        another = number + 1 < len(self._lanes)
        again = [recipient for recipient, word in left if another and word.outcome is not Outcome.UNCERTAIN]
        self._carrier.under_way -= len(errand.recipients) - len(again)
        for recipient, word in left:
            if recipient not in again:
                self._carrier.ledger.put_off(errand.hand, recipient, _with_host(word), _who_said(word))
        if again:
            self._lanes[number + 1].add(msgspec.structs.replace(errand, recipients=tuple(again), repeated=False))
        self._carrier.desk.wake()

    def _accepted(self, hand: Hand, recipient: Recipient, said: Said) -> None:
        way = f"to {said.host}:25, {said.tls or 'in clear'}"
        self._carrier.ledger.note(hand, Step.SENT, What.SENT, recipient.address, f"{way}: {said.text}")
        told = None if said.reports else Action.RELAYED  # RFC 3461 §5.2.2
        self._carrier.ledger.sent(hand, recipient, said.text, said.host.name, told)


class _Listener:
    """Hears of the errands of one lane."""

    def __init__(self, destination: _Destination, number: int) -> None:
        self._destination = destination
        self._number = number

    def __call__(self, errand: Errand, said: Sequence[Said]) -> None:
        self._destination.told(self._number, errand, said)


def _who_said(said: Said) -> str:
    """Name the host whose reply it is; nobody when the words are our own (RFC 3464 §2.3.6)."""
    return said.host.name if said.text[:1].isdigit() else ""


def _with_host(said: Said) -> str:
    """Give a reply as it came, and our own words with an enhanced code and the host they are about."""
    return said.text if said.text[:1].isdigit() else f"451 4.4.1 {said.host}: {said.text}"


def _name(domain: str) -> str:
    """Give a domain as the DNS knows it; one that is no name goes through unchanged and will not be found."""
    if domain.startswith("["):
        return domain
    try:
        return domain_name(domain)
    except UsageError as error:
        raise RouteError("5.1.2", f"{error}") from None
