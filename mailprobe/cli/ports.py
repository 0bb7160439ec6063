"""`mailprobe ports`: the mail ports of a host at a glance."""

from __future__ import annotations

from typing import Any

import click

from mailprobe import __version__
from mailprobe.cli.asking import ask, ports_option, reaching_options, read_wishes
from mailprobe.cli.options import format_option, put, say, style, width
from mailprobe.cli.status import FAILED, UNDECIDED, worst
from mailprobe.cli.views import session_views
from mailprobe.collect.targets import GLANCE
from mailprobe.model.evidence import Evidence, Status, Target
from mailprobe.model.view import SessionView, reachability

_AFTERWARDS = ("mailprobe.records.certificate", "mailprobe.output.ports", "tabulate")


@click.command()
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@ports_option
@format_option("table", "json", "jsonl", "prometheus")
@click.option("-v", "--verbose", is_flag=True, help="Show the conversations word by word.")
@reaching_options
def ports(hosts: tuple[str, ...], listed: str | None, form: str, verbose: bool, **network: Any) -> int:
    """Show the mail ports of HOST: open or not, what they speak, TLS and certificate.

    One row per port and address. HOST is a name or an address, with :PORT for a single port; MX records are not
    followed (`mailprobe check` does). Exit status: 0 a port is open on every host, 1 all refuse or the
    name does not exist, 3 it could not be decided.
    """
    wishes = read_wishes(hosts, listed, follow_mx=False)
    evidence = ask(wishes, GLANCE, network, _AFTERWARDS if form == "table" else ())
    views = session_views(evidence)
    _show(evidence, views, form, verbose=verbose)
    for target in evidence.targets:
        if target.trouble is not None:
            say(f"mailprobe: {target.asked}: no address to ask; {target.trouble.detail}")
    return worst(_status(target, views) for target in evidence.targets)


def _show(evidence: Evidence, views: tuple[SessionView, ...], form: str, *, verbose: bool) -> None:
    if form == "table":
        from mailprobe.output.ports import ports as table
        from mailprobe.output.transcript import transcript

        put(table(views, style(), width()))
        if verbose:
            put("\n" + transcript(views, style()))
    elif form == "prometheus":
        from mailprobe.output.prometheus import ports as metrics

        put(metrics(__version__, evidence.collected_at, views))
    else:
        from mailprobe.output import json_output, jsonl
        from mailprobe.output.rows import port_rows, unresolved_row

        rows = (*port_rows(views), *(unresolved_row(target) for target in evidence.targets if target.trouble))
        put(json_output.rows(rows) if form == "json" else jsonl.rows(rows))


def _status(target: Target, views: tuple[SessionView, ...]) -> int:
    states = {reachability(view.session) for view in views if view.target == target.asked}
    if "open" in states:
        return 0
    if not states:
        known = {Status.NXDOMAIN, Status.NODATA}
        return FAILED if any(answer.status in known for host in target.hosts for answer in host.answers) else UNDECIDED
    return FAILED if states == {"refused"} else UNDECIDED
