"""What `check` and `collect` share: the same targets and options, and so the same evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mailprobe.cli import meanwhile
from mailprobe.cli.options import network_options, open_network, session_options
from mailprobe.collect.targets import Depth, Wish, collect, parse_target
from mailprobe.model.evidence import Evidence
from mailprobe.model.ports import parse_ports

Command = TypeVar("Command", bound=Callable[..., Any])

_PORTS_HELP = "Ports to ask, such as 25,2525:smtp,4190. Default: the seven."
ports_option = click.option("--ports", "listed", metavar="LIST", help=_PORTS_HELP)

_OPTIONS = (
    click.argument("targets", metavar="TARGET...", nargs=-1, required=True),
    ports_option,
    click.option("--host", "as_host", is_flag=True, help="Take TARGET for a host: do not look for its MX."),
    click.option(
        "--thorough", is_flag=True, help="Ask STARTTLS ports, too, for TLS 1.0 and 1.1: one more connection each."
    ),
)


def asking_options(command: Command) -> Command:
    """Add the targets, and the options that say what to ask of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def reaching_options(command: Command) -> Command:
    """Add the options that say how to reach the targets."""
    return network_options(session_options(command))


def read_wishes(targets: tuple[str, ...], listed: str | None, *, follow_mx: bool) -> list[Wish]:
    """Read the targets, each once.

    Raises:
        UsageError: see `mailprobe.model.ports.parse_ports` and `mailprobe.collect.targets.parse_target`.
    """
    chosen = parse_ports(listed) if listed is not None else None
    return [parse_target(target, chosen, follow_mx=follow_mx) for target in dict.fromkeys(targets)]


def ask(wishes: list[Wish], depth: Depth, network: dict[str, Any], modules: tuple[str, ...] = ()) -> Evidence:
    """Gather evidence over the network that the options describe; meanwhile import *modules*.

    Raises:
        UsageError: see `mailprobe.cli.options.open_network`.
    """
    with open_network(**network) as net:
        return meanwhile.ask(net, collect(net, wishes, depth), modules)
