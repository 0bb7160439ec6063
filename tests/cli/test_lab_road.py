"""The commands that show and steer the mail of a lab, against one that runs and one that is dead."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailprobe.model.labfile import read_lab_file
from tests.installed import COMMAND, environment, mailprobe

SENDER, RECEIVER = "sender.lab.test", "receiver.lab.test"
OFFSETS = iter(range(24_000, 32_000, 100))


class Running:
    """`lab up` in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [COMMAND, "lab", "up", "--offset", str(next(OFFSETS) + os.getpid() % 97), "--directory", str(directory)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        told = self.process.stderr.readline()
        assert told.startswith("export MAILPROBE_LAB="), told + self.process.stderr.read()
        self.file = read_lab_file(directory / "lab.json")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.communicate(timeout=20)

    def submit(self, number: int, *recipients: str) -> None:
        address, port = self._submission().rsplit(":", 1)
        with smtplib.SMTP(address, int(port), timeout=20) as client:
            client._host = f"mx.{SENDER}"  # type: ignore[attr-defined]
            client.starttls(context=ssl.create_default_context(cafile=self.file.ca_file))
            client.login("alice", "secret")
            text = f"Message-ID: <{number}@test>\r\nSubject: number {number}\r\n\r\nHello \x1b[31m\r\n"
            client.sendmail(f"alice@{SENDER}", recipients or (f"bob@{RECEIVER}",), text.encode())

    def _submission(self) -> str:
        listing = mailprobe("mx", "--type", "A", "--format", "json", SENDER, env=self.environment)
        (answer,) = json.loads(listing.stdout)
        return self.file.ports[f"{answer['records'][0]['data']}:587"]

    @property
    def environment(self) -> dict[str, str]:
        return {"MAILPROBE_LAB": str(self.directory / "lab.json")}

    def __call__(self, *arguments: str, given: str = "") -> str:
        done = mailprobe("lab", *arguments, env=self.environment, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str) -> str:
        done = mailprobe("lab", *arguments, env=self.environment)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("lab"))
    yield running
    running.end()


def wait_for(lab: Running, number: int, words: str) -> str:
    """Give the trace of a letter once it has the words in it."""
    for _ in range(100):
        done = mailprobe("lab", "trace", f"{number}@test", env=lab.environment)
        if words in done.stdout:
            return done.stdout
    raise AssertionError(done.stdout + done.stderr)


def test_a_letter_is_seen_waiting_and_then_on_its_way(lab: Running) -> None:
    assert lab("pause", "pickup", "sender") == "sender.lab.test: paused: the pickup\n"
    lab.submit(1)
    waiting = lab("trace", "<1@test>")
    assert "1  " in waiting
    assert "waits in the spool at sender.lab.test: the pickup" in " ".join(waiting.split())
    assert "not reached: 3 alias expander" in waiting
    assert "spool" in lab("queue", SENDER)
    assert lab("resume", "pickup", "sender") == "sender.lab.test: everything works\n"
    done = wait_for(lab, 1, "stored in the mailbox")
    assert "250 2.0.0 queued as" in " ".join(done.split())
    assert "TLSv1.3" in done
    assert max(map(len, done.split("\n"))) <= 80
    assert lab("queue") == "the queues are empty\n"


def test_the_trace_is_also_a_document(lab: Running) -> None:
    lab.submit(2)
    wait_for(lab, 2, "stored in the mailbox")
    found = json.loads(lab("trace", "2@test", "--format", "json"))
    assert [event["step"] for event in found["events"]][:4] == [1, 2, 3, 4]
    by_id = json.loads(lab("trace", found["events"][0]["queue_id"], "--format", "json"))
    assert by_id == found


def test_following_ends_when_the_letter_is_given_up(lab: Running) -> None:
    lab.submit(3, f"ghost@{RECEIVER}")
    done = lab("trace", "3@test", "--follow")
    assert "returned to the sender" in done


def test_mailboxes_are_listed_and_letters_shown_without_harm(lab: Running) -> None:
    lab.submit(4, f"carol@{RECEIVER}")
    wait_for(lab, 4, "stored in the mailbox")
    assert "number 4" in lab("mailbox", "carol")
    (row,) = json.loads(lab("mailbox", f"carol@{RECEIVER}", "--format", "json"))
    assert (row["folder"], row["subject"]) == ("INBOX", "number 4")
    text = lab("mailbox", "carol@receiver", "1")
    assert text.startswith("Return-Path: <alice@sender.lab.test>\nDelivered-To: carol@receiver.lab.test\n")
    assert "Hello \\x1b[31m" in text


