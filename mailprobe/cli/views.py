"""Makes of evidence what the outputs take: each session with its certificate in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Evidence, Session
from mailprobe.model.finding import Finding
from mailprobe.model.names import is_address
from mailprobe.model.view import CertificateView, Report, SessionView


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
        SessionView(target=target.asked, session=session, certificate=_certificate(session, evidence.collected_at))
        for target in evidence.targets
        for host in target.hosts
        for address in host.addresses
        for session in address.sessions
    )


def _certificate(session: Session, now: datetime) -> CertificateView | None:
    if session.tls is None or not session.tls.chain:
        return None
    from mailprobe.records.certificate import names_host, read

    try:
        leaf = read(session.tls.chain[0])
    except RecordError:
        return CertificateView(verdict="unreadable", days_left=None, subject="", not_after=None)
    trust = session.tls.trust
    if leaf.not_after < now:
        verdict = "expired"
    elif leaf.not_before > now:
        verdict = "not yet valid"
    elif not names_host(leaf, session.host) and (leaf.addresses or not is_address(session.host)):
        verdict = "wrong name"
    elif trust is None or trust.trusted:
        verdict = "ok"
    elif leaf.self_issued:
        verdict = "self-signed"
    else:
        verdict = "incomplete" if len(session.tls.chain) == 1 else "untrusted"
    days = int(leaf.days_left(now))  # whole days, towards zero: 30 hours ago is one day ago
    return CertificateView(verdict=verdict, days_left=days, subject=leaf.subject, not_after=leaf.not_after)
