"""`mailprobe trip`: send a letter, wait until it arrives, and say how it came."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource

from mailprobe import __version__
from mailprobe.cli import meanwhile
from mailprobe.cli.logins import lab_password
from mailprobe.cli.options import network_options, open_network, put, running_lab, say, session_options, style, width
from mailprobe.cli.status import UNDECIDED
from mailprobe.cli.trip_options import (
    LOST_AFTER_S,
    Wanted,
    check_wanted,
    make_plan,
    read_pair,
    trip_options,
)
from mailprobe.cli.verdicts import exit_status
from mailprobe.mail.trip import Lull, Plan, trip_by_turns
from mailprobe.mail.trip import trip as make_trip
from mailprobe.model.errors import UsageError
from mailprobe.model.finding import Severity
from mailprobe.model.trip import Trip, TripReport
from mailprobe.net.network import Network

if TYPE_CHECKING:
    from mailprobe.cli.trip_lab import Road

_AFTERWARDS = ("mailprobe.checks", "mailprobe.checks.judge", "mailprobe.output.trip")


@click.command()
@click.argument("sender", metavar="[FROM", required=False)
@click.argument("recipient", metavar="TO]", required=False)
@trip_options
@network_options
@session_options
def trip(sender: str | None, recipient: str | None, **given: Any) -> int:
    """Send a letter from FROM to TO, wait until it arrives, and say how it came: each hop, each delay.

    \b
    mailprobe trip a@a.test b@b.test --submit smtp.a.test --imap imap.b.test
    mailprobe trip a@a.test b@b.test --mx --pop3 mail.b.test --format nagios
    mailprobe trip a@a.test b@b.test --state /var/lib/trip.json
    mailprobe trip --lab
    mailprobe trip --lab flow-greylisting

    The letter is found again by a token of its own, in the inbox or in the junk folder, compared with what was sent,
    and deleted; nothing else is touched. Passwords come from MAILPROBE_FROM_PASSWORD and MAILPROBE_TO_PASSWORD, from
    files or a prompt. In the lab alice writes to bob, the eight steps are shown, and the clock skips all waiting. The
    name of a scenario (`mailprobe lab list flow`) stands for its FROM, TO and options.
    Exit status: 0 all well, 1 a finding at or above --fail-on, 3 something could not be decided.
    """
    known = lab_password(given["lab"])
    in_lab = known is not None
    if sender is not None and recipient is None and in_lab and "@" not in sender:
        sender, recipient, given = _scenario(sender, given)
    wanted = Wanted(**{name: given.pop(name) for name in Wanted.__struct_fields__})
    pair = read_pair(sender, recipient, in_lab=in_lab)
    check_wanted(wanted, lab=given["lab"])
    plan = make_plan(*pair, wanted, known=known)
    with _open(pair, wanted, given) as (network, lull, road):
        found = _ask(network, _go(network, plan, wanted, lull), wanted)
        report = _judged(found, network)
        return _deliver(report, wanted, road)


def _scenario(name: str, given: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Give the addresses and options of a scenario; what was given beside its name counts more.

    Raises:
        UsageError: there is no such scenario.
    """
    from mailprobe.cli.lab.catalogue import flow_words

    words = flow_words(name)
    if words is None:
        raise UsageError(f"{name!r} is no address and no scenario of a letter; `mailprobe lab list flow` names those")
    source = click.get_current_context().get_parameter_source
    meant = trip.make_context("trip", list(words)).params
    kept = {key: value for key, value in given.items() if source(key) is not ParameterSource.DEFAULT}
    return meant.pop("sender"), meant.pop("recipient"), {**meant, **kept}


def _ask(network: Network, going: Coroutine[Any, Any, tuple[Trip, ...]], wanted: Wanted) -> tuple[Trip, ...]:
    """Make the trip; no progress is shown over the words that a person is to read meanwhile."""
    if wanted.pause is not None:
        return tuple(msgspec.structs.replace(each, paused=True) for each in asyncio.run(going))
    return meanwhile.ask(network, going, _AFTERWARDS)


async def _go(network: Network, plan: Plan, wanted: Wanted, lull: Lull | None) -> tuple[Trip, ...]:
    if wanted.state is None:
        return (await make_trip(network, plan, lull),)
    return await trip_by_turns(network, plan, wanted.state, wanted.lost_after or LOST_AFTER_S, lull)


@contextmanager
def _open(
    pair: tuple[str, str], wanted: Wanted, given: dict[str, Any]
) -> Iterator[tuple[Network, Lull | None, Road | None]]:
    """Open the network, and in the lab what is to be seen of it beside: its clock and the road of letters."""
    if not given["lab"]:
        with open_network(**given) as network:
            yield network, None, _road_elsewhere(pair)
        return
    from mailprobe.cli.trip_lab import LabLull, LabRoad, Standstill, read_pause

    pause = read_pause(wanted.pause, *pair) if wanted.pause is not None else None
    with running_lab() as lab, open_network(**given, running=lab) as network:
        road = LabRoad(lab)
        still = Standstill(road, pause, wanted.wait, shown=wanted.form == "table") if pause is not None else None
        yield network, LabLull(lab, still), road


def _road_elsewhere(pair: tuple[str, str]) -> Road | None:
    """Give the road in a lab that runs elsewhere, if it keeps one; say what stands still there."""
    file = os.environ.get("MAILPROBE_LAB")
    if not file:
        return None
    from mailprobe.cli.trip_lab import Road
    from mailprobe.model.labfile import read_lab_file

    directory = read_lab_file(Path(file)).directory
    if not directory:
        return None
    road = Road(Path(directory))
    for line in road.standstills(pair):
        say(f"mailprobe: {line}")
    return road


def _judged(found: tuple[Trip, ...], network: Network) -> TripReport:
    from mailprobe.checks.judge import judge_trip

    findings = tuple(finding for each in found for finding in judge_trip(each))
    return TripReport(mailprobe=__version__, at=network.now(), trips=found, findings=findings)


def _deliver(report: TripReport, wanted: Wanted, road: Road | None) -> int:
    """Write the report, and give the exit status."""
    if wanted.form == "nagios":
        from mailprobe.output.trip_monitoring import nagios

        text, state = nagios(report)
        put(text)
        return int(state)
    put(_written(report, wanted, road))
    status = exit_status(report.findings, Severity(wanted.fail_on))
    return 0 if status == UNDECIDED and wanted.undecided_ok else status


def _written(report: TripReport, wanted: Wanted, road: Road | None) -> str:
    from mailprobe.output import trip as output

    if wanted.form == "table":
        return _table(report, wanted, road)
    if wanted.form == "json":
        return output.document(report, road.events(report.trips[-1].message_id) if road is not None else None)
    if wanted.form == "jsonl":
        return output.lines(report)
    if wanted.form == "prometheus":
        from mailprobe.output.trip_monitoring import metrics

        return metrics(report)
    if wanted.form == "junit":
        from mailprobe.output.junit import junit

        return junit(output.as_report(report))
    from mailprobe.output.github import github

    return github(output.as_report(report))


def _table(report: TripReport, wanted: Wanted, road: Road | None) -> str:
    from mailprobe.output import trip as output

    shown = [road.timeline(report.trips[-1].message_id, style(), width())] if road is not None else []
    shown.append(output.trips(report, style(), width(), verbose=wanted.verbose, explain=wanted.explain))
    if wanted.verbose:
        shown.append(output.conversations(report, style()))
    return "\n".join(part for part in shown if part)
