"""`mailprobe lab list`: the catalogue of scenarios."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise

import click
import msgspec

from mailprobe.cli.options import format_option, put, width
from mailprobe.lab.scenario import SUFFIX, Scenario
from mailprobe.lab.scenarios import SCENARIOS
from mailprobe.model.errors import UsageError
from mailprobe.output.widths import paragraph

_FLOW = "flow"
_INDENT = "    "


class Entry(msgspec.Struct, frozen=True, rename={"shown_by": "try"}):
    """A scenario as `lab list --format json` gives it; *shown_by* is the command that gets the verdict."""

    name: str
    domain: str
    check: str
    verdict: str
    twin: str
    wrong: str
    layer: str
    ports: tuple[int, ...]
    unavailable: str
    shown_by: str


@click.command("list")
@format_option("table", "json")
@click.argument("words", metavar="[WORD]...", nargs=-1)
def list_(form: str, words: tuple[str, ...]) -> int:
    """List the scenarios: what is done wrong, the check that is about it, and its verdict.

    With WORD only those whose name, check or layer holds it. What can become of a letter (`mailprobe lab list flow`)
    is listed with the command that shows it; all others are domains for `mailprobe check --lab`.
    """
    chosen = [item for item in SCENARIOS if not words or any(_about(item, word) for word in words)]
    if not chosen:
        raise UsageError(f"no scenario is about {' or '.join(words)}; `mailprobe lab list` shows all")
    entries = [_entry(item) for item in chosen]
    if form == "json":
        put(msgspec.json.format(msgspec.json.encode(entries), indent=2).decode("utf-8"))
        return 0
    put("".join(map(_lines, chosen)))
    return 0


def flow_words(name: str) -> tuple[str, ...] | None:
    """Give what to give to ``mailprobe trip --lab`` for a scenario of a letter's road: FROM, TO and further options.

    *name* may have the lab's suffix. None when there is no such scenario.
    """
    bare = name.lower().removesuffix(f".{SUFFIX}")
    targets = (item.target for item in SCENARIOS if item.layer == _FLOW and item.name == bare)
    target = next(targets, None)
    return None if target is None else tuple(shlex.split(target))


def _about(scenario: Scenario, word: str) -> bool:
    return any(word in text for text in (scenario.name, scenario.check, scenario.layer))


def _lines(scenario: Scenario) -> str:
    columns = width()
    parts = (f"{scenario.name:34}", f"{scenario.verdict.value:14}", scenario.check)
    head = " ".join(parts)
    lines = [
        head if len(head) <= columns else " ".join(part.rstrip() for part in parts),
        paragraph(scenario.wrong, columns, _INDENT, _INDENT),
    ]
    if scenario.layer == _FLOW:
        lines += _command_lines(_command(scenario), columns)
    return "".join(f"{line}\n" for line in lines)


def _command(scenario: Scenario) -> tuple[str, ...]:
    given = flow_words(scenario.name)
    return ("mailprobe", "check", "--lab", scenario.target) if given is None else ("mailprobe", "trip", "--lab", *given)


def _command_lines(words: Sequence[str], columns: int) -> list[str]:
    """Write a command so that a shell still takes it as one when it needs several lines; options keep their values."""
    parts: list[str] = []
    for before, word in pairwise(("", *words)):
        if before.startswith("--") and before != "--lab":
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    lines = [_INDENT + parts[0]]
    for part in parts[1:]:
        if len(f"{lines[-1]} {part} \\") <= columns:
            lines[-1] += f" {part}"
        else:
            lines[-1] += " \\"
            lines.append(f"{_INDENT}  {part}")
    return lines


def _entry(scenario: Scenario) -> Entry:
    return Entry(
        name=scenario.name,
        domain=scenario.domain if scenario.layer == _FLOW else scenario.target,
        check=scenario.check,
        verdict=scenario.verdict.value,
        twin=scenario.twin,
        wrong=scenario.wrong,
        layer=scenario.layer,
        ports=scenario.where,
        unavailable=scenario.unavailable,
        shown_by=shlex.join(_command(scenario)),
    )
