"""A lab that kills itself: a program for the tests, run as ``python -m tests.lab.post.killed_lab DIRECTORY POINT``.

Its life is counted in points: before every change of a file or folder below DIRECTORY, every SQL statement, every
write to the disk or to a socket, it passes one. At the POINT-th it sends itself SIGKILL, in whatever thread it is; 0
means never. Orders come by standard input, a line each, and every one is answered by a line:

With ``skips`` behind POINT nobody waits for a clock: it jumps to what is due next.

``arm N`` starts counting anew and dies at the N-th point from there, ``rest`` waits until no letter is under way,
``tick S`` moves the clock by S seconds, too, ``points`` gives how many were passed, by kind.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import dns.message
import dns.query

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Site
from mailprobe.lab.world import Lab

GREY = "grey.lab.test"
SITES = (
    Site(
        domain=GREY,
        post=PostSite(
            users={"gus": "secret", "gwen": "secret"},
            aliases="postmaster: gwen\nclub: gus, gwen, alice@sender.lab.test, ghost@receiver.lab.test\n",
            greylist_s=400.0,
        ),
    ),
)
SERVED = (("sender.lab.test", 587), ("receiver.lab.test", 993), ("receiver.lab.test", 995))
_FILES = {
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime"),
    *("os.chmod", "shutil.rmtree"),
}
_CONNECTIONS = {"socket.connect", "socket.bind"}
_CALLS = {"send": "socket.send", "sendto": "socket.send", "fsync": "fsync", "write": "write"}


class Points:
    """Counts the points of a life, in every thread, and ends it at one of them."""

    def __init__(self, directory: Path, last: int) -> None:
        self._directory = str(directory)
        self._opened: list[sqlite3.Connection] = []  # and not traced yet: a connection that is being made cannot be
        self.arm(last)

    def arm(self, last: int) -> None:
        self._numbers = itertools.count(1)
        self._last = last
        self.kinds: Counter[str] = Counter()

    def passed(self, kind: str) -> None:
        self.kinds[kind] += 1
        if next(self._numbers) == self._last:
            os.write(2, f"killed before {kind}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        sys.addaudithook(self._audited)
        sys.setprofile(self._profiled)
        threading.setprofile(self._profiled)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILES:
            name = arguments[0]
            if isinstance(name, str | bytes | Path) and os.fsdecode(name).startswith(self._directory):
                self.passed(event)
        elif event in _CONNECTIONS:
            self.passed(event)
        elif event == "sqlite3.connect/handle":
            self._opened.append(arguments[0])

    def _stated(self, statement: str) -> None:
        self.passed(f"sql {statement.split(maxsplit=1)[0].lower()}")

    def _profiled(self, _frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_return" and argument is sqlite3.connect:
            while self._opened:
                self._opened.pop().set_trace_callback(self._stated)
        if event == "c_call" and argument.__name__ in _CALLS and (argument.__name__ != "write" or argument is os.write):
            self.passed(_CALLS[argument.__name__])


def serve(directory: Path, last: int, *, skips: bool) -> None:
    points = Points(directory, last)
    points.watch()
    with Lab(directory=directory, sites=SITES, complain=_complain) as lab:
        lab.skips_waiting = skips
        _say({"ca": str(lab.ca_file), "ports": {f"{site}:{port}": _endpoint(lab, site, port) for site, port in SERVED}})
        for line in sys.stdin:
            word, _, number = line.strip().partition(" ")
            if word == "arm":
                _say("armed")
                points.arm(int(number))
            elif word in ("rest", "tick"):
                lab.order(Order("look") if word == "rest" else Order("tick", seconds=float(number)))
                lab.rest(60)
                _say("rested")
            else:
                _say(points.kinds)


def _endpoint(lab: Lab, site: str, port: int) -> tuple[str, int]:
    where, _, number = lab.resolver.rpartition(":")
    reply = dns.query.udp(dns.message.make_query(f"mx.{site}", "A"), where, port=int(number), timeout=20)
    return lab.route(str(reply.answer[-1][0]), port)


def _say(what: object) -> None:
    sys.__stdout__.write(json.dumps(what) + "\n")  # type: ignore[union-attr]  # it is there, as a pipe
    sys.__stdout__.flush()  # type: ignore[union-attr]


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), skips=sys.argv[3:] == ["skips"])
