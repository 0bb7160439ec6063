"""`mailprobe lab aliases`: the alias table of a site."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click

from mailprobe.cli.files import read
from mailprobe.cli.lab.places import directory_option, lab_directory, site_name, site_names
from mailprobe.cli.options import format_option, put, say, width
from mailprobe.lab.post.account import MAIL
from mailprobe.lab.post.aliases import Aliases, read_forward
from mailprobe.lab.post.expander import expand
from mailprobe.lab.post.folder_names import user_directory
from mailprobe.lab.post.site import PostSite
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.output import road
from mailprobe.output.words import clean

ACTIONS = ("list", "set", "remove", "import", "export")
TEXT_LIMIT = 16_000_000  # octets


@click.command()
@click.argument("words", metavar="[SITE] [list|set NAME VALUE...|remove NAME|import FILE|export]", nargs=-1)
@format_option("table", "json")
@directory_option
def aliases(words: tuple[str, ...], form: str, directory: Path | None) -> int:
    """Show or change the alias table of SITE; without one every table is shown, or exported.

    `import` reads aliases(5) text from FILE, or stdin for `-`, and puts it in the place of the whole table. A running
    lab sees every change at once.
    """
    where = lab_directory(directory)
    site, action, rest = _read(words)
    chosen = [site_name(where, site)] if site else site_names(where)
    if action in ("list", "export"):
        return _show(where, chosen, action, form)
    if len(chosen) != 1:
        raise UsageError(f"which site? write `mailprobe lab aliases SITE {action} ...`; there are {', '.join(chosen)}")
    table = _open(where, chosen[0])
    try:
        return _change(table, where / chosen[0], action, rest)
    except MailprobeError as error:
        raise UsageError(str(error)) from None
    finally:
        table.close()


def _read(words: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Give site, action and what follows it, and see that it is as much as the action needs."""
    site, rest = ("", words) if not words or words[0] in ACTIONS else (words[0], words[1:])
    action, rest = (rest[0], rest[1:]) if rest else ("list", ())
    if action not in ACTIONS:
        raise UsageError(f"no action {action!r}; there are {', '.join(ACTIONS)}")
    least, most, wanted = _NEEDS[action]
    if not least <= len(rest) <= most:
        raise UsageError(f"`aliases {action}` takes {wanted}")
    return site, action, rest


_NEEDS = {
    "list": (0, 0, "nothing more"),
    "export": (0, 0, "nothing more"),
    "set": (2, 1_000, "NAME and at least one VALUE"),
    "remove": (1, 1, "one NAME"),
    "import": (1, 1, "one FILE"),
}


def _show(where: Path, sites: Sequence[str], action: str, form: str) -> int:
    tables: dict[str, Aliases] = {}
    try:
        for site in sites:
            tables[site] = _open(where, site)
        if action == "export":
            texts = [
                f"# {site}\n{table.export_text()}" if len(sites) > 1 else table.export_text()
                for site, table in tables.items()
            ]
            put("\n".join(texts))
        elif form == "json":
            put(
                json.dumps(
                    {site: {row.name: row.values for row in table.rows()} for site, table in tables.items()}, indent=2
                )
            )
        else:
            put(
                "\n".join(
                    f"{site}\n{road.aliases([(row.name, row.values) for row in table.rows()], width())}"
                    for site, table in tables.items()
                )
            )
    except MailprobeError as error:
        raise UsageError(str(error)) from None
    finally:
        for table in tables.values():
            table.close()
    return 0


def _open(where: Path, site: str) -> Aliases:
    try:
        return Aliases(where / site / "aliases.db")
    except MailprobeError as error:
        raise UsageError(str(error)) from None


def _change(table: Aliases, place: Path, action: str, rest: Sequence[str]) -> int:
    site = place.name
    if action == "set":
        table.set(rest[0], rest[1:])
        put(clean(f"{site}: {rest[0]} goes to {', '.join(rest[1:])}"))
        for trouble in _troubles(table, place, rest[0]):
            say(clean(f"mailprobe: {rest[0]}: {trouble}"))
    elif action == "remove":
        if not table.remove(rest[0]):
            raise UsageError(f"{site} has no alias {rest[0]!r}")
        put(clean(f"{site}: {rest[0]} is no alias any more"))
    else:
        count = table.import_text(_text(rest[0]))
        say(f"{site}: {count} aliases")
    return 0


def _troubles(table: Aliases, place: Path, name: str) -> tuple[str, ...]:
    """Say why mail for a name would come back: the aliases go round in a circle, or lead to nobody."""
    address = f"anybody{name}" if name.startswith("@") else name

    def directory(user: str) -> Path:
        return place / MAIL / user_directory(user)

    expansion = expand(
        address,
        table.lookup,
        lambda user: directory(user).is_dir(),
        domains=(place.name, f"mx.{place.name}", *_post(place.name).domains),
        forward=lambda user: read_forward(directory(user)),
        postmaster=next(iter(_post(place.name).users), ""),
    )
    return expansion.troubles


def _post(site: str) -> PostSite:
    """Give what the catalogue says of a site; nothing of one that is not in it."""
    from mailprobe.lab.scenarios import SCENARIOS
    from mailprobe.lab.sites import POST_SITES

    known = chain(POST_SITES, (item.site for item in SCENARIOS if item.post is not None))
    return next((each.post for each in known if each.domain == site and each.post is not None), PostSite(users={}))


def _text(name: str) -> bytes:
    return read(name, "", TEXT_LIMIT, pipes=True)
