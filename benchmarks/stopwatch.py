"""Times and memory of commands, run in turns so that a busy moment of the machine falls on all alike."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import time
from collections.abc import Sequence

from benchmarks.commands import Command

_RUN_LIMIT_S = 120.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class CommandError(Exception):
    """A command that was to be measured failed; the text holds what it printed."""


class Times:
    """The milliseconds of several commands over the same rounds."""

    def __init__(self, rounds: dict[str, list[float]]) -> None:
        self._rounds = rounds

    @property
    def names(self) -> tuple[str, ...]:
        """The commands, in order."""
        return tuple(self._rounds)

    def median(self, name: str) -> float:
        """Give the median of a command, in milliseconds."""
        return statistics.median(self._rounds[name])

    def ratio(self, name: str, peer: str) -> float:
        """Give the median over the rounds of how many times as long *name* took as *peer* in the same round."""
        return statistics.median(
            ours / theirs for ours, theirs in zip(self._rounds[name], self._rounds[peer], strict=True)
        )


def interleaved(commands: Sequence[Command], rounds: int, good: Sequence[int] = (0,)) -> Times:
    """Run all commands in turns, *rounds* times, after one round that only warms the machine's caches.

    Raises:
        CommandError: a command ended with another status than the *good* ones.
    """
    times: dict[str, list[float]] = {command.name: [] for command in commands}
    for number in range(rounds + 1):
        for command in commands:
            spent = _milliseconds(command, good)
            if number:
                times[command.name].append(spent)
    return Times(times)


def _milliseconds(command: Command, good: Sequence[int]) -> float:
    started = time.perf_counter()
    done = _run(command)
    spent = (time.perf_counter() - started) * 1000
    if done.returncode not in good:
        words = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
        raise CommandError(f"{' '.join(command.argv)}: status {done.returncode}\n{words}")
    return spent


def _run(command: Command) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command.argv,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_RUN_LIMIT_S,
        check=False,
    )


def output(command: Command) -> bytes:
    """Give what a command writes to stdout, whatever its status."""
    return _run(command).stdout


def peak_mebibytes(command: Command, rounds: int) -> float:
    """Give the median of the most memory that a command held (resident set, from wait4(2)).

    A process that we start ourselves would be charged with our own memory, which the kernel counts until it
    becomes the new program. So a shell starts it and leaves it to us to wait for.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return statistics.median(_peak(command) for _ in range(rounds))


def _peak(command: Command) -> float:
    script = '"$@" >/dev/null 2>&1 </dev/null & echo $!'
    argv = ("sh", "-c", script, "sh", *command.argv)
    pid = int(subprocess.run(argv, env=command.environment, stdout=subprocess.PIPE, check=True).stdout)
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_maxrss / 1024
