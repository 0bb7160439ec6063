"""Every scenario over real sockets: the check it is about says what it must, and its twin passes.

What becomes of letters is in test_flow_scenarios.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mailprobe.checks import CHECKS
from mailprobe.checks.judge import judge
from mailprobe.collect.targets import Depth, collect, parse_target
from mailprobe.lab.scenario import Scenario
from mailprobe.lab.world import SCENARIOS, Lab
from mailprobe.model.finding import Finding, Verdict
from mailprobe.net.labs import inside
from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
CHECKED = [scenario for scenario in SCENARIOS if scenario.layer != "flow"]
TROUBLED = {Verdict.FAIL, Verdict.UNKNOWN, Verdict.BROKEN}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def seen() -> dict[str, list[Finding]]:
    """Findings by scenario: a twin is asked once for all that share it."""
    return {}


def findings(scenario: Scenario, lab: Lab, seen: dict[str, list[Finding]]) -> list[Finding]:
    if scenario.name not in seen:
        # A slow greeting is told from none by waiting for it; everywhere else a short wait will do.
        greeting_s = 10.0 if scenario.check == "greeting-prompt" else 2.0
        limits = Limits(
            connect_s=1.5, greeting_s=greeting_s, reply_s=2.0, handshake_s=2.0, lookup_s=1.5, lookup_try_s=0.4
        )
        network = Network(inside(Reach(limits=limits), lab))
        evidence = asyncio.run(collect(network, [parse_target(scenario.target)], Depth()))
        seen[scenario.name] = judge(evidence)
    return seen[scenario.name]


def verdicts(found: list[Finding], check: str) -> set[Verdict]:
    return {finding.verdict for finding in found if finding.check == check}


@pytest.mark.parametrize("scenario", CHECKED, ids=lambda scenario: scenario.name)
def test_scenario_gets_its_verdict_and_its_twin_passes(
    scenario: Scenario, lab: Lab, seen: dict[str, list[Finding]]
) -> None:
    if scenario.unavailable:
        pytest.skip(scenario.unavailable)
    got = verdicts(findings(scenario, lab, seen), scenario.check)
    told = [each for each in findings(scenario, lab, seen) if each.check == scenario.check]
    assert scenario.verdict in got, told
    if scenario.verdict is Verdict.OK:
        assert not got & TROUBLED, told
    if scenario.verdict is Verdict.UNKNOWN:
        assert Verdict.FAIL not in got, told
    assert not [each for each in findings(scenario, lab, seen) if each.verdict is Verdict.BROKEN]

    twin = verdicts(findings(BY_NAME[scenario.twin], lab, seen), scenario.check)
    assert Verdict.OK in twin
    assert not twin & TROUBLED


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_scenario_in_which_it_fails_and_one_in_which_it_passes(check: str) -> None:
    failing = [item for item in SCENARIOS if item.check == check and item.verdict is Verdict.FAIL]
    assert failing, "no check without a scenario in which it fails"
    assert any(not item.unavailable for item in failing), "and the local OpenSSL can show one of them"
    assert all(item.twin in BY_NAME for item in failing)
    assert all((item.layer == "flow") is check.startswith("trip-") for item in failing)


def test_scenarios_name_checks_that_exist_and_have_names_of_their_own() -> None:
    assert {scenario.check for scenario in SCENARIOS} <= set(CHECKS)
    assert len(BY_NAME) == len(SCENARIOS)
    assert len(SCENARIOS) >= 90


def test_good_is_good_in_every_respect(lab: Lab, seen: dict[str, list[Finding]]) -> None:
    assert [each for each in findings(BY_NAME["good"], lab, seen) if each.verdict in TROUBLED] == []
