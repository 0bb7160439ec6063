"""What `mx` and `ports` say, before it has a form: the table and the JSON are made from the same rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from mailprobe.model.evidence import Answer, Dnssec, Host, Record, Session, Stage, Status, Struct, Target
from mailprobe.model.ports import Protocol, Service
from mailprobe.model.view import CertificateView, Reachability, SessionView, reachability, total_ms
from mailprobe.output.words import clean, in_trouble, not_answered, plural

Security = Literal["plain", "STARTTLS", "TLS"]

_SPOKEN = {
    "smtp": "SMTP",
    "lmtp": "LMTP",
    "pop3": "POP3",
    "imap": "IMAP",
    "sieve": "ManageSieve",
    "http": "HTTP",
    "ssh": "SSH",
    "ftp": "FTP",
    "tls": "TLS",
}
_LITERAL = re.compile(r"\[.*\]|\d{1,3}(\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)


class PortRow(Struct, frozen=True, kw_only=True):
    """One port of one address. None stands for what was not learnt; *notes* say what is odd about it.

    A host without address has one row, whose state is ``unresolved``.
    """

    target: str
    host: str
    address: str | None
    port: int | None
    service: str | None
    state: Reachability | Literal["unresolved"]
    speaks: str | None
    security: Security | None
    version: str | None
    cipher: str | None
    certificate: CertificateView | None
    ms: float | None
    notes: tuple[str, ...]


class Exchanger(Struct, frozen=True, kw_only=True):
    """One mail exchanger. *preference* is None for an implicit one; *problem* is empty when there is none."""

    preference: int | None
    name: str
    ttl: int | None
    addresses: tuple[str, ...]
    aliases: tuple[str, ...]
    problem: str


class MailDomain(Struct, frozen=True, kw_only=True):
    """A domain's exchangers by preference. *implicit* is true when the domain's own address stands in for MX."""

    domain: str
    status: Status
    rcode: str
    flags: tuple[str, ...]
    server: str
    transport: str
    dnssec: Dnssec
    extended_errors: tuple[str, ...]
    ms: float
    null_mx: bool
    implicit: bool
    aliases: tuple[str, ...]
    exchangers: tuple[Exchanger, ...]
    problem: str


def port_rows(views: Sequence[SessionView]) -> tuple[PortRow, ...]:
    """Make a row of each session, in the order given."""
    return tuple(_port_row(view) for view in views)


def _port_row(view: SessionView) -> PortRow:
    session = view.session
    tls = session.tls
    return PortRow(
        target=view.target,
        host=session.host,
        address=session.address,
        port=session.port,
        service=session.service,
        state=reachability(session),
        speaks=session.speaks,
        security=security(session),
        version=tls.version if tls else None,
        cipher=tls.cipher if tls else None,
        certificate=view.certificate,
        ms=total_ms(session),
        notes=tuple(_oddities(session)),
    )


def unresolved_row(target: Target) -> PortRow:
    """Make the row of a host that has no address."""
    return PortRow(
        target=target.asked,
        host=target.hosts[0].name if target.hosts else target.asked,
        address=None,
        port=None,
        service=None,
        state="unresolved",
        speaks=None,
        security=None,
        version=None,
        cipher=None,
        certificate=None,
        ms=None,
        notes=(in_trouble(target.trouble),) if target.trouble else (),
    )


def security(session: Session) -> Security | None:
    """Tell how the conversation is protected, or would have been had TLS not failed; None where nothing tells."""
    if reachability(session) != "open":
        return None
    in_clear = session.answered_in_clear or any(not exchange.secure for exchange in session.exchanges)
    if session.tls is not None:
        return "STARTTLS" if in_clear else "TLS"
    if session.speaks == "tls":
        return "TLS"
    if session.greeting is not None and session.greeting.status == "PREAUTH":
        return "plain"  # STARTTLS comes before login, and there is none to come (RFC 9051 §6.2.1)
    if session.offers_starttls is None:
        return None
    return "STARTTLS" if session.offers_starttls else "plain"


def spoken(speaks: str) -> str:
    """Write a protocol's name as people do."""
    return _SPOKEN.get(speaks, "another protocol")


def _oddities(session: Session) -> list[str]:
    expected = Service(session.service)
    notes = []
    if session.answered_in_clear:
        served = "STARTTLS is served where TLS is expected" if session.offers_starttls else "TLS is expected there"
        notes.append(f"answers in clear: {served}")
    if session.speaks == "tls" and not expected.implicit_tls and expected is not Service.UNKNOWN:
        notes.append(f"answers with TLS: {spoken(expected.protocol.value)} in clear with STARTTLS is expected there")
    elif _is_other(session.speaks, expected):
        notes.append(f"speaks {spoken(session.speaks or '')} where {spoken(expected.protocol.value)} is expected")
    if session.leftover:
        size = plural(len(session.leftover), "octet")
        notes.append(f"{size} in clear came behind the go-ahead for STARTTLS (response injection)")
    trouble = session.trouble
    told = session.answered_in_clear and trouble is not None and trouble.stage is Stage.HANDSHAKE
    refused = trouble is not None and trouble.stage is Stage.CONNECT and reachability(session) == "refused"
    if trouble is not None and not told and not refused:
        notes.append(in_trouble(trouble))
    return notes


