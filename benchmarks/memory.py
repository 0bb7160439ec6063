"""How much memory each command takes at its peak, beside its peer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from benchmarks.commands import Command, mailprobe
from benchmarks.hosts import lab, mail_host, why_no_mail_host
from benchmarks.ports_of_one_host import nmap, s_client
from benchmarks.report import Effort, Section, Table, alone
from benchmarks.start_up import DOMAIN, nslookup
from benchmarks.stopwatch import peak_mebibytes

TITLE = "Memory"
PYTHON = Command("`python -c pass`", (sys.executable, "-c", "pass"))

_TEXT = """
Peak resident set of the process in MiB, median of {rounds} runs. Seven `s_client` at once take seven times what one
does. Where no tool does what a command does, the bare interpreter stands beside it.
""".strip()

Pair = tuple[Command, Command | None]


def measure(effort: Effort) -> Section:
    """Compare the peak memory of each command with that of its peer."""
    if sys.platform != "linux":
        return Section(TITLE, ("Not measured: only Linux tells the memory of a process that it did not start.",))
    rounds = max(1, effort.rounds // 3)
    with lab() as lab_file:
        rows = _rows(_on_the_lab(lab_file), rounds)
    if why_no_mail_host() is None:
        with mail_host() as (host, _):
            ours = mailprobe("ports ADDRESS", "ports", "--ca-file", str(host.ca_file), host.address)
            one = s_client(host, 993)
            client = Command("one `openssl s_client`", tuple(shlex.split(one))) if one else None
            rows += _rows([(ours, nmap(host)), (ours, client)], rounds)
    columns = ("command", "MiB", "peer", "peer, MiB", "mailprobe / peer")
    return Section(TITLE, (_TEXT.format(rounds=rounds), Table(columns, tuple(rows))))


def _on_the_lab(lab_file: Path) -> list[Pair]:
    peer = nslookup(lab_file)
    return [
        (mailprobe("--help", "--help"), PYTHON),
        (mailprobe("mx --format nslookup DOMAIN", "mx", "--format", "nslookup", DOMAIN, lab_file=lab_file), peer),
        (mailprobe("mx DOMAIN", "mx", DOMAIN, lab_file=lab_file), peer),
        (mailprobe("check DOMAIN", "check", "good.lab.test", lab_file=lab_file), PYTHON),
    ]


def _rows(pairs: list[Pair], rounds: int) -> list[tuple[str, ...]]:
    return [_row(ours, peer, rounds) for ours, peer in pairs if peer is not None]


def _row(ours: Command, peer: Command, rounds: int) -> tuple[str, ...]:
    mine, theirs = peak_mebibytes(ours, rounds), peak_mebibytes(peer, rounds)
    return (f"`{ours.name}`", f"{mine:.0f}", peer.name, f"{theirs:.0f}", f"{mine / theirs:.2f}")


if __name__ == "__main__":
    alone(measure)
