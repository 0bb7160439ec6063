"""What a program measured, as Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.stopwatch import Times


class Effort(msgspec.Struct, frozen=True):
    """How often to run everything: *rounds* for commands, *slow_rounds* for those that take seconds."""

    rounds: int = 15
    slow_rounds: int = 5
    quick: bool = False


QUICK = Effort(rounds=3, slow_rounds=1, quick=True)


class Table(msgspec.Struct, frozen=True):
    """A table; the first column is text, the others are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(msgspec.Struct, frozen=True):
    """One benchmark: paragraphs and tables in the order in which they are to be read."""

    title: str
    parts: tuple[str | Table, ...]


def markdown(section: Section) -> str:
    """Write a section as Markdown."""
    parts = [part if isinstance(part, str) else _table(part) for part in section.parts]
    return "\n\n".join([f"## {section.title}", *parts]) + "\n"


def _table(table: Table) -> str:
    width = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]
    rule = [":" + "-" * (width[0] - 1), *("-" * (each - 1) + ":" for each in width[1:])]
    return "\n".join(_line(cells, width) for cells in (table.columns, rule, *table.rows))


def _line(cells: Sequence[str], width: Sequence[int]) -> str:
    first = cells[0].ljust(width[0])
    return (
        "| " + " | ".join([first, *(cell.rjust(each) for cell, each in zip(cells[1:], width[1:], strict=True))]) + " |"
    )


def beside(times: Times, ours: Sequence[str], peers: Sequence[tuple[str, float | None]]) -> Table:
    """Put commands of ours beside their peers; with each peer goes the ratio that is aimed at, or None."""
    columns = ("command", "median, ms", *(f"`{name}` / this" for name in ours), "aim")
    rows = [(f"`{name}`", f"{times.median(name):.0f}", *("" for _ in ours), "") for name in ours]
    for peer, aim in peers:
        ratios = (f"{times.ratio(name, peer):.2f}" for name in ours)
        rows.append((peer, f"{times.median(peer):.0f}", *ratios, "" if aim is None else f"at most {aim:g}"))
    return Table(columns, tuple(rows))


def alone(measure: Callable[[Effort], Section]) -> None:
    """Run one benchmark from the command line and print it."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs: to see that it works, not to quote")
    effort = QUICK if parser.parse_args().quick else Effort()
    print(markdown(measure(effort)))
