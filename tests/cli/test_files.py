"""Files that options name: bounded, regular, written whole, and one line about everything else."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailprobe.lab.world import Lab
from tests.installed import COMMAND, environment, mailprobe

SEND = ("send", "--from", "a@a.test", "--to", "b@b.test")
PRINT = (*SEND, "--print")
TRIP = ("trip", "a@a.test", "b@b.test", "--submit", "127.0.0.1:1", "--imap", "127.0.0.1:1")
PASSWORDS = {"MAILPROBE_FROM_PASSWORD": "x", "MAILPROBE_TO_PASSWORD": "x"}
OPTIONS: list[tuple[tuple[str, ...], str]] = [
    ((*PRINT, "--attach"), "--attach "),
    (("send", "--to", "b@b.test", "--print", "--data"), "--data "),
    ((*PRINT, "--text-file"), "--text-file "),
    ((*PRINT, "--html-file"), "--html-file "),
    ((*SEND, "--server", "127.0.0.1:1", "--login", "a", "--password-file"), "--password-file "),
    ((*SEND, "--server", "127.0.0.1:1", "--login", "a", "--token-file"), "--token-file "),
    ((*TRIP, "--state"), "state file "),
    ((*TRIP, "--from-password-file"), "--from-password-file "),
    (("judge",), ""),
    (("judge", os.devnull, "--baseline"), ""),
]


def small() -> None:
    """Leave a process a quarter of a gigabyte: what reads without end fails soon."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))


def run(*arguments: str, limits: Callable[[], None] = small) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(PASSWORDS),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        preexec_fn=limits,
    )


@pytest.mark.parametrize(("arguments", "begin"), OPTIONS, ids=lambda each: each[-1] if isinstance(each, tuple) else "")
def test_a_device_without_end_is_refused_in_one_line(arguments: tuple[str, ...], begin: str) -> None:
    done = run(*arguments, "/dev/zero")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"mailprobe: {begin}")
    assert done.stderr.count("\n") == 1
    assert "it is no regular file" in done.stderr


@pytest.mark.parametrize("arguments", [(*PRINT, "--attach"), (*TRIP, "--state")])
def test_a_pipe_is_no_attachment_and_no_state(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = run(*arguments, str(pipe))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "it is no regular file" in done.stderr


@pytest.mark.parametrize("option", ["--data", "--text-file", "--html-file"])
def test_the_output_of_a_command_is_a_letter_or_a_text(option: str) -> None:
    arguments = " ".join((COMMAND, *(PRINT if option != "--data" else ("send", "--to", "b@b.test", "--print")), option))
    script = f"{arguments} <(printf 'From: a@a.test\\n\\nfrom a pipe\\n')"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr.replace("mailprobe: ", "").count("Traceback")) == (0, 0), done.stderr
    assert "from a pipe" in done.stdout


def test_a_pipe_that_nobody_writes_into_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = run(*PRINT, "--text-file", str(pipe))
    assert (done.returncode, done.stderr) == (2, f"mailprobe: --text-file {pipe}: nobody writes into this pipe\n")


@pytest.mark.parametrize(
    ("option", "limit"), [("--text-file", "10 MB"), ("--html-file", "10 MB"), ("--data", "100 MB")]
)
def test_stdin_without_end_is_read_up_to_the_limit(option: str, limit: str) -> None:
    arguments = PRINT if option != "--data" else ("send", "--to", "b@b.test", "--print")
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            [COMMAND, *arguments, option, "-"],
            env=environment(),
            stdin=source.stdout,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        source.kill()
    assert done.returncode == 2
    assert done.stderr == f"mailprobe: {option} -: more than {limit}, which is the limit\n"


def test_stdin_that_is_closed_is_told() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} {' '.join(PRINT)} --text-file - <&-"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "mailprobe: --text-file -: stdin is closed\n")


def test_attachments_together_have_a_limit(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(60_000_000)
    done = mailprobe(*PRINT, "--attach", str(big), "--attach", str(big))
    assert done.returncode == 2
    assert done.stderr == f"mailprobe: --attach {big}: more than 100 MB of attachments, which is the limit\n"


# -- what is written -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A lab in which alice has a letter, and the environment to read it in."""
    path = tmp_path_factory.mktemp("lab") / "lab.json"
    with Lab() as running:
        running.lab_file().write(path)
        variables = {"MAILPROBE_LAB": str(path), "MAILPROBE_PASSWORD": "secret"}
        sent = mailprobe("send", "--mx", "--to", "alice@good.lab.test", "--text", "x" * 5_000, env=variables)
        assert sent.returncode == 0, sent.stderr
        yield environment(variables)


def fetch(lab: dict[str, str], *more: str, room: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"exec {COMMAND} pop3 mx.good.lab.test --login alice --fetch 1 --save {' '.join(more)}"],
        env=lab,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=lambda: no_room(room),
    )


def no_room(octets: int | None) -> None:
    if octets is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets))


def test_a_letter_that_is_saved_takes_the_place_of_a_file_whole(lab: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "letter"
    file.write_text("old")
    done = fetch(lab, str(file))
    assert done.returncode == 0, done.stderr
    assert b"Subject: mailprobe test" in file.read_bytes()
    assert list(tmp_path.iterdir()) == [file]


def test_a_letter_can_be_saved_to_stdout(lab: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = fetch(lab, "/dev/stdout", ">", str(out))
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.index("certificate") < text.index("Subject: mailprobe test")


def test_a_disk_without_room_leaves_the_file_as_it_was(lab: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    saved = fetch(lab, str(file), room=1_000)
    collected = run("collect", "127.0.0.1:1", "-o", str(file), limits=lambda: no_room(100))
    assert (saved.returncode, saved.stderr) == (2, f"mailprobe: --save {file}: File too large\n")
    assert (collected.returncode, collected.stderr) == (2, f"mailprobe: --output {file}: File too large\n")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
