"""The road of a letter as text: what happened hop by hop, what is still to come, and what waits where."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from mailprobe.model.road import STEPS, Part, RoadEvent, Step, Waiting, What
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import newest, table
from mailprobe.output.widths import paragraph, width_of, wrap
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
_HEAD = 28  # columns before the site: step, time, and how long after the first event
_LABEL = max(map(len, STEPS.values()))
_WORDS_KEPT = 20  # columns that text has at least, however narrow the terminal is
_WORD = re.compile(r"`[^`]+`\S*|\S+")  # a command to be typed is one
_PIECE = re.compile(r"[^/,]*[/,]|[^/,]+")  # of a path, where it may be broken
_WAITING_SHOWN = 3  # recipients that are named before a reply
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
    *,
    advice: bool = False,
) -> str:
    """Write what happened to a letter, site after site along its road, then what it waits for.

    With *advice* the commands are named that end the waiting: it is for a lab that somebody can give orders to.
    """
    if not events:
        return ""
    first = events[0]
    name = next((event.message_id for event in events if event.message_id), first.queue_id)
    sites = site_columns((event.site for event in events), width)
    legs = _legs(events)
    heads = _headings(legs, name)
    lines = [style.strong(clean(f"{name}, {first.at:%Y-%m-%d %H:%M:%S} UTC")), ""]
    for leg, head in zip(legs, heads, strict=True):
        if head:
            lines += ["", style.dim(paragraph(head, width, rest=_INDENT))] if len(lines) > 2 else [style.dim(head)]
        lines += [entry(event, first.at, sites, style, width) for event in leg]
    for text in standing(events, waiting, paused, advice=advice):
        lines.append(style.warn(wrapped(text, width)))
    if not _is_given_up(events, waiting) and all(event.step < Step.STORED for event in events):
        lines.append(style.dim(paragraph(_still_to_come(events), width, rest=_INDENT)))
    return "\n".join(lines) + "\n"


def standing(
    events: Sequence[RoadEvent], waiting: Sequence[Waiting], paused: Paused = (), *, advice: bool = False
) -> list[str]:
    """Say where a letter stands now: for whom it waits in which queue, and in whose mailbox it is unread."""
    expanded = {(event.site, event.queue_id) for event in events if event.what in (What.EXPANDED, What.TARGETED)}
    ahead = [_where(each, (each.site, each.queue_id) in expanded, paused, advice) for each in waiting]
    ahead += [_in_the_mailbox(event, paused, advice) for event in unread(events)]
    return list(dict.fromkeys(filter(None, ahead)))


def wrapped(text: str, width: int = 80) -> str:
    """Wrap a sentence of `standing`, commands in one piece."""
    return f"\n{_INDENT}".join(_broken(text, max(width - len(_INDENT), _WORDS_KEPT)))


def site_columns(names: Iterable[str], width: int = 80) -> int:
    """Give how wide the column of sites is: as the widest that leaves room for what happened behind it."""
    room = width - _HEAD - _LABEL - 2
    return max((columns for name in names if (columns := width_of(clean(name))) <= room), default=0)


def _legs(events: Sequence[RoadEvent]) -> list[list[RoadEvent]]:
    """Put what happened under each queue id together: neighbours on the road write at the same time.

    A reader may be told of a letter before it is noted that it is stored; that comes first all the same.
    """
    legs: dict[tuple[str, str], list[RoadEvent]] = {}
    for event in events:
        legs.setdefault((event.site, event.queue_id), []).append(event)
    return [_stored_first(leg) for leg in legs.values()]


def _stored_first(leg: list[RoadEvent]) -> list[RoadEvent]:
    stored = next((place for place, event in enumerate(leg) if event.what is What.STORED), -1)
    early = [event for event in leg[: stored + 1] if event.what is What.READ]
    others = [event for event in leg[: stored + 1] if event.what is not What.READ]
    return [*others, *early, *leg[stored + 1 :]]


def _headings(legs: Sequence[Sequence[RoadEvent]], name: str) -> list[str]:
    """Give each leg a line to tell it from the others, if a site has several; else none is needed."""
    if len({leg[0].site for leg in legs}) == len(legs):
        return [""] * len(legs)
    heads = []
    seen = set()
    for leg in legs:
        letter = next((event.message_id for event in leg if event.message_id), name)
        again = (leg[0].site, letter) in seen
        seen.add((leg[0].site, letter))
        more = f": another letter, {letter}" if letter != name else ": the same letter once more" if again else ""
        heads.append(clean(f"at {leg[0].site} as {leg[0].queue_id}{more}"))
    return heads


def entry(event: RoadEvent, start: datetime, sites: int, style: Style = PLAIN, width: int = 80) -> str:
    """Write one event: its step, time, site, and what happened; details go on below, as does what finds no room.

    *sites* is the width of the column of sites, as `site_columns` gives it.
    """
    number = str(int(event.step)) if event.step is not Step.BESIDE else "-"
    after = _after((event.at - start).total_seconds())
    head = f"{number}  {event.at:%H:%M:%S}.{event.at.microsecond // 1000:03}  {after:>9}"
    tone = style.bad if event.what in _BAD else style.warn if event.what in _ODD else str
    lines = _headline(head, clean(event.site), _LABELS[event.what], sites, tone, width)
    detail = f"{event.recipient} {event.detail}" if event.detail.startswith("->") else event.detail
    facts = [event.recipient, detail] if detail == event.detail else [detail]
    text = clean("; ".join(filter(None, facts)))
    below = "\n".join(_INDENT + line for line in _broken(text, max(width - len(_INDENT), _WORDS_KEPT)))
    return "\n".join([*lines, *([style.dim(below)] if below else [])])


def _headline(head: str, site: str, label: str, sites: int, tone: Callable[[str], str], width: int) -> list[str]:
    columns = width_of(site)
    if columns <= sites and _HEAD + sites + 2 + len(label) <= width:
        return [f"{head}  {site}{' ' * (sites - columns)}  {tone(label)}"]
    if _HEAD + columns <= width:
        return [f"{head}  {site}", f"{_INDENT}{tone(label)}"]
    return [head, paragraph(site, width, _INDENT, _INDENT), f"{_INDENT}{tone(label)}"]


def _broken(text: str, room: int) -> list[str]:
    """Break text between words, and a longer word, such as a path, behind ``/`` and ``,``."""
    lines = [""]
    for word in _WORD.findall(text):
        glue = " "
        for piece in [word] if width_of(word) <= room else _PIECE.findall(word):
            joined = f"{lines[-1]}{glue}{piece}" if lines[-1] else piece
            if width_of(joined) <= room:
                lines[-1] = joined
            else:
                lines += wrap(piece, room)
            glue = ""
    return [line for line in lines if line]


def queue(rows: Sequence[Waiting], style: Style = PLAIN, width: int = 80) -> str:
    """Write what waits: a line for each recipient, and what was last said about it."""
    if not rows:
        return "the queues are empty\n"
    every = rows
    rows, more = newest(every)
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
        said = _replies([row for row in rows if row.site == site and row.reply])
        lines = [f"{style.dim(paragraph(text, width, rest=_INDENT))}\n" for text in said]
        parts += ["\n", *lines, "\n"] if lines else ["\n"]
    letters = {(row.site, row.queue_id) for row in every}
    return more + "".join(parts) + f"{plural(len(letters), 'letter')}, {plural(len(every), 'recipient')}\n"


def _replies(rows: Iterable[Waiting]) -> Iterator[str]:
    """Write each reply once, behind those that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        about.setdefault(clean(row.reply), []).append(clean(f"{row.queue_id} {row.recipient}".rstrip()))
    for reply, who in about.items():
        more = len(who) - _WAITING_SHOWN
        yield f"{', '.join(who[:_WAITING_SHOWN])}{f' and {more} more' if more > 0 else ''}: {reply}"


