"""Makes of evidence what the outputs take: each session with its certificate in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mailprobe.model.conversation import Conversation
from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Evidence, Session, Tls
from mailprobe.model.finding import Finding
from mailprobe.model.names import is_address
from mailprobe.model.view import CertificateView, Report, SessionView

if TYPE_CHECKING:
    from mailprobe.records.certificate import Certificate


def report(evidence: Evidence, findings: Sequence[Finding]) -> Report:
    """Put a judged run together."""
    return Report(
        mailprobe=evidence.mailprobe,
        collected_at=evidence.collected_at,
        targets=evidence.targets,
        findings=tuple(findings),
        sessions=session_views(evidence),
    )


def session_views(evidence: Evidence) -> tuple[SessionView, ...]:
    """Give every session of a run, in order."""
    return tuple(
        SessionView(target=target.asked, session=session, certificate=certificate_of(session, evidence.collected_at))
        for target in evidence.targets
        for host in target.hosts
        for address in host.addresses
        for session in address.sessions
    )


def certificate_of(session: Session | Conversation, now: datetime) -> CertificateView | None:
    """Say what is to be said of the certificate that a conversation met, None when it met none."""
    if session.tls is None or not session.tls.chain:
        return None
    from mailprobe.records.certificate import names_host, read

    try:
        leaf = read(session.tls.chain[0])
    except RecordError:
        return CertificateView(verdict="unreadable", days_left=None, subject="", not_after=None)
    verdict = _date_fault(leaf, now) or _name_fault(leaf, session.host) or _chain_fault(leaf, session.tls)
    if not verdict:
        # Nobody can say whether a certificate with names only is the right one for an address.
        verdict = "ok" if names_host(leaf, session.host) else "trusted"
    days = int(leaf.days_left(now))  # whole days, towards zero: 30 hours ago is one day ago
    return CertificateView(verdict=verdict, days_left=days, subject=leaf.subject, not_after=leaf.not_after)


def _date_fault(leaf: Certificate, now: datetime) -> str:
    if leaf.not_after < now:
        return "expired"
    return "not yet valid" if leaf.not_before > now else ""


def _name_fault(leaf: Certificate, host: str) -> str:
    from mailprobe.records.certificate import SAN, names_host

    if SAN in leaf.unreadable:
        return "unreadable"
    comparable = bool(leaf.addresses) or not is_address(host)
    return "wrong name" if comparable and not names_host(leaf, host) else ""


def _chain_fault(leaf: Certificate, tls: Tls) -> str:
    if tls.trust is None or tls.trust.trusted:
        return ""
    if leaf.self_issued:
        return "self-signed"
    from mailprobe.records.certificate import missing_issuer

    return "untrusted" if missing_issuer(tls) is None else "incomplete"
