"""`mailprobe lab pause`, `resume`, `restart`, `tick` and `flush`: what a running lab is told to do."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mailprobe.cli.lab.places import directory_option, lab_directory, site_name
from mailprobe.cli.options import put
from mailprobe.lab.post.control import Answer, Order, ring
from mailprobe.model.errors import UsageError
from mailprobe.model.road import Part
from mailprobe.output.road import PARTS

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
    """Let PART at SITE, or at every site, go on."""
    return _set("resume", part, site, directory)


@click.command()
@click.argument("site")
@directory_option
def restart(site: str, directory: Path | None) -> int:
    """Close the post office of SITE, with all its connections, and open it again from its files."""
    where = lab_directory(directory)
    name = site_name(where, site)
    ring(where, Order("restart", site=name))
    put(f"{name}: restarted")
    return 0


@click.command()
@click.argument("duration")
@directory_option
def tick(duration: str, directory: Path | None) -> int:
    """Move the lab's clock forward by DURATION, such as 90s, 5m, 2h or 1d.

    Retries, greylisting and the expiry of letters follow it; sockets use real time.
    """
    seconds = seconds_of(duration)
    answer = ring(lab_directory(directory), Order("tick", seconds=seconds))
    put(f"it is {answer.get('now', '')} in the lab")
    return 0


@click.command()
@click.argument("site", required=False)
@directory_option
def flush(site: str | None, directory: Path | None) -> int:
    """Try everything in the queue of SITE, or of every site, again now."""
    where = lab_directory(directory)
    name = site_name(where, site) if site else None
    answer = ring(where, Order("flush", site=name))
    put(_sites(answer, name))
    return 0


def _set(do: str, part: str, site: str | None, directory: Path | None) -> int:
    if part not in PARTS:
        raise UsageError(f"no part {part!r}; the parts are {_PARTS}")
    where = lab_directory(directory)
    name = site_name(where, site) if site else None
    answer = ring(where, Order("pause" if do == "pause" else "resume", part=part, site=name))
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
