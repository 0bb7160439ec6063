"""`mailprobe collect` and `mailprobe judge`: evidence now, verdict later."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mailprobe.cli.options import network_options, open_network, put, say, session_options
from mailprobe.cli.verdicts import Wanted, deliver, judging_options
from mailprobe.model.errors import EvidenceError, UsageError
from mailprobe.model.evidence_file import read_evidence, write_evidence
from mailprobe.model.ports import parse_ports


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--ports", "listed", metavar="LIST", help="Ports to ask, such as 25,2525:smtp,4190. Default: the seven.")
@click.option("--host", "as_host", is_flag=True, help="Take TARGET for a host: do not look for its MX.")
@click.option(
    "--thorough", is_flag=True, help="Ask STARTTLS ports, too, for TLS 1.0 and 1.1: one more connection each."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here instead of to stdout."
)
@network_options
@session_options
def collect(
    targets: tuple[str, ...], listed: str | None, as_host: bool, thorough: bool, output: Path | None, **network: Any
) -> int:
    """Ask all that `check` asks about TARGET and write the evidence as JSON, without judging it.

    `mailprobe judge FILE` gives the same findings as `mailprobe check` would have, today or next year.
    """
    import asyncio

    from mailprobe.collect.targets import Depth, parse_target
    from mailprobe.collect.targets import collect as gather

    chosen = parse_ports(listed) if listed is not None else None
    wishes = [parse_target(target, chosen, follow_mx=not as_host) for target in dict.fromkeys(targets)]
    with open_network(**network) as net:
        evidence = asyncio.run(gather(net, wishes, Depth(thorough=thorough)))
    text = write_evidence(evidence)
    if output is None:
        put(text.decode("utf-8"))
        return 0
    try:
        output.write_bytes(text)
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from None
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
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{file}: {error.strerror}") from None
