"""A domain's MX records and the names they point to."""

from __future__ import annotations

import re

from mailprobe.checks.registry import Scene, check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.scopes import scope_of
from mailprobe.checks.undecided import lookup_undecided
from mailprobe.model.evidence import Answer, Dnssec, Domain, Host, Status, Target
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.names import is_address
from mailprobe.records.mx import Exchanger, exchangers, is_null

SHORT_TTL_S = 300
_LDH = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)


def _exchangers(target: Target) -> list[Exchanger] | Judgement:
    """Give the exchangers that are no null MX, or the judgement that there is nothing to judge."""
    if target.domain is None:
        return not_applicable("a host was asked, not a domain")
    undecided = lookup_undecided(target.domain.mx)
    if undecided is not None:
        return undecided
    found = [exchanger for exchanger in exchangers(target.domain.mx) if not exchanger.is_null]
    return found or not_applicable("the domain has no MX with a target")


def _mx(target: Target) -> Domain | Judgement:
    if target.domain is None:
        return not_applicable("a host was asked, not a domain")
    return lookup_undecided(target.domain.mx) or target.domain


@check(
    id="domain-exists",
    claim="The domain exists in the DNS",
    severity=Severity.ERROR,
    source="RFC 8020 §2; RFC 5321 §5.1",
    advice="Check the spelling; if it is right, register the domain again or restore its delegation.",
)
def domain_exists(target: Target) -> Judgement:
    """A name that does not exist has no mail: every letter to it bounces at once."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    return verdict(
        domain.mx.status is not Status.NXDOMAIN,
        "the name exists",
        f"{domain.mx.server} answered NXDOMAIN: there is no such name",
        domain.name,
    )


@check(
    id="mx-usable",
    claim="The domain has a way for mail to reach it, or says that it takes none",
    severity=Severity.ERROR,
    source="RFC 5321 §5.1; RFC 7505",
    advice="Publish an MX record that points to the mail server, or a null MX (`MX 0 .`) if no mail is wanted.",
)
def mx_usable(target: Target) -> Judgement:
    """Without an MX record and without an address of its own, senders have nowhere to connect."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    if domain.mx.status is Status.NXDOMAIN:
        return not_applicable("the domain does not exist")
    if is_null(domain.mx):
        return ok("a null MX says that the domain takes no mail (RFC 7505)")
    if domain.mx.status is Status.ANSWERED:
        return ok(f"exchangers: {len(exchangers(domain.mx))}")
    undecided = next((found for answer in domain.implicit if (found := lookup_undecided(answer))), None)
    if any(answer.status is Status.ANSWERED for answer in domain.implicit):
        return ok("no MX, but an address of its own (implicit MX)")
    return undecided or fail("no MX record, and no address of its own either", domain.name)


@check(
    id="mx-present",
    claim="The domain names its mail servers in MX records",
    severity=Severity.INFO,
    source="RFC 5321 §5.1",
    advice="Publish an MX record, so that a web server is not taken for the mail server; for a host write --host.",
)
def mx_present(target: Target) -> Judgement:
    """With no MX record senders fall back to the domain's own address, which is often a web server."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    if domain.mx.status is Status.NXDOMAIN:
        return not_applicable("the domain does not exist")
    return verdict(
        domain.mx.status is Status.ANSWERED,
        "MX records are there",
        "no MX record; mail goes to the domain's own address",
    )


@check(
    id="mx-null-alone",
    claim="A null MX stands alone",
    severity=Severity.ERROR,
    source="RFC 7505 §3",
    advice="Remove either the null MX (`.`) or all the others.",
)
def mx_null_alone(target: Target) -> Judgement:
    """A null MX says "no mail"; beside real exchangers it contradicts them, and senders differ in what they do."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    found = exchangers(domain.mx)
    null = [exchanger for exchanger in found if exchanger.is_null]
    if not null:
        return not_applicable("there is no null MX")
    others = ", ".join(exchanger.target for exchanger in found if not exchanger.is_null)
    return verdict(
        len(found) == 1, "the null MX is the only MX", f"a null MX stands beside {others or 'another one'}", "."
    )


