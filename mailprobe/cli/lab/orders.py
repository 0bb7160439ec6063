"""`mailprobe lab pause`, `resume`, `restart`, `tick` and `flush`: what a running lab is told to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import click

from mailprobe.cli.lab.places import directory_option, give_order, lab_directory, site_name, site_names
from mailprobe.cli.options import put, say
from mailprobe.lab.post.control import Answer, Order
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.waiting import read_rows
from mailprobe.model.errors import UsageError
from mailprobe.model.road import Part, Waiting
from mailprobe.output.road import PARTS
from mailprobe.output.words import plural

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(s|sec|m|min|h|d)?")
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_PARTS = ", ".join(Part)


@click.command()
@click.argument("part")
@click.argument("site", required=False)
@directory_option
def pause(part: str, site: str | None, directory: Path | None) -> int:
    """Stop PART at SITE, or at every site: pickup, expander, client, server, mailbox or reader.

    What comes meanwhile waits where it is, and survives the end of the lab.
    """
    return _set("pause", part, site, directory)


@click.command()
@click.argument("part")
@click.argument("site", required=False)
@directory_option
def resume(part: str, site: str | None, directory: Path | None) -> int:
    """Let PART at SITE, or at every site, go on.

    What was put off meanwhile waits for its next try; `mailprobe lab flush` sends it at once.
    """
    _set("resume", part, site, directory)
    late = _letters(_put_off(lab_directory(directory)))
    if late:
        say(f"{plural(late, 'letter is', 'letters are')} put off until later; `mailprobe lab flush` sends them now")
    return 0


@click.command()
@click.argument("site")
@directory_option
def restart(site: str, directory: Path | None) -> int:
    """Close the post office of SITE, with all its connections, and open it again from its files."""
    where = lab_directory(directory)
    name = site_name(where, site)
    give_order(directory, where, Order("restart", site=name))
    put(f"{name}: restarted")
    return 0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("duration")
@directory_option
def tick(duration: str, directory: Path | None) -> int:
    """Move the lab's clock forward by DURATION, such as 90s, 5m, 2h or 1d.

    Retries, greylisting and the expiry of letters follow it; sockets use real time.
    """
    if duration.startswith("-"):
        raise UsageError(f"{duration!r}: the clock goes forward only; write for example 90s, 5m, 2h or 1d")
    seconds = seconds_of(duration)
    where = lab_directory(directory)
    waiting = _rows(where, lambda row: row.next_try is not None)
    before = _now(give_order(directory, where, Order("status")))
    now = _now(give_order(directory, where, Order("tick", seconds=seconds)))
    due = [row for row in waiting if row.next_try is not None and before < row.next_try <= now]
    put(f"{now:%Y-%m-%d %H:%M:%S} UTC; {'; '.join(_counted(due, 'became due')) or 'nothing became due'}")
    return 0


@click.command()
@click.argument("site", required=False)
@directory_option
def flush(site: str | None, directory: Path | None) -> int:
    """Try everything in the queue of SITE, or of every site, again now."""
    where = lab_directory(directory)
    name = site_name(where, site) if site else None
    late = [row for row in _put_off(where) if name in (None, row.site)]
    answer = give_order(directory, where, Order("flush", site=name))
    lines = _counted(late, "tried again now") or ["nothing was put off: there was nothing to try again"]
    put("\n".join([*lines, _sites(answer, name)]))
    return 0


def _put_off(where: Path) -> list[Waiting]:
    return _rows(where, lambda row: row.state == "deferred")


def _rows(where: Path, wanted: Callable[[Waiting], bool]) -> list[Waiting]:
    try:
        return [row for name in site_names(where) for row in read_rows(where / name) if wanted(row)]
    except DatabaseError as error:
        raise UsageError(str(error)) from None


def _letters(rows: Iterable[Waiting]) -> int:
    return len({(row.site, row.queue_id) for row in rows})


def _counted(rows: Sequence[Waiting], what: str) -> list[str]:
    """Say at which site for how many letters and recipients something happened."""
    letters = Counter(site for site, _ in {(row.site, row.queue_id) for row in rows})
    recipients = Counter(row.site for row in rows)
    return [
        f"{site}: {plural(letters[site], 'letter')} to {plural(recipients[site], 'recipient')} {what}"
        for site in sorted(letters)
    ]


def _now(answer: Answer) -> datetime:
    """Read the lab's clock from an answer.

    Raises:
        UsageError: it is not there.
    """
    try:
        return datetime.fromisoformat(str(answer.get("now")))
    except ValueError:
        raise UsageError("the lab does not say what time it is") from None


def _set(do: str, part: str, site: str | None, directory: Path | None) -> int:
    if part not in PARTS:
        raise UsageError(f"no part {part!r}; the parts are {_PARTS}")
    where = lab_directory(directory)
    name = site_name(where, site) if site else None
    answer = give_order(directory, where, Order("pause" if do == "pause" else "resume", part=part, site=name))
    put(_sites(answer, name))
    return 0


def _sites(answer: Answer, only: str | None) -> str:
    """Say what is paused where, after an order."""
    sites = answer.get("sites", {})
    lines = []
    for site, state in sites.items() if isinstance(sites, dict) else ():
        if only in (None, site):
            paused = ", ".join(PARTS[Part(part)] for part in state["paused"])
            lines.append(f"{site}: {f'paused: {paused}' if paused else 'everything works'}")
    return "\n".join(lines)


def seconds_of(text: str) -> float:
    """Read a duration such as ``90``, ``90s``, ``5m``, ``2h``, ``1d``.

    Raises:
        UsageError: it is none, or it is nothing.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise UsageError(f"{text!r} is no duration; write for example 90s, 5m, 2h or 1d")
    return seconds
