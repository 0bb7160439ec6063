"""How many columns text takes on a terminal, and making it take fewer.

Colour codes take none, East Asian wide characters two. Only the colour codes that *style* writes are known:
text from the wire went through ``words.clean`` and holds none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category, east_asian_width

ELLIPSIS = "…"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def is_mark(character: str) -> bool:
    """Tell whether a character is drawn over the one before it, and so takes no column."""
    return not character.isascii() and category(character) in {"Mn", "Me"}


def width_of(text: str) -> int:
    """Count the terminal columns that *text* takes."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return sum(_columns(character) for character in plain(text))


def plain(text: str) -> str:
    """Leave out colour codes."""
    return _COLOUR.sub("", text)


def shorten(text: str, width: int) -> str:
    """Cut *text* to *width* columns, the last an ellipsis when something was lost; its colours still end."""
    if width_of(text) <= width:
        return text
    kept: list[str] = []
    room = max(width - 1, 0)
    full = False
    for piece in _pieces(text):
        if piece.startswith("\x1b"):
            kept.append(piece)
            continue
        if full:
            continue
        room -= _columns(piece)
        full = room < 0
        kept.append(ELLIPSIS if full else piece)
    return "".join(kept)


def wrap(text: str, width: int) -> list[str]:
    """Break uncoloured *text* at spaces into lines of at most *width* columns, and longer words anywhere."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if width_of(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *whole, line = _chopped(word, width)
        lines.extend(whole)
    return [*lines, line] if line or not lines else lines


def paragraph(text: str, width: int, first: str = "", rest: str = "") -> str:
    """Wrap *text* to *width*, its first line behind *first* and the others behind *rest*."""
    room = max(width - max(width_of(first), width_of(rest)), 20)
    lines = wrap(text, room)
    return "\n".join((rest if number else first) + line for number, line in enumerate(lines)).rstrip()


def _chopped(word: str, width: int) -> list[str]:
    parts = [""]
    room = width
    for character in word:
        if _columns(character) > room and parts[-1]:
            parts.append("")
            room = width
        parts[-1] += character
        room -= _columns(character)
    return parts


def _pieces(text: str) -> Iterator[str]:
    position = 0
    for match in _COLOUR.finditer(text):
        yield from text[position : match.start()]
        yield match.group()
        position = match.end()
    yield from text[position:]


def _columns(character: str) -> int:
    if is_mark(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
