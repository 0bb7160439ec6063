"""The addresses of a host: reverse names, families, whether they answer."""

from __future__ import annotations

from mailprobe.checks.registry import Scene, check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.undecided import lookup_undecided
from mailprobe.model.evidence import Address, Host, Kind, Session, Stage, Status
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.names import host_and_port
from mailprobe.model.ports import Role, Service


def _relays(host: Host) -> list[Session]:
    return [
        session
        for address in host.addresses
        for session in address.sessions
        if Service(session.service).role is Role.RELAY
    ]


def _connect_kind(session: Session) -> Kind | None:
    trouble = session.trouble
    return trouble.kind if trouble is not None and trouble.stage is Stage.CONNECT else None


@check(
    id="ptr-present",
    claim="The address has a reverse name",
    severity=Severity.WARNING,
    source="RFC 1912 §2.1; practice of large receivers",
    advice="Have whoever owns the address (the hosting provider) set a PTR record with the server's name.",
)
def ptr_present(address: Address) -> Judgement:
    """Many receivers refuse mail from an address without a PTR record; here it matters if the server sends, too."""
    if address.reverse is None:
        return not_applicable("reverse DNS was not asked")
    if not _sends_mail(address):
        return not_applicable("the address takes no mail on port 25")
    undecided = lookup_undecided(address.reverse)
    if undecided is not None:
        return undecided
    names = [record.data for record in address.reverse.matching]
    return verdict(bool(names), f"PTR {', '.join(names)}", f"{address.address} has no PTR record", address.address)


@check(
    id="ptr-confirmed",
    claim="A reverse name leads back to the address",
    severity=Severity.WARNING,
    source="RFC 8601 §2.7.3",
    advice="Let the PTR name have an A or AAAA record with this very address.",
)
def ptr_confirmed(address: Address) -> Judgement:
    """Anyone may claim any reverse name; receivers trust it only when the name's own address record agrees."""
    if address.reverse is None or not address.reverse.matching:
        return not_applicable("there is no reverse name")
    if not _sends_mail(address):
        return not_applicable("the address takes no mail on port 25")
    found = {record.data for answer in address.forward for record in answer.matching}
    if address.address in found:
        return ok("forward and reverse agree")
    undecided = next((known for answer in address.forward if (known := lookup_undecided(answer))), None)
    name = address.reverse.matching[0].data
    leads_to = ", ".join(sorted(found)) or "no address"
    return undecided or fail(f"{address.address} is named {name}, but that name has {leads_to}", name)


def _sends_mail(address: Address) -> bool:
    """Take an address for one that sends when it answers on port 25: that is all that can be seen from outside."""
    relays = [session for session in address.sessions if Service(session.service).role is Role.RELAY]
    return any(_connect_kind(session) is None for session in relays)


@check(
    id="exchanger-reachable",
    claim="The exchanger takes connections on port 25",
    severity=Severity.ERROR,
    source="RFC 5321 §4.5.4.1",
    advice="Start the mail server and open port 25 to the world, on every address that the name has.",
)
def exchanger_reachable(session: Session, scene: Scene) -> Judgement:
    """Mail from other servers arrives on port 25 and on no other."""
    if Service(session.service).role is not Role.RELAY or scene.target.domain is None:
        return not_applicable("only port 25 of an exchanger must be open")
    return _reachable(session)


@check(
    id="port-reachable",
    claim="The port that was asked for takes connections",
    severity=Severity.ERROR,
    source="practice",
    advice="Start the service, let it listen on this address, and open the port in the firewall.",
)
def port_reachable(session: Session, scene: Scene) -> Judgement:
    """Whoever names a port expects a service there."""
    if scene.target.domain is not None or host_and_port(scene.target.asked)[1] is None:
        return not_applicable("no single port was asked for")
    return _reachable(session)


def _reachable(session: Session) -> Judgement:
    kind = _connect_kind(session)
    where = f"{session.address}:{session.port}"
    if kind is None:
        return ok("connected")
    assert session.trouble is not None
    if kind is Kind.TIMEOUT:
        return unknown(Cause.BLOCKED_HERE, f"{where} does not answer: a firewall there, or this network blocks it")
    if kind is Kind.LOCAL:
        return unknown(Cause.BLOCKED_HERE, f"{where}: {session.trouble.detail}")
    if kind is Kind.UNREACHABLE:
        return unknown(Cause.BLOCKED_HERE, f"{where}: {session.trouble.detail}; other networks may reach it")
    return fail(f"{where}: {session.trouble.detail}", where)


