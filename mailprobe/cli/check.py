"""`mailprobe check`: ask everything, judge it, say what to fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailprobe.cli import meanwhile
from mailprobe.cli.options import network_options, open_network, session_options
from mailprobe.cli.verdicts import Wanted, check_wishes, deliver, judging_options
from mailprobe.collect.targets import Depth, collect, parse_target
from mailprobe.model.ports import parse_ports

_AFTERWARDS = ("mailprobe.checks", "mailprobe.checks.judge", "mailprobe.output.findings")


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--ports", "listed", metavar="LIST", help="Ports to ask, such as 25,2525:smtp,4190. Default: the seven.")
@click.option("--host", "as_host", is_flag=True, help="Take TARGET for a host: do not look for its MX.")
@click.option(
    "--thorough", is_flag=True, help="Ask STARTTLS ports, too, for TLS 1.0 and 1.1: one more connection each."
)
@judging_options
@network_options
@session_options
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
    chosen = parse_ports(listed) if listed is not None else None
    wishes = [parse_target(target, chosen, follow_mx=not as_host) for target in dict.fromkeys(targets)]
    check_wishes(wanted)
    with open_network(**network) as net:
        evidence = meanwhile.ask(net, collect(net, wishes, Depth(thorough=thorough)), _AFTERWARDS)
    return deliver(evidence, wanted)
