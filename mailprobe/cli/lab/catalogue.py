"""`mailprobe lab list`: the catalogue of scenarios."""

from __future__ import annotations

import click
import msgspec

from mailprobe.cli.options import put
from mailprobe.lab.scenario import Scenario
from mailprobe.lab.scenarios import SCENARIOS
from mailprobe.model.errors import UsageError


class Entry(msgspec.Struct, frozen=True):
    """A scenario as `lab list --format json` gives it."""

    name: str
    domain: str
    check: str
    verdict: str
    twin: str
    wrong: str
    layer: str
    ports: tuple[int, ...]
    unavailable: str


@click.command("list")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="Form of the output.")
@click.argument("words", metavar="[WORD]...", nargs=-1)
def list_(form: str, words: tuple[str, ...]) -> int:
    """List the scenarios: what is done wrong, the check that is about it, and its verdict.

    With WORD only those whose name, check or layer holds it.
    """
    chosen = [item for item in SCENARIOS if not words or any(_about(item, word) for word in words)]
    if not chosen:
        raise UsageError(f"no scenario is about {' or '.join(words)}; `mailprobe lab list` shows all")
    entries = [_entry(item) for item in chosen]
    if form == "json":
        put(msgspec.json.format(msgspec.json.encode(entries), indent=2).decode("utf-8"))
        return 0
    put("".join(f"{entry.name:34} {entry.verdict:14} {entry.check}\n    {entry.wrong}\n" for entry in entries))
    return 0


def _about(scenario: Scenario, word: str) -> bool:
    return any(word in text for text in (scenario.name, scenario.check, scenario.layer))


def _entry(scenario: Scenario) -> Entry:
    return Entry(
        name=scenario.name,
        domain=scenario.target,
        check=scenario.check,
        verdict=scenario.verdict.value,
        twin=scenario.twin,
        wrong=scenario.wrong,
        layer=scenario.layer,
        ports=scenario.where,
        unavailable=scenario.unavailable,
    )
