"""A trip for a person and for programs: where the letter was found, its road hop by hop, and what that means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Target
from mailprobe.model.road import RoadEvent
from mailprobe.model.sending import RecipientOutcome
from mailprobe.model.trip import Access, Bounce, Copy, Hop, State, Trip, TripReport
from mailprobe.model.view import Report
from mailprobe.output import findings as judged
from mailprobe.output import json_output
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.transcript import conversation
from mailprobe.output.widths import paragraph
from mailprobe.output.words import clean, in_trouble, plural

_LABEL = 8  # columns of "sent    ", as in the findings
SKEW_S = -1.0  # dates in Received fields have no fractions: a second less than nothing is none


def as_report(report: TripReport) -> Report:
    """Give the findings in the form that the formats of `check` take; all trips between two people are one target."""
    asked = dict.fromkeys(trip.name for trip in report.trips)
    targets = tuple(Target(asked=name, domain=None, hosts=(), trouble=None) for name in asked)
    return Report(
        mailprobe=report.mailprobe, collected_at=report.at, targets=targets, findings=report.findings, sessions=()
    )


# -- for a person -----------------------------------------------------------------------------------------------


def trips(
    report: TripReport, style: Style = PLAIN, width: int = 80, *, verbose: bool = False, explain: bool = False
) -> str:
    """Write each letter with its road, then the findings about all of them."""
    parts = [_trip(trip, style, width) for trip in report.trips]
    parts.append(judged.findings(as_report(report), style, width, verbose=verbose, explain=explain))
    return "\n".join(parts)


def conversations(report: TripReport, style: Style = PLAIN) -> str:
    """Write every conversation that was held, word by word."""
    held = [each for trip in report.trips for each in _held(trip)]
    return "\n".join(conversation(each, style) for each in held if each.exchanges or each.trouble is not None)


def _held(trip: Trip) -> Iterator[Conversation]:
    yield from trip.sending.conversations if trip.sending is not None else ()
    for look in (trip.look, trip.sender_look):
        if look is not None and look.conversation is not None:
            yield look.conversation


def _trip(trip: Trip, style: Style, width: int) -> str:
    def line(label: str, text: str) -> str:
        written = paragraph(text, width, first=label.ljust(_LABEL), rest=" " * _LABEL)
        return style.dim(label) + written[len(label) :]

    lines = [style.strong(paragraph(f"{clean(trip.name)}, {clean(trip.message_id)}", width, rest="  "))]
    lines += [line("sent", _sent(trip)), line("found", found(trip))]
    lines += [line("report", bounced(bounce)) for bounce in trip.bounces]
    lines += [f"\n{road}" for copy in trip.copies if (road := _road(trip, copy, style, width))]
    return "\n".join(lines) + "\n"


def _sent(trip: Trip) -> str:
    when = f"{trip.sent_at:%Y-%m-%d %H:%M:%S} UTC"
    if trip.sending is None:
        return f"{when}, by a run that was interrupted"
    outcome = trip.outcome
    words = said(outcome) if outcome is not None else ""
    held = trip.sending.conversations
    return ", ".join(part for part in (when, _server(held[-1]) if held else "", words) if part)


def _server(held: Conversation) -> str:
    where = f"{clean(held.host)} [{clean(held.address)}]:{held.port}"
    return f"to {where} in {clean(held.tls.version)}" if held.tls is not None else f"to {where} in clear"


def said(outcome: RecipientOutcome) -> str:
    """Give what became of a recipient, with the server's words."""
    words = " ".join(outcome.reply.lines) if outcome.reply is not None else outcome.detail
    return clean(f"{outcome.outcome.value}: {words}" if words else outcome.outcome.value)


def found(trip: Trip) -> str:
    """Say in a line what became of the letter."""
    match trip.state:
        case State.ARRIVED:
            return "; ".join(_copy(trip, copy) for copy in trip.copies)
        case State.RETURNED:
            return "it came back"
        case State.REFUSED:
            return "nothing: it was not taken"
        case State.PENDING:
            return f"not yet, {span(trip.waited_s)} after it was sent; a later run looks again"
        case State.LOST:
            return f"nothing in {_folders(trip)} within {span(trip.waited_s)}"
    if trip.look is None:
        return "nobody looked"
    if trip.look.trouble is not None:
        return f"nobody knows: {in_trouble(trip.look.trouble)}"
    return f"nothing within {span(trip.waited_s)}, and nobody knows whether it was taken"


