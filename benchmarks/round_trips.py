"""Whether waiting is the protocol's own: every flight of the lab's servers is held back, and the flights counted."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.commands import mailprobe
from benchmarks.hosts import lab
from benchmarks.report import Effort, Section, Table, alone
from benchmarks.stopwatch import interleaved, output
from mailprobe.model.evidence import Evidence, Session
from mailprobe.model.evidence_file import read_evidence

TITLE = "Round trips"
DELAYS_S = (0.1, 0.3, 0.6)
TARGET = "good.lab.test"
STARTTLS_FLIGHTS = 5  # banner, EHLO, STARTTLS, handshake, EHLO again

_TEXT = """
The lab holds back everything that answers a flight, DNS answers too, by L; all else is loopback. The least that a
command can take is its critical path: the longest chain of flights of which each needs the one before. For SMTP with
STARTTLS these are banner, EHLO, STARTTLS, handshake (TLS 1.3) and EHLO again, five in all, for all ports and addresses
side by side. `ports ADDRESS` is that alone, `ports NAME` needs the address first (A and AAAA at once, 1 more), `check`
MX and address (2 more); its further connections (injection, no SNI, old TLS) run beside the first and are no longer
than it. The time is that of the whole process, start of the interpreter, imports and judging included. That and the
0.1 s at most that servers are given to answer QUIT are the overhead; it does not grow with L. {rounds} rounds.
""".strip()

_BOUND = "What bound the run, from the evidence (`collect`) of one further run at each L:"


class Course(msgspec.Struct, frozen=True):
    """A command and the flights on its critical path."""

    name: str
    arguments: tuple[str, ...]
    flights: int


COURSES = (
    Course("ports ADDRESS", ("ports", "127.53.1.1"), STARTTLS_FLIGHTS),
    Course("ports NAME", ("ports", TARGET), 1 + STARTTLS_FLIGHTS),
    Course("check DOMAIN", ("check", TARGET), 2 + STARTTLS_FLIGHTS),
)


def measure(effort: Effort) -> Section:
    """Compare `ports` and `check` with the critical path of the protocols on servers that answer late."""
    rows: list[tuple[str, ...]] = []
    bounds: list[str] = []
    for delay_s in DELAYS_S[:2] if effort.quick else DELAYS_S:
        with lab(delay_s) as lab_file:
            rows += _rows(delay_s, lab_file, effort.slow_rounds)
            bounds.append(f"- L = {delay_s:g} s: {_bound(delay_s, lab_file)}")
    columns = ("command", "L, s", "flights", "critical path, s", "median, s", "median / path", "overhead, s", "aim")
    text = _TEXT.format(rounds=effort.slow_rounds)
    return Section(TITLE, (text, Table(columns, tuple(rows)), _BOUND, "\n".join(bounds)))


def _rows(delay_s: float, lab_file: Path, rounds: int) -> list[tuple[str, ...]]:
    commands = [mailprobe(course.name, *course.arguments, lab_file=lab_file) for course in COURSES]
    times = interleaved(commands, rounds)
    return [_row(course, delay_s, times.median(course.name) / 1000) for course in COURSES]


def _row(course: Course, delay_s: float, spent_s: float) -> tuple[str, ...]:
    path_s = course.flights * delay_s
    figures = (f"{path_s:.2f}", f"{spent_s:.2f}", f"{spent_s / path_s:.2f}", f"{spent_s - path_s:.2f}")
    return (f"`{course.name}`", f"{delay_s:g}", str(course.flights), *figures, "at most 1.25")


def _bound(delay_s: float, lab_file: Path) -> str:
    text = output(mailprobe("collect", "collect", TARGET, lab_file=lab_file))
    evidence = read_evidence(text, "mailprobe collect")
    slowest = max(_sessions(evidence), key=lambda session: session.timings["total"])
    stages = ", ".join(
        f"{stage} {spent / 1000 / delay_s:.1f}" for stage, spent in slowest.timings.items() if stage != "total"
    )
    total = slowest.timings["total"] / 1000 / delay_s
    return f"port {slowest.port} ({slowest.service}), {total:.1f} L in all; by stage, in L: {stages}"


def _sessions(evidence: Evidence) -> list[Session]:
    return [
        session
        for target in evidence.targets
        for host in target.hosts
        for address in host.addresses
        for session in address.sessions
    ]


if __name__ == "__main__":
    alone(measure)
