"""How long the whole lab takes to start, beside an interpreter that does nothing and real servers."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.commands import Command
from benchmarks.hosts import lab, mail_host, why_no_mail_host
from benchmarks.report import Effort, Section, Table, alone
from benchmarks.stopwatch import interleaved
from mailprobe.lab.world import Lab

TITLE = "Start-up of the lab"
PYTHON = "`python -c pass`"
INSIDE = "the lab inside a running program"
PROCESS = "the lab as a process, every port bound and written into a lab file"
SERVERS = "Postfix, Dovecot, NSD and Unbound"

_TEXT = """
Milliseconds until whoever started it can go on; {rounds} rounds. Inside a program that is `with Lab()`: its DNS
answers, and each port is bound when somebody asks for the way to it. As a process it is from the start of the
interpreter to the lab file, which binds every port of every host. The real servers, one mail host and its resolvers,
are ready when each of their ports accepts a connection.
""".strip()


def measure(effort: Effort) -> Section:
    """Time the start of the lab, of an interpreter, and of real servers."""
    nothing = Command(PYTHON, (sys.executable, "-c", "pass"))
    python = interleaved([nothing], effort.rounds).median(PYTHON)
    rows = [
        (PYTHON, python),
        (INSIDE, _median(_inside, effort.rounds)),
        (PROCESS, _median(_process, effort.slow_rounds)),
    ]
    if why_no_mail_host() is None:
        rows.append((SERVERS, _median(_servers, effort.slow_rounds)))
    table = Table(
        ("what starts", "median, ms", f"this / {PYTHON}"),
        tuple((name, f"{spent:.0f}", f"{spent / python:.1f}") for name, spent in rows),
    )
    return Section(TITLE, (_TEXT.format(rounds=f"{effort.rounds} and {effort.slow_rounds}"), table))


def _median(start: Callable[[], float], rounds: int) -> float:
    """Give the median, in milliseconds, after one round that warms up."""
    start()
    return statistics.median(start() for _ in range(rounds)) * 1000


def _inside() -> float:
    began = time.perf_counter()
    with Lab():
        return time.perf_counter() - began


def _process() -> float:
    began = time.perf_counter()
    with lab():
        return time.perf_counter() - began


def _servers() -> float:
    began = time.perf_counter()
    with mail_host():
        return time.perf_counter() - began


if __name__ == "__main__":
    alone(measure)
