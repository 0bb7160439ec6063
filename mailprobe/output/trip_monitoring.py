"""Trips for monitoring: the line of a plugin with performance data, and metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailprobe.model.finding import Finding
from mailprobe.model.trip import Bounce, Copy, Trip, TripReport
from mailprobe.model.trip import State as Fate
from mailprobe.output import prometheus
from mailprobe.output.nagios import WORSE, State, one_line, state_of
from mailprobe.output.trip import as_report, bounced, count, said, summary
from mailprobe.output.widths import ELLIPSIS, shorten, width_of
from mailprobe.output.words import in_trouble, plural

_LINE = 79  # the Monitoring Plugins Development Guidelines want less than 80 characters


# -- Nagios -----------------------------------------------------------------------------------------------------


def nagios(report: TripReport) -> tuple[str, State]:
    """Give the text of the plugin and its exit status: errors are critical, warnings a warning, unknown is unknown."""
    wrong = [finding for finding in report.findings if state_of(finding) is not State.OK]
    wrong.sort(key=lambda finding: -WORSE.index(state_of(finding)))
    status = max(map(state_of, wrong), key=WORSE.index, default=State.OK if report.findings else State.UNKNOWN)
    head = _head(f"MAILPROBE {status.name} - ", report, wrong)
    lines = [f"{head} | {' '.join(_performance(report))}"]
    lines += [one_line(f"{state_of(each).name}: {each.check}: {each.detail}") for each in wrong]
    lines += [one_line(f"report: {bounced(bounce)}") for trip in report.trips for bounce in trip.bounces]
    return "\n".join(lines) + "\n", status


def _head(start: str, report: TripReport, wrong: list[Finding]) -> str:
    """Write the first line with as much as there is room for; what matters comes first and is never cut."""
    trip = report.trips[-1]
    sender, recipient = (address.rpartition("@")[0] for address in (trip.sender, trip.recipient))
    headlines = _headlines(report, wrong)
    for outcome in headlines:
        for names in (f": {trip.name}", f": {sender}@... to {recipient}@...", ""):
            head = one_line(start + outcome + names)
            if width_of(head) <= _LINE:
                return head
    return shorten(one_line(start + headlines[-1]), _LINE - 2).rstrip(ELLIPSIS).rstrip() + "..."


def _headlines(report: TripReport, wrong: list[Finding]) -> list[str]:
    """Say what became of the letter, or of how many, then the worst that is wrong beside: the longest first."""
    several = len(report.trips) > 1
    fate = summary(report) if several else _fate(report.trips[0])
    beside = wrong if several or report.trips[0].copies else []
    if not beside:
        return [fate]
    check = f"{fate}; {beside[0].check}"
    return [f"{check}: {beside[0].detail or beside[0].claim}", check]


def _fate(trip: Trip) -> str:
    """Say what became of a letter, the word for it and the time first."""
    after = _span(trip.waited_s)
    match trip.state:
        case Fate.ARRIVED:
            return _arrival(trip)
        case Fate.RETURNED:
            return f"returned after {after}: {_reason(trip)}"
        case Fate.LOST:
            return f"not-arrived after {after}"
        case Fate.REFUSED | Fate.PENDING if trip.outcome is not None:
            return said(trip.outcome) if trip.state is Fate.REFUSED else f"pending, {said(trip.outcome)}"
    if trip.look is not None and trip.look.trouble is not None:
        return f"mailbox not read: {in_trouble(trip.look.trouble)}"
    return f"not-arrived after {after}, and nobody knows whether it was taken" if trip.look else "nobody looked"


def _arrival(trip: Trip) -> str:
    copy = trip.copies[0]
    after = f" after {_span(trip.delay_s)}" if trip.delay_s is not None else ""
    hops = f", {plural(len(copy.hops), 'hop')}" if copy.fetched else ""
    return f"arrived{after} in {copy.folder}{hops}"


def _reason(trip: Trip) -> str:
    """Give the words of the first report of a failure; most have the status in them."""
    failed: Bounce = next(bounce for bounce in trip.bounces if bounce.action == "failed")
    in_words = failed.status in failed.diagnostic
    return failed.diagnostic if in_words else f"{failed.status} {failed.diagnostic}".rstrip()


def _span(seconds: float) -> str:
    """Write a span in seconds, as performance data has it: tenths where they tell something."""
    return f"{seconds:.1f} s" if seconds < 9.95 and round(seconds, 1) != round(seconds) else f"{seconds:.0f} s"


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
