"""`mailprobe lab trace`, `queue` and `mailbox`: what is where in a lab, whether it runs or not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from mailprobe.cli.lab.places import directory_option, lab_directory, site_name, site_names
from mailprobe.cli.options import format_option, put, style, width
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.journal import follow
from mailprobe.lab.post.journal import trace as events_of
from mailprobe.lab.post.listing import Listed, read_mailbox
from mailprobe.lab.post.pauses import paused_parts
from mailprobe.lab.post.waiting import read_rows
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.model.road import RoadEvent, Waiting
from mailprobe.output import road
from mailprobe.output.words import clean

_LOOK_S = 0.25
_LETTER_SHOWN = 1 << 20  # octets of a letter that are shown


@click.command()
@click.argument("what", metavar="ID|MESSAGE-ID")
@click.option("--follow", "follows", is_flag=True, help="Go on until the letter is read or given up; Ctrl-C ends it.")
@format_option("table", "json")
@directory_option
def trace(what: str, follows: bool, form: str, directory: Path | None) -> int:
    """Show the road of a letter through all sites, step by step: times, addresses, TLS, replies and files."""
    where = lab_directory(directory)
    try:
        if follows:
            return _follow(where, what, form)
        events = events_of(where, what)
        waiting = _waiting_of(where, what, events)
    except DatabaseError as error:
        raise UsageError(str(error)) from None
    if not events and not waiting:
        raise UsageError(f"no site knows a letter {what!r}; give a queue id, or a Message-ID with or without brackets")
    if form == "json":
        put(_document(events, waiting))
    else:
        put(road.timeline(events, waiting, paused_parts(where), style(), width()))
    return 0


def _follow(where: Path, what: str, form: str) -> int:
    """Print events as they come."""
    seen: list[RoadEvent] = []
    sites = max(len(name) for name in site_names(where))
    for news in follow(where, what):
        for event in news:
            seen.append(event)
            if form == "json":
                put(msgspec.json.encode(event).decode("utf-8"))
            else:
                put(road.entry(event, seen[0].at, sites, style(), width()))
        sys.stdout.flush()
        if news and road.is_over(seen, _waiting_of(where, what, seen)):
            break
        time.sleep(_LOOK_S)
    return 0


def _waiting_of(where: Path, what: str, events: Sequence[RoadEvent]) -> list[Waiting]:
    """Give where the letter is now, at every site that has it."""
    bare = what.strip().removeprefix("<").removesuffix(">")
    ids = {event.queue_id for event in events}
    rows = (row for name in site_names(where) for row in read_rows(where / name))
    return [row for row in rows if row.queue_id in ids or row.queue_id == bare or row.message_id == f"<{bare}>"]


def _document(events: Sequence[RoadEvent], waiting: Sequence[Waiting]) -> str:
    document = {"events": msgspec.to_builtins(events), "waiting": msgspec.to_builtins(waiting)}
    return json.dumps(document, indent=2)


@click.command()
@click.argument("site", required=False)
@click.option("--all", "everything", is_flag=True, help="Show what is finished as well.")
@format_option("table", "json")
@directory_option
def queue(site: str | None, everything: bool, form: str, directory: Path | None) -> int:
    """Show what waits in the spool and the queue of SITE, or of every site."""
    where = lab_directory(directory)
    names = [site_name(where, site)] if site else site_names(where)
    try:
        rows = [row for name in names for row in read_rows(where / name, finished=everything)]
    except DatabaseError as error:
        raise UsageError(str(error)) from None
    if form == "json":
        put(json.dumps(msgspec.to_builtins(rows), indent=2))
    else:
        put(road.queue(rows, style(), width()))
    return 0


@click.command()
@click.argument("user", metavar="USER[@SITE]")
@click.argument("number", metavar="[N]", type=int, required=False)
@format_option("table", "json")
@directory_option
def mailbox(user: str, number: int | None, form: str, directory: Path | None) -> int:
    """Show what the mailboxes of USER hold, or letter N of them."""
    where = lab_directory(directory)
    name, _, site = user.partition("@")
    try:
        letters = read_mailbox(where / _site_of(where, name, site), name)
    except MailprobeError as error:
        raise UsageError(str(error)) from None
    if number is not None:
        if not 1 <= number <= len(letters):
            raise UsageError(f"{user} has no letter {number}; it has {len(letters)}")
        put(_text_of(letters[number - 1].file))
    elif form == "json":
        put(json.dumps(list(_listed(letters)), indent=2))
    else:
        put(road.mailbox([_row(index, letter) for index, letter in enumerate(letters, start=1)], width()))
    return 0


def _site_of(where: Path, user: str, site: str) -> str:
    """Find the site of a user; the only one that has a mailbox of that name will do."""
    if site:
        return site_name(where, site)
    found = [name for name in site_names(where) if user and (where / name / "mail" / user.lower()).is_dir()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{user} has a mailbox at {' and '.join(found)}; write {user}@{found[0]}")
    raise UsageError(f"no site has a mailbox of {user!r}")


def _row(number: int, letter: Listed) -> tuple[int, str, str, str, str, int]:
    return number, letter.folder, f"{letter.arrived:%Y-%m-%d %H:%M}", letter.sender, letter.subject, letter.size


def _listed(letters: Sequence[Listed]) -> Iterator[dict[str, object]]:
    for number, letter in enumerate(letters, start=1):
        fields = {
            name: getattr(letter, name) for name in ("folder", "uid", "size", "flags", "sender", "subject", "date")
        }
        yield {"number": number, **fields, "arrived": letter.arrived.isoformat(), "file": str(letter.file)}


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            octets = stream.read(_LETTER_SHOWN)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    return "\n".join(_shown(line) for line in octets.decode("latin-1").splitlines())


def _shown(line: str) -> str:
    return "\t".join(clean(piece) for piece in line.split("\t"))
