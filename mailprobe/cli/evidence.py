"""`mailprobe collect` and `mailprobe judge`: evidence now, verdict later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailprobe.cli.asking import ask, asking_options, reaching_options, read_wishes
from mailprobe.cli.files import EVIDENCE_LIMIT, read, write
from mailprobe.cli.options import put, say
from mailprobe.cli.verdicts import Wanted, deliver, judging_options
from mailprobe.collect.targets import Depth
from mailprobe.model.evidence_file import read_evidence, write_evidence


@click.command()
@asking_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here instead of to stdout."
)
@reaching_options
def collect(
    targets: tuple[str, ...], listed: str | None, as_host: bool, thorough: bool, output: Path | None, **network: Any
) -> int:
    """Ask all that `check` asks about TARGET and write the evidence as JSON, without judging it.

    `mailprobe judge FILE` gives the same findings as `mailprobe check` would have, today or next year.
    """
    wishes = read_wishes(targets, listed, follow_mx=not as_host)
    text = write_evidence(ask(wishes, Depth(thorough=thorough), network))
    if output is None:
        put(text.decode("utf-8"))
        return 0
    write(output, "--output", text)
    say(f"mailprobe: evidence about {len(targets)} targets is in {output}")
    return 0


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@judging_options
def judge(
    file: Path,
    form: str,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    fail_on: str,
    baseline: Path | None,
    explain: bool,
    undecided_ok: bool,
    verbose: int,
) -> int:
    """Judge the evidence in FILE, or on standard input when FILE is -.

    Nothing is asked: the time of collection is the only "now". Exit status as of `check`.
    """
    wanted = Wanted(form, only, skip, fail_on, baseline, explain, undecided_ok, verbose)
    return deliver(read_evidence(_content(file), str(file)), wanted)


def _content(file: Path) -> bytes:
    return read(str(file), "", EVIDENCE_LIMIT, pipes=True)
