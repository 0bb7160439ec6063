"""Runs that a signal ends: nothing is left behind, whoever sends it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.installed import COMMAND, environment

MANY = ("send", "--lab", "--count", "100000", "--rate", "50")
SLOW = ("trip", "--lab", "alice@sender.lab.test", "bob@flow-slow-queue.lab.test")
PROVE = ("protocols", "--prove", "--lab")
ENDINGS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose temporary files go into a folder of its own."""
    with subprocess.Popen(
        [COMMAND, *arguments],
        env=environment({"TMPDIR": str(folder)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(folder: Path, pattern: str) -> None:
    """Wait until there is such a file: the command is in the middle of its work."""
    deadline = time.monotonic() + 20
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.005)


@pytest.mark.parametrize("moment", ["mailprobe-*", "*/mailprobe-*", "*/mp-*/*/queue.db"])
@pytest.mark.parametrize("arguments", [MANY, SLOW, PROVE], ids=["send", "trip", "protocols"])
@pytest.mark.parametrize(("number", "status"), ENDINGS)
def test_a_lab_is_cleared_away_when_a_signal_ends_the_run(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals, status: int, moment: str
) -> None:
    if number == signal.SIGINT and moment == "mailprobe-*":
        pytest.skip("Ctrl-C that soon may be met by what is only being made")
    with running(tmp_path, *arguments) as process:
        wait_for(tmp_path, moment)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    name = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert (process.returncode, told.split("\n")[-2]) == (status, f"mailprobe: {name}")
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_a_run_that_ignores_sigint(tmp_path: Path) -> None:
    # As a shell starts what runs in the background of a script.
    script = f"trap '' INT; exec {COMMAND} {' '.join(MANY)}"
    with subprocess.Popen(["sh", "-c", script], env=environment({"TMPDIR": str(tmp_path)})) as process:
        wait_for(tmp_path, "mailprobe-*")
        process.terminate()
        assert process.wait(20) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_lab_run_passes_a_signal_on_and_waits_for_the_command(tmp_path: Path, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    mark = tmp_path / "mark"
    mark.mkdir()
    script = f"trap 'echo told; exit 7' {name}; : > {mark}/there; while :; do sleep 0.05; done"
    with running(tmp_path, "lab", "run", "--", "sh", "-c", script) as process:
        wait_for(mark, "there")
        process.send_signal(number)
        out, told = process.communicate(timeout=20)
    assert (process.returncode, out) == (7, "told\n"), told
    assert list(tmp_path.iterdir()) == [mark]


def test_lab_run_ends_with_its_command_when_that_dies_of_the_signal(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with running(
        tmp_path, "lab", "run", "--", "sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60"
    ) as process:
        wait_for(tmp_path, "pid")
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert list(tmp_path.iterdir()) == [pid]


def test_lab_run_before_its_command_ends_in_good_order(tmp_path: Path) -> None:
    with running(tmp_path, "lab", "run", "--", "sleep", "60") as process:
        wait_for(tmp_path, "mailprobe-*")
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []
