"""Tables that fit the terminal, drawn by tabulate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar
from unicodedata import normalize

from mailprobe.output.widths import is_mark, plain, shorten, width_of, wrap

Row = TypeVar("Row")
ROWS_LIMIT = 1_000  # beyond it a table takes seconds, and nobody reads it
_GAP = 2  # tabulate's plain format puts two spaces between columns
_FLOORS = (16, 10, 6, 1)  # how narrow columns may become, in rounds: none vanishes while another has room

# tabulate counts characters, and columns where wcwidth happens to be installed. So that neither matters, each wide
# character is drawn as two private ones of width 1; clean() lets none of them through from outside.
_STAND_INS = 0xF0000
_FILLER = "\ue000"


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int = 80,
    right: Collection[int] = (),
    wraps: Collection[int] = (),
    gives: Collection[int] = (),
) -> str:
    """Draw a table of at most *width* columns; a cell may hold colour.

    Columns in *right* are set to the right. Where the table is too wide, the columns in *gives* become narrower
    first, the widest of them before the others, then the widest of all; a column in *wraps* goes on below, any other
    loses its end to an ellipsis. No rows give an empty text.
    """
    if not rows:
        return ""
    from tabulate import tabulate  # costs more than all the rest of a command's start

    rows = [[_countable(cell) for cell in row] for row in rows]
    natural = [max(width_of(row[index]) for row in (headers, *rows)) for index in range(len(headers))]
    widths = _fitted(natural, width, gives)
    lines = [
        [shorten(header, widths[index]) for index, header in enumerate(headers)],
        ["-" * columns for columns in widths],
        *([_cell(cell, widths[index], index in wraps) for index, cell in enumerate(row)] for row in rows),
    ]
    hidden, shown = _stand_ins("".join(cell for line in lines for cell in line))
    drawn = tabulate(
        [[cell.translate(hidden) for cell in line] for line in lines],
        tablefmt="plain",
        disable_numparse=True,  # "25" and "1e5" are text
        colalign=["right" if index in right else "left" for index in range(len(headers))],
    )
    return "\n".join(line.rstrip() for line in drawn.translate(shown).split("\n"))


def newest(rows: Sequence[Row]) -> tuple[Sequence[Row], str]:
    """Give the last rows of a list that grows at its end, as many as anybody reads, and a line about the others."""
    more = len(rows) - ROWS_LIMIT
    return (rows[-ROWS_LIMIT:], f"{more} more before these; --format json has all\n") if more > 0 else (rows, "")


def _fitted(natural: list[int], width: int, gives: Collection[int]) -> list[int]:
    widths = list(natural)
    room = width - _GAP * (len(widths) - 1)
    for floor in _FLOORS[:3]:
        while sum(widths) > room and (index := max(gives, key=lambda each: widths[each], default=-1)) >= 0:
            if widths[index] <= floor:
                break
            widths[index] -= 1
    for floor in _FLOORS:
        while sum(widths) > room and max(widths) > floor:
            widths[widths.index(max(widths))] -= 1
    return widths


def _cell(text: str, width: int, wraps: bool) -> str:
    if width_of(text) <= width:
        return text
    return "\n".join(wrap(plain(text), width)) if wraps else shorten(text, width)


def _countable(text: str) -> str:
    """Join marks to their letters, and show those that stay alone: tabulate would count them as columns."""
    if text.isascii():
        return text
    return "".join(f"\\u{ord(char):04x}" if is_mark(char) else char for char in normalize("NFC", text))


def _stand_ins(text: str) -> tuple[dict[int, str], dict[int, str]]:
    """Give the translations to what tabulate counts rightly, and back."""
    wide = [] if text.isascii() else sorted({char for char in text if width_of(char) == 2})
    hidden = {ord(char): chr(_STAND_INS + number) + _FILLER for number, char in enumerate(wide)}
    shown = {_STAND_INS + number: char for number, char in enumerate(wide)}
    return hidden, shown | {ord(_FILLER): ""}
