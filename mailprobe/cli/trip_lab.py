"""What a trip shows of the lab beside: the road of its letter step by step, and a part of it that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from mailprobe.cli.options import put, style, width
from mailprobe.lab.post.control import Order
from mailprobe.lab.post.journal import recent, trace
from mailprobe.lab.post.pauses import paused_parts
from mailprobe.lab.post.waiting import read_rows
from mailprobe.lab.world import Lab
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.model.road import Part, RoadEvent, Waiting
from mailprobe.output.road import PARTS, entry, is_over, queue, timeline
from mailprobe.output.style import Style
from mailprobe.output.widths import paragraph, width_of
from mailprobe.output.words import clean

REST_S = 10.0
_AT_THE_SENDER = {Part.PICKUP, Part.EXPANDER, Part.CLIENT}


class Pause(msgspec.Struct, frozen=True):
    """A part of a site that stands still for a while."""

    part: Part
    site: str


def read_pause(text: str, sender: str, recipient: str) -> Pause:
    """Read ``part`` or ``part@site``; without a site it is the side at which the letter first meets that part.

    Raises:
        UsageError: there is no such part.
    """
    name, _, site = text.partition("@")
    if name not in set(Part):
        raise UsageError(f"--pause {text!r}: no part {name!r}; the parts are {', '.join(Part)}")
    address = sender if Part(name) in _AT_THE_SENDER else recipient
    return Pause(Part(name), site or address.rpartition("@")[2])


class Road:
    """The road of letters, as the post offices below a lab's directory have written it down."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path:
        """The lab's directory."""
        return self._directory

    def events(self, message_id: str) -> list[RoadEvent]:
        """Give what happened to a letter; nothing where no post office had it."""
        try:
            return trace(self.directory, message_id)
        except MailprobeError:  # it never came to a post office, or nobody may read there
            return []

    def timeline(self, message_id: str, style: Style, width: int) -> str:
        """Write what happened to a letter."""
        paused = paused_parts(self.directory)
        return timeline(self.events(message_id), self.rows(message_id), paused, style, width)

    def standstills(self, pair: tuple[str, str]) -> Iterator[str]:
        """Say what is paused at the two ends of a road, and how it is made to go on."""
        sites = {address.rpartition("@")[2].lower() for address in pair}
        for site, part in sorted(paused_parts(self.directory)):
            if site in sites:
                yield f"{PARTS[part]} at {site} is paused; `mailprobe lab resume {part} {site}` lets it go on"

    def rows(self, message_id: str = "") -> list[Waiting]:
        """Give what the sites still have of a letter, or of all."""
        found: list[Waiting] = []
        for site in sorted(path.parent for path in self.directory.glob("*/queue.db")):
            with contextlib.suppress(MailprobeError):
                found += read_rows(site)
        return [row for row in found if not message_id or row.message_id == message_id]


class LabRoad(Road):
    """The road of letters in a lab in this process."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(Path())
        self._lab = lab
        self._shown: set[RoadEvent] = set()

    @property
    def directory(self) -> Path:
        """The lab's directory, made now if need be."""
        return self._lab.mail_directory

    def standing(self, pause: Pause, style: Style, width: int) -> str:
        """Write where the last letter stands while a part does not work, since when, and in which file."""
        head = f"{PARTS[pause.part]} is paused"
        last = next((each for each in reversed(recent(self.directory)) if each.message_id), None)
        if last is None:
            return _heading(f"{head}; no letter has come so far:", style)
        events, rows = self.events(last.message_id), self.rows(last.message_id)
        self._shown = set(events)
        shown = timeline(events, rows, {(pause.site, pause.part)}, style, width)
        lines = [_file(self.directory, row) for row in rows] or [_in_mailbox(last)]
        waits = "the letter waits:" if rows or pause.part is Part.READER else "the letter is not held up by that:"
        return f"{_heading(f'{head}; {waits}', style)}\n{shown}" + "".join(
            f"{paragraph(line, width, rest='     ')}\n" for line in lines
        )

    def timeline(self, message_id: str, style: Style, width: int) -> str:
        """Write what happened to a letter; what was shown while it stood still is not told again."""
        events = self.events(message_id)
        if not self._shown.intersection(events):
            return super().timeline(message_id, style, width)
        sites = max(width_of(clean(event.site)) for event in events)
        new = [event for event in _by_leg(events) if event not in self._shown]
        shown = "".join(f"{entry(event, events[0].at, sites, style, width)}\n" for event in new)
        rows = self.rows(message_id)
        return shown if is_over(events, rows) else shown + queue(rows, style, width)


