"""What a check says when the fact it needs was not learnt: silence is never a pass."""

from __future__ import annotations

from mailprobe.checks.registry import not_applicable, unknown
from mailprobe.model.evidence import Answer, Dnssec, Kind, Session, Stage, Status, Trouble
from mailprobe.model.finding import Cause, Judgement
from mailprobe.model.ports import Protocol, Service

_ANSWERS = {Status.ANSWERED, Status.NODATA, Status.NXDOMAIN}
_WORDS = {
    Status.SERVFAIL: "the resolver answered SERVFAIL",
    Status.REFUSED: "the resolver refused to answer",
    Status.TIMEOUT: "the resolver did not answer",
    Status.FAILED: "the resolver gave no usable answer",
}
_NOT_REACHED = {Kind.REFUSED, Kind.UNREACHABLE, Kind.TIMEOUT, Kind.LOCAL}


def lookup_undecided(answer: Answer) -> Judgement | None:
    """Judge unknown when a lookup failed; None when it was answered, positively or negatively."""
    if answer.status in _ANSWERS:
        return None
    words = _WORDS[answer.status]
    bogus = "; DNSSEC validation fails" if answer.dnssec is Dnssec.BOGUS else ""
    extra = f" ({answer.detail})" if answer.detail else ""
    return unknown(Cause.RESOLVER_FAILED, f"{answer.name} {answer.type}: {words}{bogus}{extra}")


def conversation_undecided(session: Session) -> Judgement:
    """Judge a session in which the conversation ended before the fact in question was learnt."""
    trouble = session.trouble
    if trouble is None:
        return not_applicable("the conversation did not come to this")
    if trouble.stage is Stage.CONNECT and trouble.kind in _NOT_REACHED:
        return not_applicable(f"the port was not reached: {trouble.detail}")
    if speaks_otherwise(session):
        return not_applicable(f"the port speaks {session.speaks}")
    if trouble.kind is Kind.REJECTED:
        return not_applicable(f"the server gave no service: {trouble.detail}")
    return unknown(cause_of(trouble), f"{trouble.stage.value}: {trouble.detail}")


def cause_of(trouble: Trouble) -> Cause:
    """Name the cause of a trouble that leaves something undecided."""
    # A 454 to STARTTLS tells of the server's own trouble, not of too many visitors.
    if trouble.kind is Kind.TEMPORARY and (trouble.stage is not Stage.STARTTLS or trouble.detail.startswith("421")):
        grey = trouble.detail[:3] in {"450", "451"} or "greylist" in trouble.detail.lower()
        return Cause.GREYLISTED if grey else Cause.RATE_LIMITED
    if trouble.kind is Kind.TIMEOUT:
        return Cause.NO_ANSWER
    return Cause.INTERRUPTED


def protocol_of(session: Session) -> Protocol:
    """The protocol expected on the port of a session."""
    return Service(session.service).protocol


def speaks_otherwise(session: Session) -> bool:
    """Tell whether something answered that is not the protocol expected."""
    expected = protocol_of(session)
    return session.speaks is not None and expected is not Protocol.UNKNOWN and session.speaks != expected.value


def endless(session: Session) -> bool:
    """Tell whether the server sent more than any honest one does."""
    return session.trouble is not None and session.trouble.kind is Kind.LIMIT