def _folders(trip: Trip) -> str:
    return " and ".join(clean(name) for name in trip.look.folders) if trip.look is not None else ""


def _copy(trip: Trip, copy: Copy) -> str:
    delay = trip.delay_of(copy)
    after = f" after {span(delay)}" if delay is not None else ""
    body = {True: "unchanged", False: "the body has changed", None: "not compared"}[copy.unchanged]
    kept = "deleted again" if copy.removed else "left there"
    return f"in {clean(copy.folder)} ({_number(trip)} {clean(copy.uid)}){after}; {body}; {kept}"


def _number(trip: Trip) -> str:
    """Name what tells letters apart in the mailbox that was read (RFC 9051 §2.3.1.1, RFC 1939 §7)."""
    return "unique id" if trip.look is not None and trip.look.access is Access.POP3 else "UID"


def bounced(bounce: Bounce) -> str:
    """Say in a line what a delivery report tells."""
    parts = (bounce.recipient, bounce.action, bounce.status, bounce.diagnostic)
    words = " ".join(part for part in parts if part)
    return clean(f"{words}, said {bounce.remote}" if bounce.remote else words)


def _road(trip: Trip, copy: Copy, style: Style, width: int) -> str:
    """Draw the hops of a copy with the time that each took."""
    if not copy.hops:
        return ""
    rows = [_hop(number, hop, style) for number, hop in enumerate(copy.hops, 1)]
    delay = trip.delay_of(copy)
    if delay is not None:
        rows.append(("", "", "", "", "", "total", span(delay)))
    headers = ("hop", "from", "by", "with", "TLS", "at", "took")
    return table(headers, rows, width=width, right={0, 6}, wraps={1, 2, 3, 6})


def _hop(number: int, hop: Hop, style: Style) -> tuple[str, ...]:
    security = {True: "yes", False: style.warn("no"), None: "?"}[hop.tls]
    at = f"{hop.at:%H:%M:%S}" if hop.at is not None else "?"
    client = clean(hop.client or hop.client_address) or "-"
    return f"{number}", client, clean(hop.by) or "-", clean(hop.protocol) or "-", security, at, _took(hop, style)


def _took(hop: Hop, style: Style) -> str:
    if hop.delay_s is None:
        return "?"
    if hop.delay_s <= SKEW_S:
        return style.warn(f"{span(hop.delay_s)} clock?")
    return span(max(0.0, hop.delay_s))


def span(seconds: float) -> str:
    """Write a span of time: ``0.4 s``, ``12 s``, ``2 min 5 s``, ``3 h 0 min``."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


# -- for programs -----------------------------------------------------------------------------------------------


def document(report: TripReport, road: Sequence[RoadEvent] | None = None) -> str:
    """Write one JSON document: that of `check`, the trips beside it, and in a lab the *road* of the last letter."""
    whole = json.loads(json_output.findings(as_report(report)))
    whole["trips"] = [_as_data(trip) for trip in report.trips]
    if road is not None:
        whole["road"] = msgspec.to_builtins(road)
    return json.dumps(whole, indent=2) + "\n"


def lines(report: TripReport) -> str:
    """Write each trip on a line of its own, with the findings about it."""
    when = msgspec.to_builtins(report.at)
    return "".join(
        json.dumps({"at": when, **_as_data(trip), "findings": found}, separators=(",", ":")) + "\n"
        for trip, found in zip(report.trips, _by_trip(report), strict=True)
    )


def _as_data(trip: Trip) -> dict[str, object]:
    """Give the evidence with what it amounts to before it."""
    data: dict[str, object] = msgspec.to_builtins(trip)
    return {"state": trip.state.value, "delay_s": trip.delay_s, **data}


def _by_trip(report: TripReport) -> Iterator[object]:
    """Give each trip's own findings: every trip has as many, in the order of the trips."""
    each = len(report.findings) // len(report.trips) if report.trips else 0
    for number in range(len(report.trips)):
        yield msgspec.to_builtins(report.findings[number * each : (number + 1) * each])


def summary(report: TripReport) -> str:
    """Count the letters by what became of them: ``2 arrived, 1 pending``; one alone is told in words."""
    counts = count(report.trips)
    return ", ".join(plural(number, state.value, state.value) for state, number in counts if number)


def count(found: Sequence[Trip]) -> list[tuple[State, int]]:
    """Count trips by what became of them, zeros too."""
    return [(state, sum(trip.state is state for trip in found)) for state in State]