@check(
    id="mx-null-preference",
    claim="A null MX has preference 0",
    severity=Severity.WARNING,
    source="RFC 7505 §3",
    advice="Write the null MX as `MX 0 .`.",
)
def mx_null_preference(target: Target) -> Judgement:
    """The standard fixes the preference at 0; software that compares the whole record misses any other."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    if not is_null(domain.mx):
        return not_applicable("the domain has no null MX")
    preference = exchangers(domain.mx)[0].preference
    return verdict(preference == 0, "preference 0", f"the null MX has preference {preference}", f"{preference} .")


@check(
    id="mx-target-cname",
    claim="No MX target is an alias",
    severity=Severity.ERROR,
    source="RFC 2181 §10.3; RFC 5321 §5.1",
    advice="Point the MX at the name that the CNAME leads to.",
)
def mx_target_cname(target: Target) -> Judgement:
    """An MX must name a host, not an alias; some senders refuse it, and DANE cannot be used with it."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    for host in target.hosts:
        for answer in host.answers:
            if answer.aliases:
                alias = answer.aliases[0]
                return fail(f"{host.name} is an alias of {alias.data}", f"{alias.name} CNAME {alias.data}")
    return _undecided_hosts(target) or ok("every target is a name of its own")


@check(
    id="mx-target-literal",
    claim="Every MX target is a name, not an address",
    severity=Severity.ERROR,
    source="RFC 1035 §3.3.9; RFC 5321 §2.3.5",
    advice="Give the server a name with an A or AAAA record, and point the MX at that name.",
)
def mx_target_literal(target: Target) -> Judgement:
    """The field holds a domain name: an address there is looked up as a name and not found."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    literal = next((exchanger.target for exchanger in found if is_address(exchanger.target)), None)
    return verdict(literal is None, "all targets are names", f"the MX target {literal} is an address", literal or "")


@check(
    id="mx-target-syntax",
    claim="Every MX target is a host name",
    severity=Severity.ERROR,
    source="RFC 1123 §2.1; RFC 5321 §2.3.5",
    advice="Use only letters, digits and hyphens, with no hyphen at either end of a label.",
)
def mx_target_syntax(target: Target) -> Judgement:
    """Strict senders refuse names with other characters, an underscore for example."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    wrong = next((exchanger.target for exchanger in found if not _is_host_name(exchanger.target)), None)
    return verdict(wrong is None, "all targets are host names", f"{wrong} is no host name", wrong or "")


def _is_host_name(name: str) -> bool:
    labels = name.split(".")
    return is_address(name) or (all(_LDH.fullmatch(label) for label in labels) and not labels[-1].isdigit())


@check(
    id="mx-target-resolves",
    claim="Every MX target has an address",
    severity=Severity.ERROR,
    source="RFC 5321 §5.1",
    advice="Add an A or AAAA record for the target, or remove the MX record that points to it.",
)
def mx_target_resolves(target: Target) -> Judgement:
    """A target without an address takes no mail; one whose domain lapsed can be taken over by whoever registers it."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    for host in target.hosts:
        missing = _missing(host)
        if missing:
            return fail(missing, host.name)
    named = {exchanger.target for exchanger in found}
    if len(named) > len(target.hosts):
        return unknown(Cause.NOT_ASKED, f"of {len(named)} exchangers only {len(target.hosts)} were looked up")
    return _undecided_hosts(target) or ok("every target has an address")


def _missing(host: Host) -> str:
    statuses = [answer.status for answer in host.answers]
    if is_address(host.name) or Status.ANSWERED in statuses or not statuses:
        return ""
    if Status.NXDOMAIN in statuses:
        return f"{host.name} does not exist (NXDOMAIN)"
    return f"{host.name} has neither A nor AAAA" if set(statuses) == {Status.NODATA} else ""


def _undecided_hosts(target: Target) -> Judgement | None:
    answers = [answer for host in target.hosts for answer in host.answers]
    return next((found for answer in answers if (found := lookup_undecided(answer))), None)


@check(
    id="mx-target-localhost",
    claim="No MX points to localhost",
    severity=Severity.ERROR,
    source="RFC 6761 §6.3",
    advice="Point the MX at the public name of the server.",
)
def mx_target_localhost(target: Target) -> Judgement:
    """Every sender would try to deliver to itself."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    wrong = next((item.target for item in found if item.target.split(".")[-1] in {"localhost", "localdomain"}), None)
    return verdict(wrong is None, "no target is localhost", f"the MX points to {wrong}", wrong or "")