def aliases(rows: Iterable[tuple[str, Sequence[str]]], width: int = 80) -> str:
    """Write an alias table."""
    shown, more = newest(list(rows))
    cells = [(clean(name), clean(", ".join(values))) for name, values in shown]
    drawn = table(("alias", "goes to"), cells, width=width, wraps=(1,), gives=(1,))
    return f"{more}{drawn}\n" if cells else "no aliases\n"


def mailbox(rows: Sequence[tuple[int, str, str, str, str, int]], width: int = 80) -> str:
    """Write what a mailbox holds: number, folder, date, sender, subject and size of each letter."""
    if not rows:
        return "the mailbox is empty\n"
    shown, more = newest(rows)
    cells = [(str(number), *map(clean, texts), str(size)) for number, *texts, size in shown]
    headers = ("number", "folder", "arrived", "from", "subject", "size")
    return more + table(headers, cells, width=width, right=(0, 5), gives=(4, 3)) + "\n"


def _where(row: Waiting, expanded: bool, paused: Paused, advice: bool) -> str:
    """Say where a recipient's letter waits, and for what; empty when it does not."""
    if row.state in _DONE:
        return ""
    who = f"{clean(row.recipient)}: " if row.recipient else ""
    place = "in the spool" if row.state == "spool" else f"in the queue ({row.state})"
    reason = _reason(row, expanded, paused, advice)
    due = f"; next try {row.next_try:%Y-%m-%d %H:%M:%S} UTC" if row.next_try and row.state == "deferred" else ""
    said = f"; {clean(row.reply)}" if row.reply else ""
    return f"{who}waits {place} at {clean(row.site)}{reason}{due}{said}"


