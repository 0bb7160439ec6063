"""The road of a letter as text: what happened hop by hop, what is still to come, and what waits where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain

from mailprobe.model.road import STEPS, Part, RoadEvent, Step, Waiting, What
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.widths import paragraph, width_of
from mailprobe.output.words import clean, milliseconds, plural

Paused = Collection[tuple[str, Part]]

_LABELS = {
    What.HANDED_OVER: STEPS[Step.HANDED_OVER],
    What.SPOOLED: STEPS[Step.SPOOLED],
    What.EXPANDED: STEPS[Step.EXPANDED],
    What.TAKEN: STEPS[Step.TAKEN],
    What.SENT: STEPS[Step.SENT],
    What.RECEIVED: "MTA server receives it",
    What.TARGETED: STEPS[Step.TARGETED],
    What.STORED: STEPS[Step.STORED],
    What.READ: STEPS[Step.READ],
    What.DEFERRED: "put off",
    What.BOUNCED: "returned to the sender",
    What.EXPIRED: "given up",
    What.DELAYED: "sender warned of a delay",
    What.HELD: "held",
    What.DROPPED: "dropped",
    What.DUPLICATE: "left out: a second way to the same mailbox",
    What.CORRUPT: "cannot be read",
}
_BAD = {What.BOUNCED, What.EXPIRED, What.DROPPED, What.CORRUPT}
_ODD = {What.DEFERRED, What.DELAYED, What.HELD, What.DUPLICATE}
_DONE = {"sent", "bounced", "expired"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_INDENT = "     "
PARTS = {
    Part.PICKUP: "the pickup",
    Part.EXPANDER: "the alias expander",
    Part.CLIENT: "the MTA client",
    Part.SERVER: "the MTA server",
    Part.MAILBOX: "the delivery into mailboxes",
    Part.READER: "the reading of mailboxes",
}


def timeline(
    events: Sequence[RoadEvent],
    waiting: Sequence[Waiting] = (),
    paused: Paused = (),
    style: Style = PLAIN,
    width: int = 80,
) -> str:
    """Write what happened to a letter, site after site along its road, then what it waits for."""
    if not events:
        return ""
    first = events[0]
    name = next((event.message_id for event in events if event.message_id), first.queue_id)
    sites = max(width_of(clean(event.site)) for event in events)
    heading = style.strong(clean(f"{name}, {first.at:%Y-%m-%d %H:%M:%S} UTC"))
    lines = [heading, "", *(entry(event, first.at, sites, style, width) for event in _by_leg(events))]
    expanded = {(event.site, event.queue_id) for event in events if event.what in (What.EXPANDED, What.TARGETED)}
    ahead = [line for each in waiting if (line := _where(each, (each.site, each.queue_id) in expanded, paused))]
    for text in dict.fromkeys(ahead):
        lines.append(style.warn(paragraph(text, width, rest=_INDENT)))
    if not is_over(events, waiting):
        lines.append(style.dim(paragraph(_still_to_come(events), width, rest=_INDENT)))
    return "\n".join(lines) + "\n"


def _by_leg(events: Sequence[RoadEvent]) -> Iterator[RoadEvent]:
    """Give what happened under each queue id together: neighbours on the road write at the same time."""
    legs: dict[tuple[str, str], list[RoadEvent]] = {}
    for event in events:
        legs.setdefault((event.site, event.queue_id), []).append(event)
    return chain.from_iterable(legs.values())


def entry(event: RoadEvent, start: datetime, sites: int, style: Style = PLAIN, width: int = 80) -> str:
    """Write one event: its step, time, site, and what happened; details go on below."""
    number = str(int(event.step)) if event.step is not Step.BESIDE else "-"
    label = _LABELS[event.what]
    tone = style.bad if event.what in _BAD else style.warn if event.what in _ODD else str
    site = clean(event.site)
    padding = " " * (sites - width_of(site))
    after = _after((event.at - start).total_seconds())
    line = (
        f"{number}  {event.at:%H:%M:%S}.{event.at.microsecond // 1000:03}  {after:>8}  {site}{padding}  {tone(label)}"
    )
    detail = f"{event.recipient} {event.detail}" if event.detail.startswith("->") else event.detail
    facts = [event.recipient, detail] if detail == event.detail else [detail]
    text = clean("; ".join(filter(None, facts)))
    below = [paragraph(text, width, first=_INDENT, rest=_INDENT)] if text else []
    return "\n".join([line, *(style.dim(text) for text in below)])


def queue(rows: Sequence[Waiting], style: Style = PLAIN, width: int = 80) -> str:
    """Write what waits: a line for each recipient, and what was last said about it."""
    if not rows:
        return "the queues are empty\n"
    cells = [
        (
            clean(row.queue_id),
            _toned_state(row.state, style),
            clean(row.recipient),
            str(row.tries),
            f"{row.next_try:%H:%M:%S}" if row.next_try and row.state not in _DONE else "-",
        )
        for row in rows
    ]
    parts = []
    for site in dict.fromkeys(row.site for row in rows):
        own = [line for row, line in zip(rows, cells, strict=True) if row.site == site]
        headers = ("queue id", "state", "recipient", "tries", "next try")
        parts.append(f"{style.strong(clean(site))}\n{table(headers, own, width=width, right=(3,), gives=(2,))}\n")
        parts += [
            style.dim(paragraph(f"{clean(row.queue_id)}: {clean(row.reply)}", width, rest=_INDENT)) + "\n"
            for row in rows
            if row.site == site and row.reply
        ]
    letters = {(row.site, row.queue_id) for row in rows}
    return "".join(parts) + f"{plural(len(letters), 'letter')}, {plural(len(rows), 'recipient')}\n"


def aliases(rows: Iterable[tuple[str, Sequence[str]]], width: int = 80) -> str:
    """Write an alias table."""
    cells = [(clean(name), clean(", ".join(values))) for name, values in rows]
    return table(("alias", "goes to"), cells, width=width, wraps=(1,), gives=(1,)) + "\n" if cells else "no aliases\n"


def mailbox(rows: Sequence[tuple[int, str, str, str, str, int]], width: int = 80) -> str:
    """Write what a mailbox holds: number, folder, date, sender, subject and size of each letter."""
    if not rows:
        return "the mailbox is empty\n"
    cells = [(str(number), *map(clean, texts), str(size)) for number, *texts, size in rows]
    headers = ("number", "folder", "arrived", "from", "subject", "size")
    return table(headers, cells, width=width, right=(0, 5), gives=(4, 3)) + "\n"


def _where(row: Waiting, expanded: bool, paused: Paused) -> str:
    """Say where a recipient's letter waits, and for what; empty when it does not."""
    if row.state in _DONE:
        return ""
    who = f"{clean(row.recipient)}: " if row.recipient else ""
    place = "in the spool" if row.state == "spool" else f"in the queue ({row.state})"
    part = _next_part(row, expanded)
    reason = f": {PARTS[part]} is paused" if (row.site, part) in paused else ""
    due = f"; next try {row.next_try:%Y-%m-%d %H:%M:%S} UTC" if row.next_try and row.state == "deferred" else ""
    said = f"; {clean(row.reply)}" if row.reply else ""
    return f"{who}waits {place} at {clean(row.site)}{reason}{due}{said}"