def _heading(text: str, style: Style) -> str:
    return style.strong(f"\u2014 {text} \u2014") + "\n"


def _by_leg(events: Sequence[RoadEvent]) -> list[RoadEvent]:
    """Put what happened under each queue id together, as a timeline does."""
    legs = list(dict.fromkeys((event.site, event.queue_id) for event in events))
    return sorted(events, key=lambda event: legs.index((event.site, event.queue_id)))


def _file(directory: Path, row: Waiting) -> str:
    """Name the file that a letter waits in."""
    folders = ("maildrop", "queue") if row.state == "spool" else ("queue", "maildrop")
    paths = [directory / row.site / folder / row.queue_id for folder in folders]
    path = next((path for path in paths if path.exists()), paths[0])
    return f"since {row.arrived:%H:%M:%S} UTC in {clean(str(path))}"


def _in_mailbox(last: RoadEvent) -> str:
    return f"since {last.at:%H:%M:%S} UTC: {clean(last.what.value)} {clean(last.recipient)} {clean(last.detail)}"


class Standstill:
    """A part of a site that stands still until the letter waits for it; then that is *shown*, and it goes on.

    A person at a terminal says when, *patience_s* later at the latest: for longer nobody waits for the letter.
    """

    def __init__(self, road: LabRoad, pause: Pause, patience_s: float, *, shown: bool) -> None:
        self.pause = pause
        self._road = road
        self._patience_s = patience_s
        self._shown = shown

    async def show(self) -> None:
        """Show where the letter is, and let a person look at it."""
        if not self._shown:
            return
        put(await asyncio.to_thread(self._road.standing, self.pause, style(), width()))
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            put("Press Enter to let it go on")
            sys.stdout.flush()
            await _enter(self._patience_s)
        put(f"\n{_heading(f'{PARTS[self.pause.part]} goes on', style())}")


async def _enter(patience_s: float) -> None:
    """Wait for a line or the end of stdin; on the loop, for a thread that reads cannot be interrupted by Ctrl-C."""
    loop = asyncio.get_running_loop()
    entered = loop.create_future()

    def read() -> None:
        sys.stdin.readline()
        if not entered.done():
            entered.set_result(None)

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        async with asyncio.timeout(patience_s):
            await entered
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(sys.stdin.fileno())


class LabLull:
    """The lab's clock, which is moved to whatever is due next when nothing else is left to do.

    What *still* names stands still from now until the first rest.
    """

    def __init__(self, lab: Lab, still: Standstill | None = None) -> None:
        self._lab = lab
        self._still = still
        if still is not None:
            lab.order(Order("pause", part=still.pause.part, site=still.pause.site))

    async def rest(self) -> None:
        """As `mailprobe.mail.trip.Lull`."""
        await asyncio.to_thread(self._settle)
        if self._still is not None:
            still, self._still = self._still, None
            await still.show()
            await asyncio.to_thread(self._go_on, still.pause)

    def _go_on(self, pause: Pause) -> None:
        self._lab.order(Order("resume", part=pause.part, site=pause.site))
        if pause.part is Part.SERVER:  # it alone has letters put off, for minutes that would be our own doing
            self._lab.order(Order("flush"))
        self._settle()

    def _settle(self) -> None:
        with contextlib.suppress(TimeoutError):  # then it is busy for a reason, and is looked at as it is
            self._lab.rest(REST_S)

    async def due(self) -> datetime | None:
        """As `mailprobe.mail.trip.Lull`."""
        return await asyncio.to_thread(self._due)

    def _due(self) -> datetime | None:
        now = self._lab.now()
        times = [row.next_try for row in LabRoad(self._lab).rows() if row.next_try is not None]
        return min((time for time in times if time > now), default=None)

    async def jump(self, to: datetime) -> None:
        """As `mailprobe.mail.trip.Lull`."""
        seconds = (to - self._lab.now()).total_seconds()
        if seconds > 0:
            await asyncio.to_thread(self._lab.order, Order("tick", seconds=seconds))
