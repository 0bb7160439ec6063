"""`mailprobe lab aliases`: the alias table of a site."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mailprobe.cli.lab.places import directory_option, lab_directory, site_name, site_names
from mailprobe.cli.options import format_option, put, say, width
from mailprobe.lab.post.aliases import Aliases
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.output import road

ACTIONS = ("list", "set", "remove", "import", "export")
TEXT_LIMIT = 16 << 20  # octets


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
        return _change(table, chosen[0], action, rest)
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


def _change(table: Aliases, site: str, action: str, rest: Sequence[str]) -> int:
    if action == "set":
        table.set(rest[0], rest[1:])
    elif action == "remove":
        if not table.remove(rest[0]):
            raise UsageError(f"{site} has no alias {rest[0]!r}")
    else:
        count = table.import_text(_text(rest[0]))
        say(f"{site}: {count} aliases")
    return 0


def _text(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(TEXT_LIMIT)
        with Path(name).open("rb") as file:
            return file.read(TEXT_LIMIT)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
