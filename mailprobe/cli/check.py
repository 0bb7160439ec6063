"""`mailprobe check`: ask everything, judge it, say what to fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailprobe.cli.asking import ask, asking_options, reaching_options, read_wishes
from mailprobe.cli.verdicts import Wanted, check_wishes, deliver, judging_options
from mailprobe.collect.targets import Depth

_AFTERWARDS = ("mailprobe.checks", "mailprobe.checks.judge", "mailprobe.output.findings")


@click.command()
@asking_options
@judging_options
@reaching_options
def check(
    targets: tuple[str, ...],
    listed: str | None,
    as_host: bool,
    thorough: bool,
    form: str,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    fail_on: str,
    baseline: Path | None,
    explain: bool,
    undecided_ok: bool,
    verbose: int,
    **network: Any,
) -> int:
    """Check everything about the mail of TARGET, and say what is wrong, where, why, and what to do.

    TARGET is a domain, whose MX is followed to all hosts, addresses and ports; or an address, or HOST:PORT. Nothing
    is sent, nobody logs in. Exit status: 0 all well, 1 a finding at or above --fail-on, 3 something of that
    weight could not be decided.
    """
    wanted = Wanted(form, only, skip, fail_on, baseline, explain, undecided_ok, verbose)
    wishes = read_wishes(targets, listed, follow_mx=not as_host)
    check_wishes(wanted)
    return deliver(ask(wishes, Depth(thorough=thorough), network, _AFTERWARDS), wanted)
