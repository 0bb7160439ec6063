"""The alias expander: from an address to where its mail goes. Pure: tables come in as functions, targets come out.

Addresses are looked up in the order of virtual(5): ``user+ext@domain``, ``user@domain``, and in a domain of ours
``user+ext`` and ``user``; what no alias, user or ``.forward`` claims goes to the catch-all ``@domain``. An alias that
names itself means the mailbox of that name. Case does not count, and no mailbox gets a letter twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum

import msgspec

from mailprobe.lab.post.addresses import (
    folded,
    folded_domain,
    joined,
    quoted,
    shown,
    split,
    unquoted,
    without_extension,
)
from mailprobe.lab.post.aliases_text import NOWHERE, AliasError

Lookup = Callable[[str], Sequence[str] | None]
POSTMASTER = "postmaster"
OWNER = "owner-"
NAMES_SHOWN = 12  # of a path in a message


class Kind(StrEnum):
    """What is to be done for a target."""

    MAILBOX = "mailbox"
    REMOTE = "remote"
    DISCARD = "discard"  # the alias says /dev/null
    FAILED = "failed"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How far an expansion goes: aliases within aliases, targets, and names looked at."""

    depth: int = 20
    targets: int = 1000  # as many as Postfix allows
    names: int = 10_000


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a letter goes to.

    *path* is the way there, from the recipient as given to *address*. *user* is the mailbox, empty for other kinds.
    *owner* is the envelope sender that an ``owner-`` alias asks for, empty when the sender stays. *enhanced*
    (RFC 3463) and *text* say why a target failed; an *enhanced* that begins with 4 may work later.
    """

    kind: Kind
    address: str
    path: tuple[str, ...]
    user: str = ""
    owner: str = ""
    enhanced: str = ""
    text: str = ""


class Expansion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the recipients: *suppressed* are the paths that led to what was there already."""

    targets: tuple[Target, ...]
    suppressed: tuple[tuple[str, ...], ...]

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be expanded, in words."""
        return tuple(f"{target.enhanced} {target.text}" for target in self.targets if target.kind is Kind.FAILED)


def expand(
    address: str | Sequence[str],
    lookup: Lookup,
    is_mailbox: Callable[[str], bool],
    limits: Limits = Limits(),  # noqa: B008  frozen
    *,
    domains: Collection[str],
    forward: Lookup = lambda _user: None,
    postmaster: str = "",
) -> Expansion:
    """Expand one recipient, or all recipients of a letter together, so that nobody gets it twice.

    *lookup* gives the values of an alias by its folded name, *forward* what is in a user's ``.forward``; either may
    raise AliasError, and then the target fails for now. *is_mailbox* knows users by their folded names. *domains*
    are ours, the first of them belongs to names without one. *postmaster* is the user who gets the postmaster's mail
    when neither an alias nor a mailbox is there for it (RFC 5321 §4.5.1).
    """
    recipients = [address] if isinstance(address, str) else address
    town = _Town(lookup, is_mailbox, tuple(folded_domain(domain) for domain in domains), forward, folded(postmaster))
    walk = _Walk(town, limits)
    for recipient in recipients:
        walk.visit(_Way(recipient, town.domains[0] if town.domains else ""))
    return Expansion(targets=tuple(walk.targets), suppressed=tuple(walk.suppressed))


class _Way(msgspec.Struct, frozen=True):
    """Where an expansion stands: an address, how it came there, and the envelope sender that it has learnt.

    *here* is the domain for a name without one. *keys* are the folded forms of *path* before the address.
    """

    address: str
    here: str
    path: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    owner: str = ""


class _Claim(msgspec.Struct, frozen=True):
    """Who claims an address: an alias or ``.forward`` with its *values*, or a mailbox by the name of *user*."""

    values: tuple[str, ...] = ()
    user: str = ""
    owner: str = ""


class _Town(msgspec.Struct, frozen=True):
    """Everything that is known of the addresses here."""

    lookup: Lookup
    is_mailbox: Callable[[str], bool]
    domains: tuple[str, ...]
    forward: Lookup
    postmaster: str

    def claims(self, key: str) -> Iterator[_Claim]:
        """Give who claims a folded address, the first claim first; the next one only counts where that names itself."""
        local, domain = split(key)
        spellings = list(dict.fromkeys((local, quoted(without_extension(unquoted(local))))))
        bare = spellings if domain in self.domains else []
        for name in (*(joined(each, domain) for each in spellings), *bare):
            values = self.lookup(name)
            if values is not None:
                yield _Claim(tuple(values), owner=self._owner(name))
        user = self.mailbox_of(key)
        if user:
            yield from self._mailbox(user)
        values = self.lookup(f"@{domain}")
        if values is not None:
            yield _Claim(tuple(values))
        if POSTMASTER in bare and self.postmaster:
            yield from self._mailbox(self.postmaster)

    def _mailbox(self, user: str) -> Iterator[_Claim]:
        values = self.forward(user)
        if values:
            yield _Claim(tuple(values))
        yield _Claim(user=user)

    def mailbox_of(self, key: str) -> str:
        """Give the mailbox that has this address for its name, whatever the aliases say; empty when there is none."""
        local, domain = split(key)
        if domain not in self.domains:
            return ""
        user = unquoted(local)
        return next((name for name in (user, without_extension(user)) if self.is_mailbox(name)), "")

    def _owner(self, name: str) -> str:
        local, domain = split(name)
        if not local or local.startswith(OWNER):
            return ""
        owner = joined(quoted(f"{OWNER}{unquoted(local)}"), domain)
        return owner if self.lookup(owner) is not None else ""


class _Walk:
    """One expansion under way. What was visited is not visited again, so that every walk ends."""

    def __init__(self, town: _Town, limits: Limits) -> None:
        self.targets: list[Target] = []
        self.suppressed: list[tuple[str, ...]] = []
        self._town = town
        self._limits = limits
        self._visited: set[str] = set()
        self._reached: set[tuple[Kind, str]] = set()
        self._full = False

    def visit(self, way: _Way) -> None:
        """Find out where the mail for an address goes, and note the targets."""
        if self._full:
            return
        plain = way.address.removeprefix("\\") if way.path else way.address
        address = _qualified(plain, way.here)
        verbatim = plain != way.address
        way = msgspec.structs.replace(way, address=address, path=(*way.path, address if way.path else plain))
        key = folded(address)
        if verbatim:
            self._arrive(way, split(key)[1], self._town.mailbox_of(key))
        elif key in way.keys:
            self._fail(way, "5.4.6", f"alias loop: {self._shown(way)}")
        elif len(way.keys) > self._limits.depth:
            self._fail(way, "5.4.6", f"aliases nested deeper than {self._limits.depth}: {self._shown(way)}")
        elif key in self._visited:
            self.suppressed.append(way.path)
        elif len(self._visited) >= self._limits.names:
            self._stop(way, f"the aliases name more than {self._limits.names} addresses")
        else:
            self._visited.add(key)
            self._follow(key, way)

    def _follow(self, key: str, way: _Way) -> None:
        user = ""
        try:
            for claim in self._town.claims(key):
                user = claim.user
                if user or not self._spread(claim, key, way):
                    break
            else:
                self._arrive(way, split(key)[1], "")
                return
        except AliasError as error:
            self._fail(way, "4.2.4", shown(error.errors[0]))
            return
        if user:
            self._arrive(way, split(key)[1], user)

    def _spread(self, claim: _Claim, key: str, way: _Way) -> bool:
        """Visit what an alias leads to; tell whether it names itself as well."""
        local, domain = split(key)
        here = domain if domain in self._town.domains else way.here
        names_itself = False
        for value in claim.values:
            address = f"{local}{value}" if value.startswith("@") else value
            onward = _Way(address, here, way.path, (*way.keys, key), claim.owner and _qualified(claim.owner, here))
            if not onward.owner:
                onward = msgspec.structs.replace(onward, owner=way.owner)
            if value == NOWHERE:
                self._add(Target(kind=Kind.DISCARD, address=way.address, path=way.path, owner=onward.owner))
            elif value.startswith(("/", "|", ":")):
                self._fail(way, "5.7.1", f"{shown(value)} is nothing that mail is delivered to")
            elif folded(_qualified(address, here)) == key:
                names_itself = True
            else:
                self.visit(onward)
        return names_itself

    def _arrive(self, way: _Way, domain: str, user: str) -> None:
        """Note the end of a way: in a mailbox, at another domain, or, in ours without a mailbox, at nobody."""
        if user:
            self._reach(Target(kind=Kind.MAILBOX, address=way.address, path=way.path, user=user, owner=way.owner), user)
        elif domain and domain not in self._town.domains:
            target = Target(kind=Kind.REMOTE, address=way.address, path=way.path, owner=way.owner)
            self._reach(target, folded(way.address))
        else:
            via = f" ({self._shown(way)})" if len(way.path) > 1 else ""
            self._fail(way, "5.1.1", f"no user here is named {shown(way.address)}{via}")

    def _reach(self, target: Target, goal: str) -> None:
        if (target.kind, goal) in self._reached:
            self.suppressed.append(target.path)
        else:
            self._reached.add((target.kind, goal))
            self._add(target)

    def _fail(self, way: _Way, enhanced: str, text: str) -> None:
        self._add(
            Target(kind=Kind.FAILED, address=way.address, path=way.path, owner=way.owner, enhanced=enhanced, text=text)
        )

    def _add(self, target: Target) -> None:
        if self._full:
            return
        self.targets.append(target)
        if len(self.targets) >= self._limits.targets:
            self._full = True
            text = f"the aliases lead to more than {self._limits.targets - 1} places"
            self.targets[-1] = msgspec.structs.replace(target, kind=Kind.FAILED, user="", enhanced="5.5.3", text=text)

    def _stop(self, way: _Way, text: str) -> None:
        self._fail(way, "5.5.3", text)
        self._full = True

    def _shown(self, way: _Way) -> str:
        """Write the way; without the domain where it is the same one, of ours, all along."""
        parts = [split(address) for address in way.path]
        domains = {folded_domain(domain) for _, domain in parts if domain}
        if len(domains) == 1 and domains <= set(self._town.domains):
            parts = [(local, "") for local, _ in parts]
        names = [shown(joined(local, domain)) for local, domain in parts]
        if len(names) > NAMES_SHOWN:
            names[NAMES_SHOWN // 2 : -NAMES_SHOWN // 2] = ["..."]
        return " -> ".join(names)


def _qualified(address: str, domain: str) -> str:
    return address if split(address)[1] else joined(address, domain)