def _reason(row: Waiting, expanded: bool, paused: Paused, advice: bool) -> str:
    """Name the part that is paused where the letter is to go on, and with *advice* what lets it."""
    part = _next_part(row, expanded)
    if (row.site, part) in paused:
        return f": {PARTS[part]} is paused{_resume(part) if advice else ''}"
    there = row.recipient.rpartition("@")[2].lower()
    if part is Part.CLIENT and (there, Part.SERVER) in paused:
        late = ", and `mailprobe lab flush` sends it at once" if row.state == "deferred" else ""
        more = f"{_resume(Part.SERVER)}{late}" if advice else ""
        return f": {PARTS[Part.SERVER]} at {clean(there)} is paused{more}"
    return ""


def _resume(part: Part) -> str:
    return f"; `mailprobe lab resume {part.value}` lets it go on"


def _in_the_mailbox(event: RoadEvent, paused: Paused, advice: bool) -> str:
    """Say that a letter waits for somebody to read it."""
    text = f"{clean(event.recipient)}: waits in the mailbox at {clean(event.site)} for somebody to read it"
    if (event.site, Part.READER) not in paused:
        return text
    return f"{text}: {PARTS[Part.READER]} is paused{_resume(Part.READER) if advice else ''}"


def unread(events: Sequence[RoadEvent]) -> list[RoadEvent]:
    """Give what was stored in a mailbox and not read there so far."""
    found: list[RoadEvent] = []
    for leg in _legs(events):
        stored = {_mailbox_of(event.recipient): event for event in leg if event.what is What.STORED}
        read = {_mailbox_of(event.recipient) for event in leg if event.what is What.READ}
        left = [event for user, event in stored.items() if user not in read]
        found += left[: max(len(stored) - len(read), 0)]  # who reads need not have the name that mail came for
    return found


def _mailbox_of(address: str) -> str:
    return address.rpartition("@")[0].partition("+")[0].lower()


def _next_part(row: Waiting, expanded: bool) -> Part:
    """Say who has to do the next thing for a recipient."""
    if row.state == "spool":
        return Part.PICKUP
    if not expanded:
        return Part.EXPANDER
    domain = row.recipient.rpartition("@")[2].lower()
    return Part.MAILBOX if f".{domain}".endswith(f".{row.site}") else Part.CLIENT


def is_over(events: Sequence[RoadEvent], waiting: Sequence[Waiting], *, until_read: bool = False) -> bool:
    """Tell whether all is done for a letter that can be done without a reader; *until_read*: with one as well."""
    if not events or any(row.state not in _DONE for row in waiting):
        return False
    letter = events[0].message_id
    return not (until_read and any(event.message_id == letter for event in unread(events)))


def _is_given_up(events: Sequence[RoadEvent], waiting: Sequence[Waiting]) -> bool:
    return any(event.what in _BAD for event in events) and all(row.state in _DONE for row in waiting)


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
