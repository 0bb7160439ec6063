"""`mailprobe lab trace`, `queue` and `mailbox`: what is where in a lab, whether it runs or not."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from mailprobe.cli.lab.places import directory_option, lab_directory, site_name, site_names
from mailprobe.cli.options import format_option, put, say, style, width
from mailprobe.lab.post.account import MAIL
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.folder_names import user_directory
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
_QUIET_LOOKS = 4  # after which it is said what a letter waits for
_WHOLE = 10_000  # columns of a table that nothing of a letter's fields is cut from
_ENDS = ("receiver.lab.test", "sender.lab.test")
_ADDRESS = re.compile(r"<[^<>]*>\s*$")  # behind a display name
_LETTER_SHOWN = 1 << 20  # octets of a letter that are shown


@click.command()
@click.argument("what", metavar="ID|MESSAGE-ID")
@click.option("--follow", "follows", is_flag=True, help="Go on until it is stored or given up; Ctrl-C ends it.")
@click.option("--until-read", is_flag=True, help="Go on until somebody has read it; implies --follow.")
@format_option("table", "json")
@directory_option
def trace(what: str, follows: bool, until_read: bool, form: str, directory: Path | None) -> int:
    """Show the road of a letter through all sites, step by step: times, addresses, TLS, replies and files.

    Lines stand site after site, so the numbers of the steps begin anew at each: 1 handed over, 2 in the spool, 3 alias
    expander, 4 MTA client, 5 network, 6 alias expander there, 7 mailbox, 8 read; - is beside them, such as a retry.
    A site that takes a letter from the network has a spool, too: 2 stands there again, between 5 and 6.
    """
    where = lab_directory(directory)
    try:
        if follows or until_read:
            return _Following(where, what, form, until_read).run()
        events = events_of(where, what)
        waiting = _waiting_of(where, what, events)
    except DatabaseError as error:
        raise UsageError(str(error)) from None
    if not events and not waiting:
        raise UsageError(f"no site knows a letter {what!r}; give a queue id, or a Message-ID with or without brackets")
    if form == "json":
        put(_document(events, waiting))
    else:
        put(road.timeline(events, waiting, paused_parts(where), style(), width(), advice=True))
    return 0


class _Following:
    """Prints events as they come, and says on stderr what keeps the next one from coming."""

    def __init__(self, where: Path, what: str, form: str, until_read: bool) -> None:
        self._where = where
        self._what = what
        self._form = form
        self._until_read = until_read
        self._seen: list[RoadEvent] = []
        self._told: set[str] = set()

    def run(self) -> int:
        """Go on until all is done."""
        quiet = 0  # looks without news: a letter may be between two sites at one of them
        for news in follow(self._where, self._what):
            self._show(news)
            waiting = _waiting_of(self._where, self._what, self._seen)
            quiet = 0 if news else quiet + 1
            if quiet and road.is_over(self._seen, waiting, until_read=self._until_read):
                break
            if not self._seen and not waiting:
                self._tell(f"no site knows {clean(self._what)} yet; waiting, Ctrl-C ends")
            elif quiet == _QUIET_LOOKS:
                for text in self._standing(waiting):
                    self._tell(text)
            time.sleep(_LOOK_S)
        if self._form != "json" and not self._until_read:
            put("".join(f"{road.wrapped(text, width())}\n" for text in self._standing(())))
        return 0

    def _show(self, news: Sequence[RoadEvent]) -> None:
        self._seen += news
        sites = road.site_columns(site_names(self._where), width())
        for event in news:
            if self._form == "json":
                put(msgspec.json.encode(event).decode("utf-8"))
            else:
                put(road.entry(event, self._seen[0].at, sites, style(), width()))
        sys.stdout.flush()

    def _standing(self, waiting: Sequence[Waiting]) -> list[str]:
        return road.standing(self._seen, waiting, paused_parts(self._where), advice=True)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            say(text)


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
    """Show what the mailboxes of USER hold at SITE, or at every site that has some, or letter N of them."""
    where = lab_directory(directory)
    name, _, site = user.partition("@")
    try:
        found = {each: read_mailbox(where / each, name) for each in _sites_of(where, name, site)}
    except MailprobeError as error:
        raise UsageError(str(error)) from None
    if number is not None:
        put(_text_of(_chosen(found, name, number).file))
    elif form == "json":
        put(json.dumps([row for each, letters in found.items() for row in _listed(each, letters)], indent=2))
    else:
        put("\n".join(_mailbox_of(each if not site else "", letters) for each, letters in found.items()))
    return 0


def _sites_of(where: Path, user: str, site: str) -> list[str]:
    """Name the sites where a user has a mailbox, the two ends of the road first."""
    if site:
        return [site_name(where, site)]
    found = [
        name for name in site_names(where) if user and (where / name / MAIL / user_directory(user.lower())).is_dir()
    ]
    if not found:
        raise UsageError(f"no site has a mailbox of {user!r}")
    ends = [name for name in _ENDS if name in found]
    return [*ends, *(name for name in found if name not in ends)]


def _chosen(found: Mapping[str, Sequence[Listed]], user: str, number: int) -> Listed:
    """Give letter *number*, if it is plain which one that is."""
    having = [site for site, letters in found.items() if 1 <= number <= len(letters)]
    if len(having) == 1:
        return found[having[0]][number - 1]
    if having:
        raise UsageError(f"{user} has a letter {number} at {' and '.join(having)}; write {user}@{having[0]} {number}")
    counts = ", ".join(f"{len(letters)} at {site}" for site, letters in found.items())
    raise UsageError(f"{user} has no letter {number}; there are {counts}")


def _mailbox_of(site: str, letters: Sequence[Listed]) -> str:
    """Write one site's mailboxes: short at a terminal, whole for everybody else."""
    terminal = sys.stdout.isatty()
    rows = [_row(index, letter, terminal) for index, letter in enumerate(letters, start=1)]
    head = f"{style().strong(site)}\n" if site else ""
    return head + road.mailbox(rows, width() if terminal else _WHOLE)


def _row(number: int, letter: Listed, terminal: bool) -> tuple[int, str, str, str, str, int]:
    arrived = f"{letter.arrived:%b %d %H:%M}" if terminal else f"{letter.arrived:%Y-%m-%d %H:%M}"
    sender = _ADDRESS.sub("", letter.sender).strip() or letter.sender if terminal else letter.sender
    return number, letter.folder, arrived, sender, letter.subject, letter.size


def _listed(site: str, letters: Sequence[Listed]) -> Iterator[dict[str, object]]:
    for number, letter in enumerate(letters, start=1):
        fields = {
            name: getattr(letter, name) for name in ("folder", "uid", "size", "flags", "sender", "subject", "date")
        }
        yield {
            "site": site,
            "number": number,
            **fields,
            "arrived": letter.arrived.isoformat(),
            "file": str(letter.file),
        }


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            octets = stream.read(_LETTER_SHOWN)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    return "\n".join(_shown(line) for line in octets.decode("latin-1").splitlines())


def _shown(line: str) -> str:
    return "\t".join(clean(piece) for piece in line.split("\t"))
