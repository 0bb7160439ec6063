"""Which parts of which sites are paused, for who only looks."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from mailprobe.lab.post.database import DatabaseError, explained, open_to_read
from mailprobe.model.road import Part

SETTING = "paused"


def paused_parts(lab_dir: Path) -> set[tuple[str, Part]]:
    """Give the paused parts of all sites; of a site whose database cannot be read nothing is known."""
    found: set[tuple[str, Part]] = set()
    for path in lab_dir.glob("*/queue.db"):
        with contextlib.suppress(DatabaseError):
            found.update((path.parent.name, part) for part in _paused(path))
    return found


def _paused(path: Path) -> list[Part]:
    with contextlib.closing(open_to_read(path)) as connection, explained(path):
        row = connection.execute("SELECT value FROM setting WHERE name = ?", (SETTING,)).fetchone()
    return read_paused(None if row is None else str(row[0]))


def read_paused(value: str | None) -> list[Part]:
    """Read the setting; what is no part is left out."""
    try:
        words = json.loads(value or "[]")
    except ValueError:
        return []
    return [Part(word) for word in words if word in set(Part)] if isinstance(words, list) else []