def test_aliases_are_changed_while_the_lab_runs(lab: Running, tmp_path: Path) -> None:
    lab("aliases", "receiver", "set", "crew", "bob", "dave")
    assert "crew        bob, dave" in lab("aliases", "receiver")
    lab.submit(5, f"crew@{RECEIVER}")
    assert "mailbox bob, mailbox dave" in " ".join(wait_for(lab, 5, "stored in the mailbox").split())
    text = lab("aliases", "receiver", "export")
    lab("aliases", "receiver", "remove", "crew")
    assert "crew" not in lab("aliases", "receiver", "list")
    (tmp_path / "aliases").write_text(text)
    lab("aliases", "receiver", "import", str(tmp_path / "aliases"))
    assert "crew" in lab("aliases")
    lab("aliases", "receiver", "import", "-", given="team: carol\n")
    assert json.loads(lab("aliases", "receiver", "--format", "json")) == {RECEIVER: {"team": ["carol"]}}
    lab("aliases", "receiver", "import", str(tmp_path / "aliases"))


def test_the_clock_moves_and_a_site_restarts(lab: Running) -> None:
    before = lab("tick", "1s")
    after = lab("tick", "2h")
    assert after > before
    assert lab("restart", "receiver") == "receiver.lab.test: restarted\n"
    assert "everything works" in lab("flush")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "engine"), "no part 'engine'; the parts are pickup, expander, client, server, mailbox, reader"),
        (("resume", "client", "nosuch"), "no site 'nosuch'"),
        (("restart", "nosuch"), "no site 'nosuch' with a post office; there are"),
        (("tick", "soon"), "'soon' is no duration; write for example 90s, 5m, 2h or 1d"),
        (("tick", "0s"), "is no duration"),
        (("tick", "99999d"), "from 1 s to a year"),
        (("queue", "nosuch"), "no site 'nosuch'"),
        (("trace", "nosuch"), "no site knows a letter 'nosuch'"),
        (("mailbox", "nobody"), "no site has a mailbox of 'nobody'"),
        (("mailbox", "../../etc"), "no site has a mailbox"),
        (("mailbox", f"nobody@{RECEIVER}"), "nobody"),
        (("mailbox", "dave", "99"), "has no letter 99"),
        (("aliases", "receiver", "explode"), "no action 'explode'"),
        (("aliases", "set", "a", "b"), "which site?"),
        (("aliases", "receiver", "set", "a"), "takes NAME and at least one VALUE"),
        (("aliases", "receiver", "set", "a", "|rm"), "|rm"),
        (("aliases", "receiver", "remove", "nosuch"), "has no alias 'nosuch'"),
        (("aliases", "receiver", "import", "/nonexistent"), "No such file"),
        (("up", "--directory", "/dev/null/x"), "/dev/null/x"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(lab: Running, arguments: tuple[str, ...], words: str) -> None:
    assert words in lab.fails(*arguments)


def test_commands_want_to_know_which_lab(tmp_path: Path) -> None:
    for command in (("queue",), ("trace", "x"), ("tick", "1s"), ("aliases",), ("mailbox", "bob"), ("pause", "client")):
        done = mailprobe("lab", *command)
        assert done.returncode == 2
        assert "which lab? give --directory DIR, or set MAILPROBE_LAB" in done.stderr
        done = mailprobe("lab", *command, "--directory", str(tmp_path / "none"))
        assert (done.returncode, "there is no such directory" in done.stderr) == (2, True)


def test_two_labs_do_not_share_a_directory(lab: Running) -> None:
    assert "another lab runs in" in lab.fails("up", "--offset", "23900", "--directory", str(lab.directory))


def test_a_lab_that_was_killed_can_be_read_and_goes_on(tmp_path: Path) -> None:
    first = Running(tmp_path)
    first("pause", "client")
    first.submit(1)
    wait_for(first, 1, "alias expander")
    first.end(signal.SIGKILL)
    dead = ("--directory", str(tmp_path))
    assert "the MTA client is paused" in " ".join(mailprobe("lab", "trace", "1@test", *dead).stdout.split())
    assert "bob@receiver.lab.test" in mailprobe("lab", "queue", *dead).stdout
    assert "team" in mailprobe("lab", "aliases", *dead).stdout
    assert mailprobe("lab", "mailbox", "bob", *dead).stdout == "the mailbox is empty\n"
    refused = mailprobe("lab", "resume", "client", *dead)
    assert (refused.returncode, "no lab runs in" in refused.stderr) == (2, True)
    second = Running(tmp_path)
    try:
        second("resume", "client")
        wait_for(second, 1, "stored in the mailbox")
    finally:
        second.end()
    assert not (tmp_path / "lab.json").exists()


def test_both_sites_are_as_healthy_as_the_good_one() -> None:
    for domain in (SENDER, RECEIVER):
        done = mailprobe("check", "--lab", domain)
        assert done.returncode == 0, done.stdout
        assert "passed" in done.stdout
