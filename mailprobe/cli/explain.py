"""`mailprobe explain`: what a check means."""

from __future__ import annotations

import difflib

import click

from mailprobe.checks import CHECKS, TOPICS
from mailprobe.cli.options import put, style, width
from mailprobe.cli.verdicts import card
from mailprobe.model.errors import UsageError
from mailprobe.output.explain import explain as explanation


@click.command()
@click.argument("what", metavar="[CHECK]", required=False)
def explain(what: str | None) -> int:
    """Explain a CHECK by its id, or all of a topic; without one, list every check."""
    if what is None:
        put("".join(f"{check.id:34} {check.severity.value}\n    {check.claim}\n" for check in CHECKS.values()))
        return 0
    chosen = [check for check in CHECKS.values() if what in {check.id, check.id.partition("-")[0]}]
    if not chosen:
        near = difflib.get_close_matches(what, [*CHECKS, *TOPICS], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `mailprobe explain` lists all checks"
        raise UsageError(f"there is no check {what!r}{hint}")
    put("\n".join(explanation(card(check), style(), width()) for check in chosen))
    return 0
