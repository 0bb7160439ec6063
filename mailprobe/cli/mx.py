"""`mailprobe mx`: MX lookup as nslookup does it, and what is wrong with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailprobe.cli.options import format_option, network_options, open_network, put, style, width
from mailprobe.cli.status import FAILED, UNDECIDED, worst
from mailprobe.collect.lookups import Road, roads
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Answer, Status, Target
from mailprobe.model.names import domain_name, is_address, reverse_name
from mailprobe.net.dns.question import Question
from mailprobe.net.network import Network, run_blocking
from mailprobe.records.mx import is_null

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Result = TypeVar("Result")

_UNDECIDED = {Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.FAILED}


@click.command()
@click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True)
@click.option("--type", "kind", default="MX", metavar="TYPE", help="Record type to look up, any the DNS knows.")
@format_option("table", "nslookup", "json", "jsonl")
@network_options
def mx(domains: tuple[str, ...], kind: str, form: str, **network: Any) -> int:
    """Look up where mail for DOMAIN goes, and what is wrong with the answer.

    Exchangers come by preference, with their addresses and the time to live; below them the resolver asked and
    its flags. Exit status: 0 there is a way for mail or a null MX, 1 there is none, 3 the resolver could not say.
    """
    kind = kind.upper()
    domains = tuple(dict.fromkeys(domains))
    names = [_name(domain, kind) for domain in domains]
    with open_network(**network) as net:
        if kind != "MX" or form == "nslookup":
            answers = _run(net, lambda: net.resolve(Question(name, kind) for name in names))
            _show_answers(answers, [_typed(domain, kind) for domain in domains], form)
            return _status_of_answers(answers)
        found = _run(net, lambda: roads(net, names))
    _show(found, form)
    return worst(_status(road) for road in found)


def _name(text: str, kind: str) -> str:
    if kind == "PTR" and is_address(text):
        return reverse_name(text)
    if is_address(text):
        raise UsageError(f"{text} is an address, and addresses have no {kind} records; its name is --type PTR")
    return domain_name(text)


def _typed(text: str, kind: str) -> str:
    """Give the name as nslookup repeats it: as typed, but an address as its reverse name."""
    return reverse_name(text) if kind == "PTR" and is_address(text) else text


def _run(net: Network, lookups: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run lookups, on blocking sockets where that is enough: it saves importing an event loop."""
    if not net.needs_loop:
        return run_blocking(lookups())
    import asyncio

    return asyncio.run(lookups())


def _show(found: Sequence[Road], form: str) -> None:
    targets = [Target(asked=road.domain.name, domain=road.domain, hosts=road.hosts, trouble=None) for road in found]
    if form == "table":
        from mailprobe.output.mx import mx as mx_table

        put(mx_table(targets, style(), width()))
        return
    from mailprobe.output import json_output, jsonl
    from mailprobe.output.rows import mail_domain

    rows = [row for target in targets if (row := mail_domain(target)) is not None]
    put(json_output.rows(rows) if form == "json" else jsonl.rows(rows))


def _show_answers(answers: Sequence[Answer], asked: Sequence[str], form: str) -> None:
    if form == "nslookup":
        from mailprobe.output.nslookup import nslookup

        put(nslookup(answers, asked))
    elif form == "table":
        from mailprobe.output.mx import records

        put(records(answers, style(), width()))
    else:
        from mailprobe.output import json_output, jsonl

        put(json_output.rows(answers) if form == "json" else jsonl.rows(answers))


def _status(road: Road) -> int:
    answer = road.domain.mx
    if answer.status in _UNDECIDED:
        return UNDECIDED
    if is_null(answer) or any(host.addresses for host in road.hosts):
        return 0
    hosts = [found for host in road.hosts for found in host.answers] + list(road.domain.implicit)
    return UNDECIDED if any(found.status in _UNDECIDED for found in hosts) else FAILED


def _status_of_answers(answers: Sequence[Answer]) -> int:
    statuses = {answer.status for answer in answers}
    if statuses & {Status.NXDOMAIN, Status.NODATA}:
        return FAILED
    return UNDECIDED if statuses & _UNDECIDED else 0
