"""Every scenario of a letter's road, driven by a trip over real sockets: no one sleeps, the lab's clock jumps."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator

import pytest

from mailprobe.checks.judge import judge_trip
from mailprobe.cli.logins import LAB_PASSWORD
from mailprobe.cli.trip import trip as command
from mailprobe.cli.trip_lab import LabLull, LabRoad
from mailprobe.cli.trip_options import Wanted, make_plan, read_pair
from mailprobe.lab.post.listing import read_mailbox
from mailprobe.lab.scenario import Scenario
from mailprobe.lab.world import SCENARIOS, Lab
from mailprobe.mail.trip import trip
from mailprobe.model.finding import Finding, Verdict
from mailprobe.model.road import What
from mailprobe.model.trip import Trip
from mailprobe.net.labs import inside
from mailprobe.net.network import Network, Reach

FLOWS = {scenario.name: scenario for scenario in SCENARIOS if scenario.layer == "flow"}
TROUBLED = {Verdict.FAIL, Verdict.UNKNOWN, Verdict.BROKEN}
BOUNCED = {
    "flow-alias-dangling": "5.1.1",
    "flow-alias-loop": "5.4.6",
    "flow-mail-loop": "5.4.6",
    "flow-unknown-user": "5.1.1",
    "flow-mailbox-full": "5.2.2",
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


def journey(words: str, lab: Lab) -> Trip:
    """Make the trip that ``mailprobe trip --lab WORDS`` makes."""
    given = command.make_context("trip", ["--lab", *shlex.split(words)]).params
    wanted = Wanted(**{name: given[name] for name in Wanted.__struct_fields__})
    plan = make_plan(*read_pair(given["sender"], given["recipient"], in_lab=True), wanted, known=LAB_PASSWORD)
    return asyncio.run(trip(Network(inside(Reach(), lab)), plan, LabLull(lab)))


def findings(scenario: Scenario, lab: Lab) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_trip(journey(scenario.target, lab))}


@pytest.fixture(scope="module")
def healthy() -> dict[str, Finding]:
    """What is said of the twin of them all."""
    with Lab() as running:
        return findings(FLOWS["flow-good"], running)


@pytest.mark.parametrize("scenario", FLOWS.values(), ids=FLOWS)
def test_scenario_gets_its_verdict_and_its_twin_passes(
    scenario: Scenario, lab: Lab, healthy: dict[str, Finding]
) -> None:
    found = findings(scenario, lab)
    assert found[scenario.check].verdict is scenario.verdict, found[scenario.check]
    assert not [each for each in found.values() if each.verdict is Verdict.BROKEN]
    assert scenario.twin == "flow-good"
    assert healthy[scenario.check].verdict is Verdict.OK


def test_what_is_healthy_is_so_in_every_respect(healthy: dict[str, Finding]) -> None:
    assert [each for each in healthy.values() if each.verdict is not Verdict.OK] == []


@pytest.mark.parametrize(("name", "status"), BOUNCED.items())
def test_what_comes_back_says_why(name: str, status: str, lab: Lab) -> None:
    made = journey(FLOWS[name].target, lab)
    assert made.copies == ()
    assert [(bounce.action, bounce.status) for bounce in made.bounces] == [("failed", status)]
    assert made.bounces[0].removed


def test_the_eight_steps_are_written_down_in_their_order(lab: Lab) -> None:
    made = journey(FLOWS["flow-good"].target, lab)
    events = LabRoad(lab).events(made.message_id)
    seen = [event.what for event in events if event.what not in {What.RECEIVED, What.SENT}]
    assert seen == [
        *(What.HANDED_OVER, What.SPOOLED, What.EXPANDED, What.TAKEN),
        *(What.SPOOLED, What.TARGETED, What.STORED, What.READ),
    ]
    assert {What.SENT, What.RECEIVED} <= {event.what for event in events}


def test_retries_cost_the_lab_time_and_nobody_else(lab: Lab) -> None:
    made = journey(FLOWS["flow-greylisting"].target, lab)
    assert made.delay_s is not None
    assert 300 <= made.delay_s < 310
    before, after = made.copies[0].hops
    assert before.delay_s is not None
    assert before.delay_s < 10
    assert after.delay_s is not None
    assert after.delay_s >= 299


def test_one_letter_for_several_people_reaches_each(lab: Lab) -> None:
    made = journey(f"{FLOWS['flow-alias-one-to-many'].target} --keep", lab)
    assert len(made.copies) == 1
    site = lab.mail_directory / "flow-alias-one-to-many.lab.test"
    for user in ("bob", "carol"):
        assert [letter.subject for letter in read_mailbox(site, user)] == [f"mailprobe trip {made.token}"]


def test_the_owner_of_a_list_hears_what_the_sender_does_not(lab: Lab) -> None:
    made = journey(FLOWS["flow-alias-owner"].target, lab)
    assert made.bounces == ()
    site = lab.mail_directory / "flow-alias-owner.lab.test"
    (report,) = read_mailbox(site, "carol")
    assert "MAILER-DAEMON" in report.sender.upper()


def test_a_report_that_cannot_be_delivered_goes_to_postmaster_once(lab: Lab) -> None:
    journey(FLOWS["flow-double-bounce"].target, lab)
    site = lab.mail_directory / "flow-double-bounce.lab.test"
    assert read_mailbox(site, "alice") == []
    sites = [path.name for path in lab.mail_directory.glob("*.lab.test")]
    assert sorted(sites) == ["flow-double-bounce.lab.test", "receiver.lab.test"]


def test_a_letter_that_is_stored_twice_is_deleted_twice(lab: Lab) -> None:
    made = journey(FLOWS["flow-duplicate"].target, lab)
    assert [copy.removed for copy in made.copies] == [True, True]
    assert read_mailbox(lab.mail_directory / "flow-duplicate.lab.test", "bob") == []
