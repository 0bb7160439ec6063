"""`mailprobe lab up` and `lab run`: a lab for other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from mailprobe.cli.endings import ENDING
from mailprobe.cli.options import put, say, width
from mailprobe.cli.scratch import scratch_folder
from mailprobe.lab.sites import POST_SITES
from mailprobe.lab.world import Lab
from mailprobe.model.errors import UsageError
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import SEVEN_PORTS
from mailprobe.output.words import clean

OFFSET = 10_000
_delay = click.option("--delay", type=float, default=0.0, metavar="SECONDS", help="Hold back every flight of a server.")


@click.command()
@click.option("--offset", type=int, default=OFFSET, help="Ports are the usual ones plus this (default 10000).")
@click.option("--real-ports", is_flag=True, help="Use the usual ports themselves, where this user may bind them.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="Lab file to write, and to remove at the end; it must not exist. Default: lab.json in the directory.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the mail there: a lab started on it again goes on where the last one ended. Default: a temporary one.",
)
@click.option("--all", "everything", is_flag=True, help="Show every port of every host.")
@_delay
def up(offset: int, real_ports: bool, path: Path | None, directory: Path | None, everything: bool, delay: float) -> int:
    """Run the lab in the foreground, for other programs; Ctrl-C ends it.

    Prints what listens where, and writes a lab file: with MAILPROBE_LAB set to it, mailprobe in another terminal
    uses this lab.
    """
    if not 0 <= offset <= 65535 - max(port.number for port in SEVEN_PORTS):
        raise UsageError(f"--offset {offset}: the ports must stay below 65536")
    if path is not None and path.exists():
        raise UsageError(f"--file {path}: it exists; name a file that is not there yet")
    ports = 0 if real_ports else offset
    made = Lab(flight_delay_s=_checked(delay), fixed_ports=ports, directory=directory, complain=_complain)
    with _signals_held() as ending, _running(made) as (running, file), tempfile.TemporaryDirectory() as folder:
        path = path or (directory or Path(folder)) / "lab.json"  # one that a killed lab left there is replaced
        _write(file, path)
        try:
            put(_listing(running, file, everything))
            sys.stdout.flush()
            say(f"export MAILPROBE_LAB={path.resolve()}    # in another terminal; Ctrl-C here ends the lab")
            signal.sigwait(ending)
        finally:
            path.unlink(missing_ok=True)
        say("mailprobe: the lab has ended")
    return 0


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_delay
def run(command: tuple[str, ...], delay: float) -> int:
    """Give COMMAND (or a shell) the lab: MAILPROBE_LAB is set, and the exit status is the command's.

    Also set: MAILPROBE_LAB_RESOLVER (address:port of its DNS) and MAILPROBE_LAB_CA (its root certificate, PEM).
    SIGTERM, SIGINT and SIGHUP are passed on to the command, and the lab ends when it has ended.
    """
    chosen = command or (os.environ.get("SHELL", "/bin/sh"),)
    if not command:
        say("mailprobe: a shell with the lab around it; `exit` ends both")
    with _running(Lab(flight_delay_s=_checked(delay))) as (_, file), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lab.json"
        _write(file, path)
        variables = {
            "MAILPROBE_LAB": str(path),
            "MAILPROBE_LAB_RESOLVER": file.resolver,
            "MAILPROBE_LAB_CA": file.ca_file,
        }
        return _status_of(chosen, {**os.environ, **variables})


def _status_of(command: Sequence[str], environment: dict[str, str]) -> int:
    with _signals_passed_on() as pass_to:
        try:
            child = subprocess.Popen(command, env=environment)
        except OSError as error:
            raise UsageError(f"{command[0]}: {error.strerror}") from None
        except ValueError as error:  # a NUL in a word
            raise UsageError(f"{command[0]!r}: {error}") from None
        pass_to(child)
        status = child.wait()
    return 128 - status if status < 0 else status  # ended by a signal, as shells tell it


@contextmanager
def _signals_passed_on() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Have what would end us end a child instead, whose end is waited for; what comes before there is one waits, too.

    Ctrl-C at a terminal reaches the child without us.
    """
    waiting: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def take(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and _in_foreground():
            return
        if children:
            children[0].send_signal(number)
        else:
            waiting.append(number)

    def pass_to(child: subprocess.Popen[bytes]) -> None:
        children.append(child)
        for number in waiting:
            child.send_signal(number)

    heeded = [number for number in (signal.SIGINT, *ENDING) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in heeded}
    try:
        yield pass_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Tell whether a terminal sends Ctrl-C to all of our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@contextmanager
def _running(running: Lab) -> Iterator[tuple[Lab, LabFile]]:
    with scratch_folder():
        try:
            running.start()
        except OSError as error:
            raise UsageError(f"the lab cannot start: {error}{_advice(error)}") from None
        try:
            try:
                file = running.lab_file()
            except OSError as error:
                raise UsageError(f"the lab cannot listen: {error}{_advice(error)}") from None
            yield running, file
        finally:
            with suppress(TimeoutError):  # it is in a thread that ends with us
                running.stop()


def _advice(error: OSError) -> str:
    return "" if error.filename else "; try another --offset"


def _complain(text: str) -> None:
    say(f"mailprobe: {clean(text)}")


def _checked(delay: float) -> float:
    if not 0 <= delay <= 60:
        raise UsageError(f"--delay {delay:g}: a number of seconds from 0 to 60 is needed")
    return delay


def _write(file: LabFile, path: Path) -> None:
    try:
        file.write(path)
    except OSError as error:
        raise UsageError(f"lab file {path}: {error.strerror}") from None


def _listing(running: Lab, file: LabFile, everything: bool) -> str:
    from mailprobe.output.tables import table

    names = {"good.lab.test", "google.com", "pens.ac.id", *(site.domain for site in POST_SITES)}
    hosts = [(name, address) for name, address in running.hosts() if everything or name in names]
    headers = ("host", "address", *(f"{port.number}" for port in SEVEN_PORTS))
    rows = []
    for name, address in hosts:
        real = [file.ports.get(f"{address}:{port.number}", "-").rpartition(":")[2] for port in SEVEN_PORTS]
        rows.append((name, address, *real))
    hint = "" if everything else f"\n{len(running.hosts()) - len(hosts)} more hosts: --all shows them.\n"
    head = f"DNS resolver  {file.resolver} (UDP and TCP)\nroot          {file.ca_file}\n"
    head += f"mail          {file.directory}\n\n"
    return head + table(headers, rows, width=max(width(), 80)) + "\n" + hint


@contextmanager
def _signals_held() -> Iterator[set[signal.Signals]]:
    """Have the signals that end the lab wait until somebody waits for them: Ctrl-C, and what others send.

    Threads that begin meanwhile inherit this: none of them is in the place of the one that waits.
    """
    ending = {number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN} | {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield ending
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
