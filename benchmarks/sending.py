"""Letters per second over kept connections: mailprobe's bulk sender beside Postfix's smtp-source."""

from __future__ import annotations

import importlib.util
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.commands import program
from benchmarks.hosts import lab
from benchmarks.report import Effort, Section, Table, alone
from mailprobe.lab.world import Lab
from mailprobe.model.bulk import BulkSummary
from mailprobe.model.labfile import LabFile, read_lab_file
from tests.peers.servers.process import free_port

TITLE = "Sending many letters"
SOURCE = "smtp-source"
SITE, RECIPIENT = "receiver.lab.test", "bob@receiver.lab.test"
LETTER_OCTETS = 500
CONNECTIONS = (1, 4, 16)
_ADDRESS = "127.0.0.1"
_ROOT = str(Path(__file__).parents[1])

_TEXT = """
Letters of {octets} octets to one recipient each. `smtp-source -d -s N` keeps N connections and waits for the reply to
each command; mailprobe keeps as many, and puts the envelope of the next letter into the write of the letter before.
mailprobe's rate is from its first connection to the last reply, smtp-source's that of the whole run, as it does not
tell (its start takes a few milliseconds). {rounds} rounds in turns; the ratio is the median over the rounds.

To Postfix's `smtp-sink` on loopback, which takes everything and keeps nothing, {count} letters in a run:
""".strip()

_TO_THE_LAB = """
To the lab's site `receiver.lab.test`, which says 250 when a letter is safe on the disk, {count} letters in a run: here
the server is the limit, and the senders should not differ.
""".strip()

_NO_UVLOOP = "uvloop is not installed here; with it (`pip install 'mailprobe[fast]'`) mailprobe is faster still."


class SendingError(Exception):
    """A sender that was to be measured failed; the text says how."""


Sender = Callable[[int, int], float]  # letters and connections, to letters per second


def measure(effort: Effort) -> Section:
    """Compare the bulk sender with smtp-source, both to smtp-sink."""
    missing = [name for name in ("smtp-source", "smtp-sink") if program(name) is None]
    if missing:
        return Section(TITLE, (f"Not measured: {' and '.join(missing)} not installed.",))
    count = 2_000 if effort.quick else 20_000
    with sink() as port:
        senders = senders_to(_ADDRESS, port, RECIPIENT)
        rows = [row for number in CONNECTIONS for row in rows_of(senders, count, number, effort.rounds)]
    few = count // 20
    with lab() as path:
        senders = senders_to(*mta_of(read_lab_file(path), SITE), RECIPIENT)
        lab_rows = rows_of(senders, few, CONNECTIONS[1], effort.slow_rounds)
    text = _TEXT.format(octets=LETTER_OCTETS, count=count, rounds=effort.rounds)
    notes = () if _has_uvloop() else (_NO_UVLOOP,)
    return Section(TITLE, (text, table(rows), *notes, _TO_THE_LAB.format(count=few), table(lab_rows, aim="")))


def mta_of(file: LabFile, site: str) -> tuple[str, int]:
    """Give where the MTA server of a site of the lab listens."""
    address = dict(Lab().hosts())[site]
    where, _, port = file.ports[f"{address}:25"].rpartition(":")
    return where, int(port)


def table(rows: list[tuple[str, ...]], aim: str = "at least 1") -> Table:
    """Make the table of `rows_of`; *aim* is for our own senders."""
    columns = ("sender", "connections", "letters/s", f"this / `{SOURCE}`", "aim")
    return Table(columns, tuple((*row, aim if row[-1] else "") for row in rows))


def rows_of(senders: dict[str, Sender], count: int, connections: int, rounds: int) -> list[tuple[str, ...]]:
    """Let all senders send in turns and give a row for each, the peer's last."""
    rates: dict[str, list[float]] = {name: [] for name in senders}
    for number in range(rounds + 1):
        for name, sender in senders.items():
            rate = sender(count, connections)
            if number:  # the first round only warms up
                rates[name].append(rate)
    return [_row(name, connections, rates) for name in senders]


def _row(name: str, connections: int, rates: dict[str, list[float]]) -> tuple[str, ...]:
    rate = f"{statistics.median(rates[name]):,.0f}"
    if name == SOURCE:
        return (f"`{name}`", str(connections), rate, "")
    ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[name], rates[SOURCE], strict=True))
    return (name, str(connections), rate, f"{ratio:.2f}")


def senders_to(address: str, port: int, recipient: str) -> dict[str, Sender]:
    """Give the senders to compare, each leading to one port."""
    loops = {"mailprobe, asyncio": "asyncio", **({"mailprobe, uvloop": "fast"} if _has_uvloop() else {})}
    ours = {name: _mailprobe(loop, address, port, recipient) for name, loop in loops.items()}
    return {**ours, SOURCE: _smtp_source(address, port, recipient)}


def _has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None


def _mailprobe(loop: str, address: str, port: int, recipient: str) -> Sender:
    def send(count: int, connections: int) -> float:
        argv = (sys.executable, "-m", "benchmarks.sender", loop, address, str(port), recipient)
        done = _run((*argv, str(count), str(connections)))
        summary = msgspec.json.decode(done, type=BulkSummary)
        if summary.letters != count:
            raise SendingError(f"{summary.letters} of {count} letters: {summary.replies} {summary.stopped}")
        return summary.per_second

    return send


def _smtp_source(address: str, port: int, recipient: str) -> Sender:
    def send(count: int, connections: int) -> float:
        options = ("-d", "-s", str(connections), "-m", str(count), "-l", str(LETTER_OCTETS))
        who = ("-f", "sender@sender.lab.test", "-t", recipient, "-M", "sender.lab.test")
        started = time.perf_counter()
        _run((str(program("smtp-source")), *options, *who, f"{address}:{port}"))
        return count / (time.perf_counter() - started)

    return send


def _run(argv: tuple[str, ...]) -> bytes:
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, timeout=600, check=False)
    if done.returncode != 0:
        raise SendingError(f"{' '.join(argv)}: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
    return done.stdout


@contextmanager
def sink() -> Iterator[int]:
    """Run smtp-sink on a free port."""
    port = free_port(_ADDRESS)
    argv = [str(program("smtp-sink")), "-u", "nobody", f"{_ADDRESS}:{port}", "1000"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield port
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection((_ADDRESS, port), 1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise SendingError("smtp-sink did not start")


if __name__ == "__main__":
    alone(measure)