@check(
    id="mx-target-public",
    claim="No MX target has an address that cannot be reached from outside",
    severity=Severity.ERROR,
    source="RFC 6890; RFC 5321 §5.1",
    advice="Publish the server's public address; keep internal addresses in internal DNS.",
)
def mx_target_public(target: Target, scene: Scene) -> Judgement:
    """Loopback, link-local, multicast and documentation addresses lead nowhere, or back to the sender."""
    return _scoped(target, scene, "special")


@check(
    id="mx-target-private",
    claim="No MX target has a private address",
    severity=Severity.WARNING,
    source="RFC 1918; RFC 4193; RFC 6598",
    advice="Publish the public address; for internal mail declare the range with --internal-net.",
)
def mx_target_private(target: Target, scene: Scene) -> Judgement:
    """Private addresses work only inside their own network; from elsewhere the connection times out."""
    return _scoped(target, scene, "private")


def _scoped(target: Target, scene: Scene, kind: str) -> Judgement:
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    for host in target.hosts:
        for address in host.addresses:
            scope = scope_of(address.address, scene.settings.internal_networks)
            if scope and scope[0] == kind:
                return fail(f"{host.name} has the {scope[1]} address {address.address}", address.address)
    if not any(host.addresses for host in target.hosts):
        return _undecided_hosts(target) or not_applicable("no target has an address")
    return ok("all addresses are public")


@check(
    id="mx-duplicate",
    claim="No exchanger is listed twice",
    severity=Severity.WARNING,
    source="practice",
    advice="Keep one MX record per exchanger.",
)
def mx_duplicate(target: Target) -> Judgement:
    """A second record with another preference adds no second way; senders only try the same server again."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    names = [exchanger.target for exchanger in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    return verdict(
        twice is None,
        "every exchanger is listed once",
        f"{twice} is listed {names.count(twice or '')} times",
        twice or "",
    )


@check(
    id="mx-ttl",
    claim="The MX records may be cached for a while",
    severity=Severity.INFO,
    source="RFC 1912 §2.2",
    advice="Use a TTL of an hour or more unless a move is under way.",
)
def mx_ttl(target: Target) -> Judgement:
    """A very short TTL makes every letter depend on the name servers being up that minute."""
    found = _exchangers(target)
    if isinstance(found, Judgement):
        return found
    ttl = min(exchanger.record.ttl for exchanger in found)
    if ttl < SHORT_TTL_S and target.domain is not None and "aa" not in target.domain.mx.flags:
        return not_applicable(f"{ttl} s are left in a resolver's cache; what the zone says is not known")
    return verdict(ttl >= SHORT_TTL_S, f"TTL {ttl} s", f"the zone lets them live for {ttl} s")


@check(
    id="domain-alias",
    claim="The mail domain is no alias",
    severity=Severity.WARNING,
    source="RFC 1034 §3.6.2; RFC 5321 §5.1",
    advice="Replace the CNAME by the records themselves: MX, and A or AAAA.",
)
def domain_alias(target: Target) -> Judgement:
    """Senders follow the alias and use its MX, or rewrite the address to it; both surprise the domain's owner."""
    domain = _mx(target)
    if isinstance(domain, Judgement):
        return domain
    aliases = domain.mx.aliases
    if not aliases:
        return ok("the name has records of its own")
    return fail(f"{domain.name} is an alias of {aliases[-1].data}", f"{aliases[0].name} CNAME {aliases[0].data}")


@check(
    id="dns-complete",
    claim="Every lookup about the domain was answered",
    severity=Severity.ERROR,
    source="RFC 2308 §7; RFC 4035 §5.5",
    advice="Look at the name servers of the zone; if DNSSEC is bogus, mend the DS record or the signatures.",
)
def dns_complete(target: Target) -> Judgement:
    """A lookup that fails makes mail wait in queues, and what it would have said is unknown, not absent."""
    answers = _all_answers(target)
    if not answers:
        return not_applicable("nothing was looked up")
    bogus = next((answer for answer in answers if answer.dnssec is Dnssec.BOGUS), None)
    if bogus is not None:
        return fail(f"DNSSEC validation of {bogus.name} {bogus.type} fails; without it there is an answer", bogus.name)
    undecided = next((found for answer in answers if (found := lookup_undecided(answer))), None)
    return undecided or ok(f"{len(answers)} lookups were answered")


def _all_answers(target: Target) -> list[Answer]:
    own = [target.domain.mx, *target.domain.implicit] if target.domain else []
    return own + [answer for host in target.hosts for answer in host.answers]