def _is_other(speaks: str | None, expected: Service) -> bool:
    if speaks is None or speaks == "tls" or expected.protocol is Protocol.UNKNOWN:
        return False
    return expected.protocol != speaks


def mail_domain(target: Target) -> MailDomain | None:
    """Lay out what was learnt about a domain's exchangers; None for a target that is no domain."""
    domain = target.domain
    if domain is None:
        return None
    answer = domain.mx
    hosts = {_bare(host.name): host for host in target.hosts}
    exchangers = sorted(
        (_exchanger(record, hosts) for record in answer.matching), key=lambda each: each.preference or 0
    )
    null = bool(exchangers) and all(each.name == "." for each in exchangers)
    implicit = _implicit(domain.name, domain.implicit) if not exchangers else None
    return MailDomain(
        domain=domain.name,
        status=answer.status,
        rcode=answer.rcode,
        flags=answer.flags,
        server=answer.server,
        transport=answer.transport,
        dnssec=answer.dnssec,
        extended_errors=answer.extended_errors,
        ms=answer.ms,
        null_mx=null,
        implicit=implicit is not None,
        aliases=tuple(_bare(record.data) for record in answer.aliases),
        exchangers=() if null else (implicit,) if implicit else tuple(exchangers),
        problem=_domain_problem(answer, domain.implicit, null, implicit),
    )


def _domain_problem(answer: Answer, own: Sequence[Answer], null: bool, implicit: Exchanger | None) -> str:
    if null:
        return "null MX: the domain takes no mail, on purpose (RFC 7505)"
    if implicit:
        return "no MX record: mail goes to the address of the domain itself (implicit MX, RFC 5321 §5.1)"
    if answer.status is Status.NODATA and own and all(each.status is Status.NODATA for each in own):
        return "no MX record and no address: mail for the domain cannot be delivered (NODATA)"
    return not_answered(answer)


def _implicit(name: str, answers: Sequence[Answer]) -> Exchanger | None:
    records = [record for answer in answers for record in answer.matching]
    if not records:
        return None
    return Exchanger(
        preference=None,
        name=_bare(name),
        ttl=min(record.ttl for record in records),
        addresses=tuple(record.data for record in records),
        aliases=(),
        problem="",
    )


def _exchanger(record: Record, hosts: dict[str, Host]) -> Exchanger:
    digits, _, target = record.data.partition(" ")
    name = _bare(target)
    host = hosts.get(name)
    answers = host.answers if host else ()
    found = tuple(each.data for answer in answers for each in answer.matching)
    aliases = tuple(dict.fromkeys(_bare(each.data) for answer in answers for each in answer.aliases))
    return Exchanger(
        preference=int(digits) if digits.isascii() and digits.isdigit() else None,
        name=name,
        ttl=record.ttl,
        addresses=found or tuple(each.address for each in host.addresses) if host else (),
        aliases=aliases,
        problem=_exchanger_problem(name, answers, aliases, found),
    )


def _exchanger_problem(name: str, answers: Sequence[Answer], aliases: Sequence[str], found: Sequence[str]) -> str:
    if name == ".":
        return "a null MX must stand alone (RFC 7505 §3)"
    if _LITERAL.fullmatch(name):
        return "an address where a host name must stand (RFC 5321 §5.1)"
    problems = [f"an alias (CNAME) of {clean(aliases[-1])}, which RFC 2181 §10.3 forbids"] if aliases else []
    missing = [answer for answer in answers if answer.status is not Status.ANSWERED]
    if not found and missing:
        problems.append(_dangling(missing))
    else:  # one family answers: that the other has no record is no news
        problems += [_dangling([answer]) for answer in missing if answer.status is not Status.NODATA]
    return "; ".join(problems)


def _dangling(answers: Sequence[Answer]) -> str:
    statuses = {answer.status for answer in answers}
    if Status.NXDOMAIN in statuses:
        return "dangling: the host does not exist (NXDOMAIN)"
    if statuses == {Status.NODATA}:
        return "dangling: the host has no address (NODATA)"
    failed = next(answer for answer in answers if answer.status is not Status.NODATA)
    return f"{failed.type} unknown: {not_answered(failed)}"


def _bare(name: str) -> str:
    return name if name == "." else name.lower().removesuffix(".")