@check(
    id="host-serves-mail",
    claim="At least one mail port of the host answers",
    severity=Severity.ERROR,
    source="practice",
    advice="Check that the host is the right one and that its mail services run.",
)
def host_serves_mail(host: Host) -> Judgement:
    """A host on which no mail port answers is down, blocked from here, or no mail server."""
    sessions = [session for address in host.addresses for session in address.sessions]
    if host.addresses and not all(address.sessions for address in host.addresses):
        left = sum(not address.sessions for address in host.addresses)
        return unknown(Cause.NOT_ASKED, f"{left} of {len(host.addresses)} addresses were not asked: there are too many")
    if not sessions:
        undecided = next((known for answer in host.answers if (known := lookup_undecided(answer))), None)
        return undecided or not_applicable("the host has no address to ask")
    kinds = [_connect_kind(session) for session in sessions]
    if None in kinds:
        return ok(f"{kinds.count(None)} of {len(kinds)} ports answer")
    if any(kind in {Kind.TIMEOUT, Kind.UNREACHABLE, Kind.LOCAL} for kind in kinds):
        return unknown(Cause.BLOCKED_HERE, f"no port answers (asked: {len(kinds)}), some say nothing at all")
    return fail(f"every port refuses the connection (asked: {len(kinds)})", host.name)


@check(
    id="address-families-agree",
    claim="Every address of the host answers on the same ports",
    severity=Severity.WARNING,
    source="RFC 5321 §5.1; RFC 8305 §2",
    advice="Let the service listen on every address that is published, or remove the record of the dead one.",
)
def address_families_agree(host: Host) -> Judgement:
    """Senders try the addresses in turn; one that is dead costs each of them a timeout, or the letter."""
    if len(host.addresses) < 2:
        return not_applicable("the host has one address")
    opened: dict[int, set[str]] = {}
    closed: dict[int, set[str]] = {}
    local = {Kind.UNREACHABLE, Kind.LOCAL}
    for address in host.addresses:
        for session in address.sessions:
            kind = _connect_kind(session)
            if kind not in local:  # no road from here is no fault of the host
                (opened if kind is None else closed).setdefault(session.port, set()).add(address.address)
    differing = [port for port in opened if port in closed]
    if not differing:
        return ok(f"{len(host.addresses)} addresses agree")
    port = min(differing)
    dead, alive = ", ".join(sorted(closed[port])), ", ".join(sorted(opened[port]))
    return fail(f"port {port} is open on {alive}, but not on {dead}", dead)


@check(
    id="helo-resolves",
    claim="The name in the greeting has an address",
    severity=Severity.WARNING,
    source="RFC 5321 §2.3.5 and §4.3.1",
    advice="Let the server call itself by a name that has an A or AAAA record (Postfix: myhostname).",
)
def helo_resolves(host: Host) -> Judgement:
    """A server that names itself must be found by that name; when it sends mail it uses the same name."""
    if not host.greeted_as:
        return not_applicable("no server of the host greeted with a full name")
    for name in dict.fromkeys(answer.name for answer in host.greeted_as):
        answers = [answer for answer in host.greeted_as if answer.name == name]
        if any(answer.status is Status.ANSWERED for answer in answers):
            continue
        undecided = next((known for answer in answers if (known := lookup_undecided(answer))), None)
        return undecided or fail(f"the server calls itself {name}, which has no address", name)
    return ok("the name has an address")


@check(
    id="helo-ptr-match",
    claim="The name in the greeting is a reverse name of the address",
    severity=Severity.INFO,
    source="practice; RFC 5321 §4.1.4 forbids refusing mail for it",
    advice="Where you can, use one name for the greeting, the PTR record and the certificate.",
)
def helo_ptr_match(address: Address, scene: Scene) -> Judgement:
    """No standard asks for it, yet one name throughout is what receivers and people trust most."""
    if address.reverse is None or not address.reverse.matching or scene.host is None or not scene.host.greeted_as:
        return not_applicable("there is no reverse name, or no full name in a greeting")
    reverse = {record.data.removesuffix(".").lower() for record in address.reverse.matching}
    greeted = {answer.name for answer in scene.host.greeted_as}
    seen = f"greets as {', '.join(sorted(greeted))}, reverse name {', '.join(sorted(reverse))}"
    return verdict(bool(reverse & greeted), seen, seen)
