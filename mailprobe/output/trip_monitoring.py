"""Trips for monitoring: the line of a plugin with performance data, and metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailprobe.model.finding import Finding
from mailprobe.model.trip import Copy, Trip, TripReport
from mailprobe.model.trip import State as Fate
from mailprobe.output import prometheus
from mailprobe.output.nagios import WORSE, State, one_line, state_of
from mailprobe.output.trip import as_report, bounced, count, found, said, summary
from mailprobe.output.widths import ELLIPSIS, shorten, width_of

_LINE = 79  # the Monitoring Plugins Development Guidelines want less than 80 characters


# -- Nagios -----------------------------------------------------------------------------------------------------


def nagios(report: TripReport) -> tuple[str, State]:
    """Give the text of the plugin and its exit status: errors are critical, warnings a warning, unknown is unknown."""
    wrong = [finding for finding in report.findings if state_of(finding) is not State.OK]
    wrong.sort(key=lambda finding: -WORSE.index(state_of(finding)))
    status = max(map(state_of, wrong), key=WORSE.index, default=State.OK if report.findings else State.UNKNOWN)
    head = one_line(f"MAILPROBE {status.name} - {_headline(report, wrong)}")
    if width_of(head) > _LINE:
        head = shorten(head, _LINE - 2).rstrip(ELLIPSIS).rstrip() + "..."
    lines = [f"{head} | {' '.join(_performance(report))}"]
    lines += [one_line(f"{state_of(each).name}: {each.check}: {each.detail}") for each in wrong]
    lines += [one_line(f"report: {bounced(bounce)}") for trip in report.trips for bounce in trip.bounces]
    return "\n".join(lines) + "\n", status


def _headline(report: TripReport, wrong: list[Finding]) -> str:
    """Say the worst that is wrong, else what became of the letter."""
    if wrong:
        return f"{wrong[0].check}: {wrong[0].detail or wrong[0].claim}"
    if len(report.trips) > 1:
        return f"{summary(report)}: {report.trips[0].name}"
    (trip,) = report.trips
    words = said(trip.outcome) if trip.state is Fate.PENDING and trip.outcome is not None else found(trip)
    return f"{words}: {trip.name}"


def _performance(report: TripReport) -> Iterator[str]:
    """Give the delay of the slowest letter that arrived, and the road of the last one."""
    slowest = max((trip.delay_s for trip in report.trips if trip.delay_s is not None), default=None)
    limits = report.trips[-1].thresholds
    delay = f"{_number(slowest)}s" if slowest is not None else "U"
    yield f"delay={delay};{_number(limits.warn_s)};{_number(limits.crit_s)};0"
    copy = _last_copy(report)
    yield f"hops={len(copy.hops) if copy is not None else 'U'};;;0"
    for number, hop in enumerate(copy.hops if copy is not None else (), 1):
        if hop.delay_s is not None:
            yield f"hop{number}={_number(hop.delay_s)}s"
    yield from (f"{state.value}={number};;;0" for state, number in count(report.trips))


def _last_copy(report: TripReport) -> Copy | None:
    return next((trip.copies[0] for trip in reversed(report.trips) if trip.copies), None)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"


# -- Prometheus -------------------------------------------------------------------------------------------------


def metrics(report: TripReport) -> str:
    """Write the metrics of the findings, and those of the letters before them."""
    last = report.trips[-1]
    way = {"from": last.sender, "to": last.recipient}
    families = [
        prometheus.family(
            "mailprobe_trip_letters",
            "How many letters of this run there are, by what became of them.",
            [({**way, "state": state.value}, float(number)) for state, number in count(report.trips)],
        ),
        prometheus.family(
            "mailprobe_trip_delay_seconds",
            "How long the letter took that was sent last and has arrived.",
            [(way, delay) for delay in _last_delay(report)],
        ),
        prometheus.family(
            "mailprobe_trip_copies",
            "How many copies of that letter there were, in the inbox and in the junk folder.",
            [({**way, "junk": word}, number) for word, number in _copies(report)],
        ),
        prometheus.family(
            "mailprobe_trip_hop_delay_seconds",
            "How long each hop of that letter took, below 0 where clocks disagree.",
            list(_hops(report, way)),
        ),
    ]
    return "".join(families) + prometheus.findings(as_report(report))


def _arrived(report: TripReport) -> Trip | None:
    return next((trip for trip in reversed(report.trips) if trip.copies), None)


def _last_delay(report: TripReport) -> Iterator[float]:
    arrived = _arrived(report)
    if arrived is not None and arrived.delay_s is not None:
        yield arrived.delay_s


def _copies(report: TripReport) -> Iterator[tuple[str, float]]:
    arrived = _arrived(report)
    if arrived is not None:
        yield "no", float(sum(not copy.junk for copy in arrived.copies))
        yield "yes", float(sum(copy.junk for copy in arrived.copies))


def _hops(report: TripReport, way: Mapping[str, str]) -> Iterator[prometheus.Sample]:
    copy = _last_copy(report)
    for number, hop in enumerate(copy.hops if copy is not None else (), 1):
        if hop.delay_s is not None:
            yield {**way, "hop": f"{number}", "by": hop.by}, hop.delay_s
