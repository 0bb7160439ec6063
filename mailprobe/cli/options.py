"""Options that several commands share, and the network they describe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailprobe.cli.closed import StdoutClosed
from mailprobe.model.errors import UsageError
from mailprobe.model.labfile import read_lab_file
from mailprobe.model.names import domain_name, is_address
from mailprobe.net.labs import Elsewhere, inside
from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach

if TYPE_CHECKING:
    from mailprobe.lab.world import Lab
    from mailprobe.output.style import Style

Command = TypeVar("Command", bound=Callable[..., Any])
WIDTH = 80

_NETWORK_OPTIONS = (
    click.option("--lab", is_flag=True, help="Ask the loopback lab instead of the world; no network is used."),
    click.option(
        "--resolver",
        default="system",
        metavar="WHERE",
        help="Resolver to ask: system, 127.0.0.1:5353, tls://dns.example or https://dns.example/dns-query.",
    ),
    click.option("--timeout", type=float, metavar="SECONDS", help="Longest time for one target (default 60)."),
    click.option("--source", metavar="ADDRESS", help="Local address to connect from."),
    click.option("-4", "four", is_flag=True, help="Use IPv4 only."),
    click.option("-6", "six", is_flag=True, help="Use IPv6 only."),
)
_SESSION_OPTIONS = (
    click.option(
        "--ehlo",
        metavar="NAME",
        help="Name to introduce ourselves by; by default the address literal of the connection.",
    ),
    click.option(
        "--ca-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Trust these CA certificates (PEM), no others.",
    ),
    click.option(
        "--internal-net", multiple=True, metavar="CIDR", help="Addresses in this range are meant to be used here."
    ),
)


def network_options(command: Command) -> Command:
    """Add the options that say how to reach the world."""
    return _add(_NETWORK_OPTIONS, command)


def session_options(command: Command) -> Command:
    """Add the options of commands that talk to mail servers."""
    return _add(_SESSION_OPTIONS, command)


def _add(options: tuple[Callable[[Any], Any], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def choice(values: Iterable[str]) -> click.Choice[str]:
    """Give the type of an option that is one of these words, in whatever case."""
    return click.Choice([str(value) for value in values], case_sensitive=False)


def format_option(*formats: str) -> Callable[[Command], Command]:
    """Add ``--format`` with these choices, the first the default."""
    return click.option("--format", "form", type=choice(formats), default=formats[0], help="Form of the output.")


@contextmanager
def open_network(
    *,
    lab: bool,
    resolver: str,
    timeout: float | None,
    source: str | None,
    four: bool,
    six: bool,
    ehlo: str | None = None,
    ca_file: Path | None = None,
    internal_net: tuple[str, ...] = (),
    running: Lab | None = None,
) -> Iterator[Network]:
    """Give the network that the options describe: the world, the lab in this process, or one that runs elsewhere.

    *running* is a lab that the caller has started already: then it is that one.

    Raises:
        UsageError: an option that cannot be.
    """
    reach = Reach(
        resolver=resolver,
        source=source,
        families=_families(four, six),
        ca_file=ca_file,
        internal_networks=_networks(internal_net),
        ehlo_name=_ehlo_name(ehlo),
        limits=_limits(timeout),
    )
    if running is not None:
        yield Network(inside(reach, running))
        return
    if lab:
        with running_lab() as started:
            yield Network(inside(reach, started))
        return
    file = os.environ.get("MAILPROBE_LAB")
    yield Network(inside(reach, Elsewhere(read_lab_file(Path(file)))) if file else reach)


@contextmanager
def running_lab() -> Iterator[Lab]:
    """Give a lab in this process, and end it.

    Raises:
        UsageError: it cannot start.
    """
    from mailprobe.cli.scratch import scratch_folder
    from mailprobe.lab.world import Lab

    if os.environ.get("MAILPROBE_LAB"):
        say("mailprobe: --lab starts a lab of its own; leave it out to use the one of MAILPROBE_LAB")
    lab = Lab()
    with scratch_folder():
        try:
            lab.start()
        except OSError as error:
            raise UsageError(f"the lab cannot start: {error}") from None
        try:
            yield lab
        finally:
            with suppress(TimeoutError):  # it is in a thread that ends with us
                lab.stop()


def _families(four: bool, six: bool) -> tuple[int, ...]:
    if four and six:
        raise UsageError("-4 and -6 exclude each other; without either both families are used")
    return (4,) if four else (6,) if six else (4, 6)


def _limits(timeout: float | None) -> Limits:
    if timeout is None:
        return Limits()
    if not 0 < timeout <= 3_600:
        raise UsageError(f"--timeout {timeout:g}: a number of seconds above 0, 3600 at most, is needed")
    return Limits.within(timeout)


def _networks(ranges: tuple[str, ...]) -> tuple[str, ...]:
    from ipaddress import ip_network

    for text in ranges:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise UsageError(f"--internal-net {text!r} is no range; write for example 10.0.0.0/8") from None
    return ranges


def _ehlo_name(text: str | None) -> str | None:
    """Check the name for EHLO: a host name or an address literal (RFC 5321 §4.1.1.1)."""
    if text is None:
        return None
    inner = text[1:-1].removeprefix("IPv6:") if text.startswith("[") and text.endswith("]") else None
    if inner is not None:
        if not is_address(inner):
            raise UsageError(f"--ehlo {text!r} is no address literal; write [192.0.2.1] or [IPv6:2001:db8::1]")
        return text
    if is_address(text):
        raise UsageError(f"--ehlo {text}: an address goes in brackets: [{text}]")
    try:
        return domain_name(text)
    except UsageError as error:
        raise UsageError(f"--ehlo: {error}") from None


def style() -> Style:
    """Give colour only to a person at a terminal who did not decline it (NO_COLOR)."""
    from mailprobe.output.style import Style

    return Style(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def width() -> int:
    """Give the columns to write in: the terminal's, or 80 where there is none."""
    import shutil

    told = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return max(40, shutil.get_terminal_size((WIDTH, 24)).columns) if told else WIDTH


def put(text: str) -> None:
    """Write to stdout, which is for data.

    Raises:
        StdoutClosed: nobody reads it any more, or there is no room for it.
    """
    text = text if not text or text.endswith("\n") else f"{text}\n"
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode("ascii"))
    except OSError as error:
        raise StdoutClosed(error.strerror) from None


def say(text: str) -> None:
    """Write to stderr, which is for talk."""
    print(text, file=sys.stderr)
