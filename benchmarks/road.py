"""Letters per second from the first connection to the last file in the mailbox, all of it on disk: lab and Postfix."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec

from benchmarks.hosts import directory, lab
from benchmarks.local_postfix import postfix
from benchmarks.report import Effort, Section, Table, alone
from benchmarks.sending import LETTER_OCTETS, SOURCE, mta_of, senders_to
from mailprobe.lab.post.aliases import Aliases
from mailprobe.model.labfile import read_lab_file
from tests.peers.servers.postfix import why_missing

TITLE = "The road of a letter"
LAB_ONE, LAB_TWO = "the lab: server, spool, expander, mailbox", "the lab: two sites, client and server between them"
POSTFIX_ONE, POSTFIX_TWO = "Postfix: smtpd, cleanup, qmgr, virtual", "Postfix: two of them, smtp and smtpd between"
SENDER, RECEIVER = "sender.lab.test", "receiver.lab.test"
CONNECTIONS = 10
_WAIT_S = 120.0
_POLL_S = 0.005

_TEXT = """
{count} letters of {octets} octets by `smtp-source` over {connections} kept connections, from its start to the moment
when the last of them is a file in the recipient's Maildir. Between two sites the lab's first one finds the recipient
through an alias, and Postfix's through its transport. Spools, queues and Maildirs are on one disk, and nobody says
250 before fsync: Postfix as Debian has it, the lab as it always is. The lab is one process of Python; it also writes
its journal, from which `lab trace` tells each letter's way. {rounds} rounds in turns; the ratio is the median over the
rounds.
""".strip()


class RoadError(Exception):
    """Letters did not arrive; the text says how many."""


class Road(msgspec.Struct, frozen=True):
    """A way for letters: where they are handed over, and the mailbox at its end."""

    name: str
    address: str
    port: int
    recipient: str
    mailbox: Path


def measure(effort: Effort) -> Section:
    """Compare the lab with Postfix, over one site and over two."""
    reason = why_missing()
    if reason is not None:
        return Section(TITLE, (f"Not measured: {reason}.",))
    count = 300 if effort.quick else 1_000
    rounds = effort.slow_rounds
    with ExitStack() as stack:
        roads = [*stack.enter_context(_lab_roads()), *stack.enter_context(_postfix_roads())]
        rates = _rates(roads, count, rounds)
    rows = (_row(LAB_ONE, POSTFIX_ONE, rates), _row(LAB_TWO, POSTFIX_TWO, rates))
    table = Table(("road", "letters/s", "peer", "peer, letters/s", "mailprobe / peer", "aim"), rows)
    text = _TEXT.format(count=count, octets=LETTER_OCTETS, connections=CONNECTIONS, rounds=rounds)
    return Section(TITLE, (text, table))


def _rates(roads: list[Road], count: int, rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {road.name: [] for road in roads}
    for number in range(rounds + 1):
        for road in roads:
            rate = _rate(road, count)
            if number:  # the first round only warms up
                rates[road.name].append(rate)
    return rates


def _row(ours: str, theirs: str, rates: dict[str, list[float]]) -> tuple[str, ...]:
    ratio = statistics.median(mine / peer for mine, peer in zip(rates[ours], rates[theirs], strict=True))
    mine, peer = (f"{statistics.median(rates[name]):,.0f}" for name in (ours, theirs))
    return (ours, mine, theirs, peer, f"{ratio:.2f}", "at least 1")


def _rate(road: Road, count: int) -> float:
    """Send letters down a road and give how many a second arrived."""
    send = senders_to(road.address, road.port, road.recipient)[SOURCE]
    wanted = _letters_in(road.mailbox) + count
    began = time.perf_counter()
    send(count, CONNECTIONS)
    while (there := _letters_in(road.mailbox)) < wanted:
        if time.perf_counter() - began > _WAIT_S:
            raise RoadError(f"{road.name}: {wanted - there} of {count} letters did not arrive")
        time.sleep(_POLL_S)
    return count / (time.perf_counter() - began)


def _letters_in(mailbox: Path) -> int:
    return len(os.listdir(mailbox)) if mailbox.is_dir() else 0  # noqa: PTH208 - the quickest way to count


@contextmanager
def _lab_roads() -> Iterator[list[Road]]:
    with lab() as path:
        file = read_lab_file(path)
        root = Path(file.directory)
        mailbox = root / RECEIVER / "mail" / "bob" / "new"
        with closing(Aliases(root / SENDER / "aliases.db")) as aliases:
            aliases.set("far", (f"bob@{RECEIVER}",))
        yield [
            Road(LAB_ONE, *mta_of(file, RECEIVER), f"bob@{RECEIVER}", mailbox),
            Road(LAB_TWO, *mta_of(file, SENDER), f"far@{SENDER}", mailbox),
        ]


@contextmanager
def _postfix_roads() -> Iterator[list[Road]]:
    with directory() as path, postfix(path / "receiver") as receiver, postfix(path / "sender", receiver) as sender:
        yield [
            Road(name, server.address, server.port, receiver.recipient, receiver.mailbox)
            for name, server in ((POSTFIX_ONE, receiver), (POSTFIX_TWO, sender))
        ]


if __name__ == "__main__":
    alone(measure)
