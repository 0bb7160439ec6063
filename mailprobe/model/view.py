"""Views: evidence and findings as the outputs take them, with the facts that only other rooms can work out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from mailprobe.model.evidence import Kind, Session, Stage, Struct, Target
from mailprobe.model.finding import Finding, Severity

Reachability = Literal["open", "refused", "filtered", "unreachable", "failed"]

_STATES: dict[Kind, Reachability] = {
    Kind.REFUSED: "refused",
    Kind.TIMEOUT: "filtered",
    Kind.UNREACHABLE: "unreachable",
}


class CertificateView(Struct, frozen=True, kw_only=True):
    """What there is to say of a server certificate in one line.

    *verdict* is ``ok``, the fault in a word or two (``expired``, ``wrong name``), or ``trusted`` where an address was
    asked for and there was no name to compare; *days_left* is negative once it has expired; *subject* names the
    certificate.
    """

    verdict: str
    days_left: int | None
    subject: str
    not_after: datetime | None


class SessionView(Struct, frozen=True, kw_only=True):
    """One session, the target it belongs to, and the view of its certificate, None when none was seen."""

    target: str
    session: Session
    certificate: CertificateView | None


class CheckCard(Struct, frozen=True, kw_only=True):
    """What is known of a check before it runs. *subject* is what it looks at: domain, host, address, session."""

    id: str
    claim: str
    severity: Severity
    why: str
    advice: str
    source: str
    subject: str


class Report(Struct, frozen=True, kw_only=True):
    """One judged run: all that a format needs. *mailprobe* is the version that judged."""

    mailprobe: str
    collected_at: datetime
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    sessions: tuple[SessionView, ...]


def reachability(session: Session) -> Reachability:
    """Tell whether the port took the connection, and if not, how it declined.

    ``filtered`` is silence up to our limit; ``failed`` anything that says nothing of the port, such as no
    permission here.
    """
    trouble = session.trouble
    if trouble is None or trouble.stage not in {Stage.RESOLVE, Stage.CONNECT}:
        return "open"
    if trouble.stage is Stage.RESOLVE:
        return "failed"
    return _STATES.get(trouble.kind, "failed")


def total_ms(session: Session) -> float | None:
    """Give the milliseconds that a port took, None when no time was taken."""
    timings = session.timings
    return timings.get("total", round(sum(timings.values()), 3)) if timings else None
