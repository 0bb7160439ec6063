"""A lab in a process of its own, which may die at any time, and the one that goes on where it died."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mailprobe.lab.post.control import Order
from mailprobe.lab.world import Lab
from tests.lab.post.killed_lab import SITES
from tests.lab.post.sites import TIMEOUT_S

ROOT = Path(__file__).parents[3]


class Mortal:
    """A lab in a process of its own, started by the command *under* if that is given."""

    def __init__(self, directory: Path, point: int = 0, *, skips: bool = True, under: Sequence[str] = ()) -> None:
        program = (sys.executable, "-m", "tests.lab.post.killed_lab", str(directory), str(point))
        self._process = subprocess.Popen(
            [*under, *program, *(["skips"] if skips else [])],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        hello = json.loads(self._line() or "{}")
        self.ca, self.ports = hello.get("ca"), hello.get("ports", {})

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self, order: str) -> Any:
        """Give the answer to an order, None when the lab died over it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        line = self._line()
        return json.loads(line) if line else None

    def end(self) -> str:
        """Let it end if it lives; give what it was about to do when it died, empty when nothing killed it."""
        status, said = self.finish()
        assert status in (0, -9), said
        assert len(said) == (status != 0), said
        return "".join(said).removeprefix("killed before ")

    def finish(self) -> tuple[int, list[str]]:
        """Let it end; give its exit status and what it complained of."""
        _, said = self._process.communicate(timeout=TIMEOUT_S)
        return self._process.returncode, said.splitlines()

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)


@contextmanager
def mortal(directory: Path, point: int = 0) -> Iterator[Mortal]:
    made = Mortal(directory, point)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def recovered(directory: Path) -> Iterator[Lab]:
    """Start a lab there that nobody kills, and let it finish; the clock does not make anybody wait."""
    complaints: list[str] = []
    with Lab(directory=directory, sites=SITES, complain=complaints.append) as lab:
        lab.skips_waiting = True
        lab.order(Order("look"))
        lab.rest(TIMEOUT_S)
        yield lab
    assert complaints == []
