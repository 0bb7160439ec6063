"""The alias database of a site: a table in sqlite, written by the administrator and read by the expander."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mailprobe.lab.post.addresses import folded, shown
from mailprobe.lab.post.aliases_text import (
    INCLUDE,
    TEXT_OCTETS,
    Alias,
    AliasError,
    alias_name,
    checked_alias,
    format_aliases,
    parse_aliases,
    parse_values,
)
from mailprobe.lab.post.database import TEXT, explained, open_database, storable
from mailprobe.lab.post.spool_file import open_plain

VERSION = 1
_SCHEMA = 'CREATE TABLE alias(name TEXT PRIMARY KEY, "values" TEXT) WITHOUT ROWID'
_LOOKUP = f'SELECT "values" FROM alias WHERE name = {TEXT}'
_REMOVE = f"DELETE FROM alias WHERE name = {TEXT}"
_REPLACE = f'INSERT OR REPLACE INTO alias(name, "values") VALUES({TEXT}, ?)'
FORWARD = ".forward"


class Aliases:
    """The aliases of a site; *path* is its database, and ``:include:`` files are below its folder.

    Changes are safe at once, and seen by every process that has the table open.

    Raises:
        DatabaseError: the database cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_database(path, _SCHEMA, VERSION)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def lookup(self, address: str) -> tuple[str, ...] | None:
        """Give where an alias leads, included files read; None when there is none by that very name, case aside.

        Raises:
            AliasError: an included file cannot be used.
            DatabaseError: the database cannot be read.
        """
        with explained(self.path):
            row = self._connection.execute(_LOOKUP, (storable(folded(address)),)).fetchone()
        if row is None:
            return None
        values: list[str] = []
        for value in json.loads(row[0]):
            values += self._included(value) if value.startswith(INCLUDE) else [value]
        return tuple(dict.fromkeys(values))

    def rows(self) -> list[Alias]:
        """Give all aliases as they stand in the table, by name."""
        with explained(self.path):
            rows = self._connection.execute('SELECT name, "values" FROM alias ORDER BY name').fetchall()
        return [Alias(name, tuple(json.loads(values))) for name, values in rows]

    def set(self, name: str, values: Iterable[str]) -> None:
        """Make an alias, or give it other values.

        Raises:
            AliasError: the name or a value cannot be used.
            DatabaseError: the database cannot be written.
        """
        self._write([checked_alias(name, values)])

    def remove(self, name: str) -> bool:
        """Remove an alias; False when there is none by that name.

        Raises:
            AliasError: it is no name.
            DatabaseError: the database cannot be written.
        """
        with explained(self.path), self._connection:
            removed = self._connection.execute(_REMOVE, (storable(alias_name(name)),))
        return removed.rowcount > 0

    def import_text(self, text: str | bytes, *, replace: bool = True) -> int:
        """Read aliases(5) text, all of it or nothing, and give the number of aliases in it.

        With *replace* the table then holds what the text holds and nothing else, as newaliases does it.

        Raises:
            AliasError: anything in the text cannot be used; all of it is listed, by line.
            DatabaseError: the database cannot be written.
        """
        aliases = parse_aliases(text)
        self._write(aliases, replace=replace)
        return len(aliases)

    def export_text(self) -> str:
        """Give the table as text that `import_text` reads."""
        return format_aliases(self.rows())

    def _write(self, aliases: Sequence[Alias], *, replace: bool = False) -> None:
        rows = [(storable(alias.name), json.dumps(alias.values)) for alias in aliases]
        with explained(self.path), self._connection:
            if replace:
                self._connection.execute("DELETE FROM alias")
            self._connection.executemany(_REPLACE, rows)

    def _included(self, value: str) -> tuple[str, ...]:
        name = value.removeprefix(INCLUDE)
        site = self.path.parent.resolve()
        try:
            file = (site / name).resolve()
            if not file.is_relative_to(site):
                raise AliasError([f"{shown(value)} leads out of {site}"])
            return _bare_values(value, _small_file(file))
        except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
            reason = error.strerror if isinstance(error, OSError) else "symbolic links in a circle"
            raise AliasError([f"{shown(value)}: {reason}"]) from None


def read_forward(directory: Path) -> tuple[str, ...] | None:
    """Read the ``.forward`` file in a user's directory; None when there is none, or nothing in it.

    Raises:
        AliasError: it is no plain file, cannot be read, or holds what cannot be used.
    """
    try:
        octets = _small_file(directory / FORWARD)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AliasError([f"{FORWARD} of {shown(directory.name)}: {error.strerror}"]) from None
    return _bare_values(f"{FORWARD} of {shown(directory.name)}", octets) or None


def _bare_values(name: str, octets: bytes) -> tuple[str, ...]:
    """Read a file of values; it may not include others."""
    try:
        values = parse_values(octets)
    except AliasError as error:
        raise AliasError([f"{shown(name)}, {text}" for text in error.errors]) from None
    if any(value.startswith(INCLUDE) for value in values):
        raise AliasError([f"{shown(name)} includes another file; only an alias may"])
    return values


def _small_file(path: Path) -> bytes:
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read(TEXT_OCTETS + 1)
