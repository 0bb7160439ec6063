"""What a trip shows of the lab beside: the road of its letter step by step, and a part of it that stands still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.journal import recent, trace
from mailprobe.lab.post.waiting import read_rows
from mailprobe.lab.world import Lab
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.model.road import Part, RoadEvent, Waiting
from mailprobe.output.road import PARTS, timeline
from mailprobe.output.style import Style
from mailprobe.output.widths import paragraph
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
        return timeline(self.events(message_id), self.rows(message_id), (), style, width)

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

    @property
    def directory(self) -> Path:
        """The lab's directory, made now if need be."""
        return self._lab.mail_directory

    def standing(self, pause: Pause, style: Style, width: int) -> str:
        """Write where the last letter stands while a part does not work, since when, and in which file."""
        last = next((each for each in reversed(recent(self.directory)) if each.message_id), None)
        if last is None:
            return style.warn(f"{PARTS[pause.part]} at {pause.site} is paused, and no letter has come so far") + "\n"
        rows = self.rows(last.message_id)
        paused = {(pause.site, pause.part)}
        shown = timeline(self.events(last.message_id), rows, paused, style, width)
        lines = [_file(self.directory, row) for row in rows] or [_in_mailbox(last)]
        head = style.strong(f"{PARTS[pause.part]} at {pause.site} is paused")
        return f"{head}\n\n{shown}" + "".join(f"{paragraph(line, width, rest='     ')}\n" for line in lines)


def _file(directory: Path, row: Waiting) -> str:
    """Name the file that a letter waits in."""
    folders = ("maildrop", "queue") if row.state == "spool" else ("queue", "maildrop")
    paths = [directory / row.site / folder / row.queue_id for folder in folders]
    path = next((path for path in paths if path.exists()), paths[0])
    return f"since {row.arrived:%H:%M:%S} UTC in {clean(str(path))}"


def _in_mailbox(last: RoadEvent) -> str:
    return f"since {last.at:%H:%M:%S} UTC: {clean(last.what.value)} {clean(last.recipient)} {clean(last.detail)}"


class LabLull:
    """The lab's clock, which is moved to whatever is due next when nothing else is left to do.

    *pause* stands still from now until the first rest; then *show* is called, and it goes on.
    """

    def __init__(self, lab: Lab, pause: Pause | None = None, show: Callable[[], None] | None = None) -> None:
        self._lab = lab
        self._pause = pause
        self._show = show
        if pause is not None:
            lab.order(Order("pause", part=pause.part, site=pause.site))

    async def rest(self) -> None:
        """As `mailprobe.mail.trip.Lull`."""
        await asyncio.to_thread(self._rest)

    def _rest(self) -> None:
        self._settle()
        if self._pause is not None:
            if self._show is not None:
                self._show()
            self._lab.order(Order("resume", part=self._pause.part, site=self._pause.site))
            self._pause = None
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
