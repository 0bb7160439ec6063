"""Runs the checks over evidence: the same evidence gives the same findings, today and next year."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mailprobe.checks import CHECKS, TOPICS
from mailprobe.checks.registry import Check, Scene, Subject
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Address, Evidence, Host, Session, Target
from mailprobe.model.finding import Finding, Judgement, Verdict
from mailprobe.model.trip import Trip

EVIDENCE: tuple[type, ...] = (Target, Host, Address, Session)  # the subjects that evidence holds


def judge(evidence: Evidence, checks: Collection[Check] | None = None) -> list[Finding]:
    """Judge every subject in the evidence by every check (or by those given), in a fixed order."""
    chosen = CHECKS.values() if checks is None else checks
    return [
        _finding(check, subject, scene, target.asked, where)
        for target in evidence.targets
        for subject, scene, where in _subjects(evidence, target)
        for check in chosen
        if check.subject is type(subject)
    ]


def judge_trip(trip: Trip, checks: Collection[Check] | None = None) -> list[Finding]:
    """Judge a trip by every check that is about trips (or by those given), in a fixed order."""
    chosen = CHECKS.values() if checks is None else checks
    return [_finding(check, trip, None, trip.name, trip.name) for check in chosen if check.subject is Trip]


def choose(
    only: Collection[str] = (), skip: Collection[str] = (), *, about: Collection[type] = EVIDENCE
) -> list[Check]:
    """Give the checks *about* these subjects that are named by id or topic in *only* (all when empty), not in *skip*.

    Raises:
        UsageError: a word that is neither an id nor a topic.
    """
    for word in (*only, *skip):
        if word not in CHECKS and word not in TOPICS:
            raise UsageError(f"{word!r} is no check and no topic; topics are {', '.join(TOPICS)}")
    return [
        check
        for check in CHECKS.values()
        if check.subject in about and (not only or _named(check, only)) and not _named(check, skip)
    ]


def _named(check: Check, words: Collection[str]) -> bool:
    return check.id in words or check.id.partition("-")[0] in words


def _subjects(evidence: Evidence, target: Target) -> Iterator[tuple[Subject, Scene, str]]:
    def scene(host: Host | None = None, address: Address | None = None) -> Scene:
        return Scene(evidence.collected_at, evidence.settings, target, host, address)

    yield target, scene(), target.domain.name if target.domain else target.asked
    for host in target.hosts:
        yield host, scene(host), host.name
        for address in host.addresses:
            yield address, scene(host, address), f"{host.name} [{address.address}]"
            for session in address.sessions:
                yield session, scene(host, address), session_name(session)


def session_name(session: Session) -> str:
    """Name a session for people: ``host [address]:port``."""
    return f"{session.host} [{session.address}]:{session.port}"


def _finding(check: Check, subject: Subject, scene: Scene | None, asked: str, where: str) -> Finding:
    try:
        judgement = check(subject, scene)
    except Exception as error:  # noqa: BLE001 - one check that crashes must not silence the others
        judgement = Judgement(Verdict.BROKEN, f"the check itself failed: {type(error).__name__}: {error}")
    return Finding(
        check=check.id,
        verdict=judgement.verdict,
        severity=check.severity,
        target=asked,
        where=where,
        claim=check.claim,
        detail=judgement.detail,
        culprit=judgement.culprit,
        cause=judgement.cause,
        why=check.why,
        advice=judgement.advice or check.advice,
        source=check.source,
    )
