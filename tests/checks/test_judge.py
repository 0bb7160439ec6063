"""Judging: which checks there are, which are chosen, that one which crashes silences nobody, that order is fixed."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from itertools import pairwise
from types import ModuleType

import pytest

import mailprobe.checks
from mailprobe.checks import CHECKS, MODULES, TOPICS, judge
from mailprobe.checks.judge import EVIDENCE, choose
from mailprobe.checks.registry import Check, Scene, Subject, check, not_applicable, ok
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import SCHEMA, Address, Evidence, Host, Session, Settings, Target
from mailprobe.model.finding import Judgement, Severity, Verdict
from mailprobe.model.trip import Trip
from tests.checks import (
    test_access,
    test_addresses,
    test_certificate,
    test_greeting,
    test_mx,
    test_replies,
    test_smtp,
    test_starttls,
    test_tls,
    test_trip,
)
from tests.checks.factories import (
    ADDRESS,
    HOST,
    NOW,
    PORTS,
    Case,
    busy,
    domain,
    host,
    host_target,
    refused,
    scene,
    session,
    silent,
)

TABLES: tuple[ModuleType, ...] = (
    test_mx,
    test_addresses,
    test_greeting,
    test_replies,
    test_smtp,
    test_access,
    test_starttls,
    test_tls,
    test_certificate,
    test_trip,
)
CASES: list[Case] = [case for table in TABLES for case in table.CASES]
SESSION_CHECKS = [found for found in CHECKS.values() if found.subject is Session]

# What is seen is all there is to know: these look only at what was found, and where nothing was they do not apply.
NEVER_UNKNOWN = {"helo-ptr-match", "address-families-agree", "starttls-state-discarded", "certificate-same-everywhere"}
# Whatever the port, there is something to say.
NEVER_INAPPLICABLE = {"trip-accepted"}


def evidence(*targets: Target) -> Evidence:
    settings = Settings(resolver="system", ehlo_name="probe.test", internal_networks=(), ports=PORTS, thorough=False)
    return Evidence(schema=SCHEMA, mailprobe="0.1", collected_at=NOW, settings=settings, targets=targets)


HEALTHY_HOST = host(*(session(port) for port in PORTS))
WHOLE = evidence(
    domain(f"10 {HOST}.", hosts=(HEALTHY_HOST,)),
    host_target(host(refused(25), busy(143), silent(465)), asked="other.test"),
)


# -- the catalogue ----------------------------------------------------------------------------------------------


def test_the_list_of_modules_is_what_the_folder_holds() -> None:
    folder = [found.name for found in pkgutil.iter_modules(mailprobe.checks.__path__)]
    modules = [importlib.import_module(f"mailprobe.checks.{name}") for name in folder]
    defining = {module for module in modules if any(isinstance(each, Check) for each in vars(module).values())}
    assert set(MODULES) == defining
    assert len(MODULES) == len(set(MODULES))


def test_no_two_checks_share_an_id() -> None:
    found = [each for module in MODULES for each in vars(module).values() if isinstance(each, Check)]
    assert len(found) == len(CHECKS)
    assert {each.id for each in found} == set(CHECKS)


@pytest.mark.parametrize("found", CHECKS.values(), ids=CHECKS)
def test_the_metadata_of_a_check_is_complete(found: Check) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", found.id)
    assert CHECKS[found.id] is found
    assert found.subject in {*EVIDENCE, Trip}
    for text in (found.claim, found.advice, found.source, found.why):
        assert text == text.strip()
        assert text
        assert "TODO" not in text
    assert not found.claim.endswith(".")
    assert found.claim[0].isupper()
    assert found.advice.endswith(".")
    assert found.why.endswith(".")
    assert "\n" not in found.why
    assert 1 <= len(re.findall(r"[.?!](?=\s|$)", found.why)) <= 2
    assert found.severity in Severity


def test_a_check_is_named_after_its_function() -> None:
    for module in MODULES:
        for name, each in vars(module).items():
            if isinstance(each, Check):
                assert name == each.id.replace("-", "_")


def test_topics_are_the_first_words_of_the_ids() -> None:
    assert set(TOPICS) == {name.partition("-")[0] for name in CHECKS}
    assert len(TOPICS) == len(set(TOPICS))
    assert not set(TOPICS) & set(CHECKS)


# -- the tables of cases ----------------------------------------------------------------------------------------


def verdicts() -> dict[str, set[Verdict]]:
    found: dict[str, set[Verdict]] = defaultdict(set)
    for case in CASES:
        found[case.check].add(case.verdict)
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_has_a_case_for_each_verdict_it_can_give(name: str) -> None:
    wanted = {Verdict.OK, Verdict.FAIL, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE}
    if name in NEVER_UNKNOWN:
        wanted.discard(Verdict.UNKNOWN)
    if name in NEVER_INAPPLICABLE:
        wanted.discard(Verdict.NOT_APPLICABLE)
    assert verdicts()[name] == wanted


# What a silent or busy server nevertheless shows.
SEEN_ANYWAY = {"exchanger-reachable", "port-reachable"}
SEEN_OF_A_GREETING = {
    "greeting-sent",
    "greeting-prompt",
    "port-protocol",
    "port-tls-mode",
    "reply-form",
    "reply-bounded",
    "reply-extra",
    "imap-preauth",
    "imap-untagged-before-tls",
    "imap-referral",
    "pop3-apop",
}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("found", SESSION_CHECKS, ids=[each.id for each in SESSION_CHECKS])
def test_silence_is_never_a_pass(found: Check, port: int) -> None:
    for nothing in (refused(port), silent(port)):
        verdict = found(nothing, scene()).verdict
        assert verdict in {Verdict.UNKNOWN, Verdict.NOT_APPLICABLE} or found.id in SEEN_ANYWAY
    verdict = found(busy(port), scene()).verdict
    assert verdict in {Verdict.UNKNOWN, Verdict.NOT_APPLICABLE} or found.id in SEEN_ANYWAY | SEEN_OF_A_GREETING
    assert verdict is not Verdict.FAIL


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("found", SESSION_CHECKS, ids=[each.id for each in SESSION_CHECKS])
def test_a_healthy_session_fails_no_check(found: Check, port: int) -> None:
    assert found(session(port), scene()).verdict in {Verdict.OK, Verdict.NOT_APPLICABLE}


# -- choosing ---------------------------------------------------------------------------------------------------


def ids(*only: str, skip: tuple[str, ...] = ()) -> list[str]:
    return [each.id for each in choose(only, skip)]


def test_all_checks_about_evidence_are_chosen_unless_said_otherwise() -> None:
    assert ids() == [name for name in CHECKS if not name.startswith("trip-")]


def test_checks_are_chosen_by_id_and_by_topic_in_their_own_order() -> None:
    assert ids("tls-version", "mx-usable") == ["mx-usable", "tls-version"]
    assert ids("tls") == [name for name in CHECKS if name.startswith("tls-")]
    assert ids("tls", "tls-version") == ids("tls")


def test_what_is_skipped_is_not_chosen() -> None:
    assert ids("tls", skip=("tls-version",)) == [name for name in ids("tls") if name != "tls-version"]
    assert ids("tls-version", skip=("tls",)) == []
    assert not [name for name in ids(skip=("mx",)) if name.startswith("mx-")]


@pytest.mark.parametrize("word", ["nonsense", "tls-", "TLS", "", "mx-usable "])
def test_a_word_that_is_neither_check_nor_topic_is_refused_with_the_topics(word: str) -> None:
    for only, skip in (((word,), ()), ((), (word,))):
        with pytest.raises(UsageError, match="is no check and no topic; topics are domain, mx, "):
            choose(only, skip)


# -- judging ----------------------------------------------------------------------------------------------------


def made(name: str, function: object) -> Check:
    return check(id=name, claim="It holds", severity=Severity.INFO, source="practice", advice="Nothing.")(function)  # type: ignore[arg-type]


def test_a_check_that_crashes_is_broken_and_the_others_still_speak() -> None:
    def crash(target: Target) -> Judgement:
        raise ZeroDivisionError("by nothing")

    def fine(target: Target) -> Judgement:
        return ok("fine")

    findings = judge.judge(evidence(domain(f"10 {HOST}.")), [made("a-crash", crash), made("a-fine", fine)])
    assert [(each.check, each.verdict) for each in findings] == [
        ("a-crash", Verdict.BROKEN),
        ("a-fine", Verdict.OK),
    ]
    assert findings[0].detail == "the check itself failed: ZeroDivisionError: by nothing"


def test_no_check_is_broken_by_any_case() -> None:
    for case in CASES:
        case.judged()


def test_every_subject_is_judged_by_the_checks_about_it_and_named() -> None:
    seen: list[tuple[type, str]] = []

    def note(subject: Subject, scene: Scene) -> Judgement:
        seen.append((type(subject), scene.host.name if scene.host else ""))
        return not_applicable("noted")

    checks = []
    for kind in (Target, Host, Address, Session):
        note.__annotations__["subject"] = kind
        checks.append(made(f"note-{kind.__name__.lower()}", note))
    findings = judge.judge(evidence(domain(f"10 {HOST}.", hosts=(host(session(25), session(143)),))), checks)
    assert [(each.check, each.where) for each in findings] == [
        ("note-target", "a.test"),
        ("note-host", HOST),
        ("note-address", f"{HOST} [{ADDRESS}]"),
        ("note-session", f"{HOST} [{ADDRESS}]:25"),
        ("note-session", f"{HOST} [{ADDRESS}]:143"),
    ]
    assert seen == [(Target, ""), (Host, HOST), (Address, HOST), (Session, HOST), (Session, HOST)]


def test_a_finding_carries_everything_that_is_known_of_its_check() -> None:
    (finding,) = judge.judge(evidence(domain(f"10 {HOST}.")), choose(["mx-usable"]))
    found = CHECKS["mx-usable"]
    assert (finding.claim, finding.why, finding.advice, finding.source, finding.severity) == (
        found.claim,
        found.why,
        found.advice,
        found.source,
        found.severity,
    )
    assert (finding.target, finding.where, finding.verdict) == ("a.test", "a.test", Verdict.OK)


def test_the_same_evidence_gives_the_same_findings_in_the_same_order() -> None:
    first = judge.judge(WHOLE)
    assert judge.judge(WHOLE) == first
    assert not [each for each in first if each.verdict is Verdict.BROKEN]
    order = list(CHECKS)
    for earlier, later in pairwise(first):
        if (earlier.target, earlier.where) == (later.target, later.where):
            assert order.index(earlier.check) < order.index(later.check)


def test_a_choice_of_checks_gives_the_same_findings_as_all_of_them() -> None:
    chosen = judge.judge(WHOLE, choose(["certificate"]))
    assert chosen == [each for each in judge.judge(WHOLE) if each.check.startswith("certificate-")]


def test_a_healthy_domain_has_no_finding_that_fails() -> None:
    healthy = evidence(domain(f"10 {HOST}.", hosts=(HEALTHY_HOST,)))
    assert [
        each
        for each in judge.judge(healthy)
        if each.verdict is not Verdict.OK and each.verdict is not Verdict.NOT_APPLICABLE
    ] == []


def test_evidence_about_nothing_gives_no_finding() -> None:
    assert judge.judge(evidence()) == []