def _next_part(row: Waiting, expanded: bool) -> Part:
    """Say who has to do the next thing for a recipient."""
    if row.state == "spool":
        return Part.PICKUP
    if not expanded:
        return Part.EXPANDER
    return Part.MAILBOX if row.recipient.rpartition("@")[2].lower() == row.site else Part.CLIENT


def is_over(events: Sequence[RoadEvent], waiting: Sequence[Waiting]) -> bool:
    """Tell whether nothing more will happen to a letter: somebody has read it, or everybody has given it up."""
    ended = any(event.what in _BAD for event in events) and all(row.state in _DONE for row in waiting)
    return ended or any(event.what is What.READ for event in events)


def _still_to_come(events: Sequence[RoadEvent]) -> str:
    reached = max((event.step for event in events), default=Step.BESIDE)
    ahead = [f"{int(step)} {text}" for step, text in STEPS.items() if step > reached]
    return f"not reached: {', '.join(ahead)}"


def _toned_state(state: str, style: Style) -> str:
    if state in ("bounced", "expired"):
        return style.bad(state)
    return style.warn(state) if state in ("deferred", "held") else state


def _after(seconds: float) -> str:
    """Write how long after the first event: ``+12 ms``, ``+5 min``, ``+2.5 d``."""
    if seconds < 60:
        return f"+{milliseconds(seconds * 1000)}"
    unit, name = next((unit, name) for unit, name in _UNITS if seconds >= unit)
    return f"+{seconds / unit:.3g} {name}"
