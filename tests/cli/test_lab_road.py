"""The commands that show and steer the mail of a lab, against one that runs and one that is dead."""

from __future__ import annotations

import imaplib
import json
import os
import pty
import re
import signal
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
        address, port = self.port(SENDER, 587)
        with smtplib.SMTP(address, port, timeout=20) as client:
            client._host = f"mx.{SENDER}"  # type: ignore[attr-defined]
            client.starttls(context=ssl.create_default_context(cafile=self.file.ca_file))
            client.login("alice", "secret")
            text = f"Message-ID: <{number}@test>\r\nSubject: number {number}\r\n\r\nHello \x1b[31m\r\n"
            client.sendmail(f"alice@{SENDER}", recipients or (f"bob@{RECEIVER}",), text.encode())

    @property
    def environment(self) -> dict[str, str]:
        return {"MAILPROBE_LAB": str(self.directory / "lab.json")}

    def port(self, domain: str, port: int) -> tuple[str, int]:
        """Give where a port of a domain's host really is."""
        listing = mailprobe("mx", "--type", "A", "--format", "json", domain, env=self.environment)
        (answer,) = json.loads(listing.stdout)
        address, number = self.file.ports[f"{answer['records'][0]['data']}:{port}"].rsplit(":", 1)
        return address, int(number)

    @contextmanager
    def following(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `lab trace --follow` beside, and end it."""
        process = subprocess.Popen(
            [COMMAND, "lab", "trace", "--follow", *arguments],
            env=environment(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=20)

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


def test_following_ends_when_the_letter_is_stored_and_says_that_it_is_unread(lab: Running) -> None:
    lab.submit(31, f"dave@{RECEIVER}")
    done = lab("trace", "31@test", "--follow")
    assert "stored in the mailbox" in done
    assert "waits in the mailbox at receiver.lab.test for somebody to read it" in " ".join(done.split())
    first = json.loads(lab("trace", "31@test", "--follow", "--format", "json").splitlines()[0])
    assert first["what"] == "handed-over"


def test_following_until_the_letter_is_read_ends_then(lab: Running) -> None:
    lab.submit(32, f"dave@{RECEIVER}")
    with lab.following("32@test", "--until-read") as process:
        assert process.stderr is not None
        assert "waits in the mailbox" in process.stderr.readline()
        address, port = lab.port(RECEIVER, 993)
        context = ssl.create_default_context(cafile=lab.file.ca_file)
        context.check_hostname = False
        with imaplib.IMAP4_SSL(address, port, ssl_context=context, timeout=20) as reader:
            reader.login("dave", "secret")
            reader.select("INBOX")
            reader.fetch("1:*", "(BODY[])")
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "user agent reads it" in out


def test_following_what_nobody_knows_says_so_and_waits(lab: Running) -> None:
    with lab.following("nosuch\x1b") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "no site knows nosuch\\x1b yet; waiting, Ctrl-C ends\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130


def test_following_says_what_is_paused(lab: Running) -> None:
    lab("pause", "client")
    lab.submit(33, f"dave@{RECEIVER}")
    with lab.following("33@test") as process:
        assert process.stderr is not None
        assert "`mailprobe lab resume client` lets it go on" in process.stderr.readline()
        lab("resume", "client")
        out, _ = process.communicate(timeout=20)
    assert "stored in the mailbox" in out


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
    assert lab("aliases", "receiver", "set", "crew", "bob", "dave") == f"{RECEIVER}: crew goes to bob, dave\n"
    assert "crew        bob, dave" in lab("aliases", "receiver")
    lab.submit(5, f"crew@{RECEIVER}")
    assert "mailbox bob, mailbox dave" in " ".join(wait_for(lab, 5, "stored in the mailbox").split())
    text = lab("aliases", "receiver", "export")
    assert lab("aliases", "receiver", "remove", "crew") == f"{RECEIVER}: crew is no alias any more\n"
    assert "crew" not in lab("aliases", "receiver", "list")
    (tmp_path / "aliases").write_text(text)
    lab("aliases", "receiver", "import", str(tmp_path / "aliases"))
    assert "crew" in lab("aliases")
    lab("aliases", "receiver", "import", "-", given="team: carol\n")
    assert json.loads(lab("aliases", "receiver", "--format", "json")) == {RECEIVER: {"team": ["carol"]}}
    lab("aliases", "receiver", "import", str(tmp_path / "aliases"))


def test_an_alias_that_leads_nowhere_is_set_with_a_warning(lab: Running) -> None:
    def warned(name: str, *values: str) -> str:
        done = mailprobe("lab", "aliases", "receiver", "set", name, *values, env=lab.environment)
        assert (done.returncode, done.stdout) == (0, f"{RECEIVER}: {name} goes to {', '.join(values)}\n")
        return done.stderr

    assert warned("here", "bob", "dave+x", "somebody@elsewhere.test", f"carol@{RECEIVER}") == ""
    assert "here: 5.1.1 no user here is named ghost" in warned("here", "bob", "ghost")
    assert "5.1.1" in warned("round", "about")
    assert warned("about", "round") == "mailprobe: about: 5.4.6 alias loop: about -> round -> about\n"
    assert "5.1.1" in warned("@elsewhere.test", "ghost")
    for name in ("here", "round", "about", "@elsewhere.test"):
        lab("aliases", "receiver", "remove", name)


def test_the_clock_moves_and_a_site_restarts(lab: Running) -> None:
    before = lab("tick", "1s")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; nothing became due\n", before)
    after = lab("tick", "2h")
    assert after > before
    assert lab("restart", "receiver") == "receiver.lab.test: restarted\n"
    assert "everything works" in lab("flush")


def test_what_was_put_off_is_counted_when_it_is_tried_again(lab: Running) -> None:
    lab("pause", "server", "receiver")
    lab.submit(51, f"bob@{RECEIVER}", f"dave@{RECEIVER}")
    said = wait_for(lab, 51, "`mailprobe lab flush`")
    assert "the MTA server at receiver.lab.test is paused" in " ".join(said.split())
    assert "sender.lab.test: 1 letter to 2 recipients became due" in lab("tick", "6m")
    for _ in range(100):
        if {row["tries"] for row in json.loads(lab("queue", "sender", "--format", "json"))} == {2}:
            break
    done = mailprobe("lab", "resume", "server", "receiver", env=lab.environment)
    assert done.stderr == "1 letter is put off until later; `mailprobe lab flush` sends them now\n"
    assert lab("flush", "sender").startswith("sender.lab.test: 1 letter to 2 recipients tried again now\n")
    wait_for(lab, 51, "stored in the mailbox")
    assert lab("flush", "sender").startswith("nothing was put off")


def test_a_user_has_mailboxes_at_several_sites(lab: Running) -> None:
    other = "flow-good.lab.test"
    lab.submit(61, f"bob@{other}", f"bob@{RECEIVER}")
    wait_for(lab, 61, f"waits in the mailbox at {other}")
    shown = lab("mailbox", "bob")
    assert shown.startswith(f"{RECEIVER}\n")
    assert f"\n\n{other}\n" in shown
    assert {row["site"] for row in json.loads(lab("mailbox", "bob", "--format", "json"))} == {RECEIVER, other}
    assert f"bob has a letter 1 at {RECEIVER} and {other}; write bob@{RECEIVER} 1" in lab.fails("mailbox", "bob", "1")
    assert "Subject: number 61" in lab("mailbox", f"bob@{other}", "1")
    assert f"1 at {other}" in lab.fails("mailbox", "bob", "99")


def test_a_list_of_letters_is_whole_unless_it_is_for_a_terminal(lab: Running) -> None:
    sender, subject = (
        "Somebody with a long name indeed <somebody@sender.lab.test>",
        f"a subject {'that goes on ' * 9}end",
    )
    address, port = lab.port(RECEIVER, 25)
    with smtplib.SMTP(address, port, timeout=20) as client:
        client.sendmail(f"alice@{SENDER}", [f"dave@{RECEIVER}"], f"From: {sender}\r\nSubject: {subject}\r\n\r\n")
    for _ in range(100):
        whole = lab("mailbox", f"dave@{RECEIVER}")
        if subject in whole:
            break
    assert sender in whole
    master, slave = pty.openpty()
    with closing(os.fdopen(master, "rb", buffering=0)) as screen:
        subprocess.run(
            [COMMAND, "lab", "mailbox", f"dave@{RECEIVER}"], env=environment(lab.environment), stdout=slave, check=True
        )
        shown = screen.read(65_536).decode()
        os.close(slave)
    assert max(map(len, shown.splitlines())) <= 80
    assert "Somebody" in shown
    assert "@sender.lab.test>" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "engine"), "no part 'engine'; the parts are pickup, expander, client, server, mailbox, reader"),
        (("resume", "client", "nosuch"), "no site 'nosuch'"),
        (("restart", "nosuch"), "no site 'nosuch' with a post office; there are"),
        (("tick", "soon"), "'soon' is no duration; write for example 90s, 5m, 2h or 1d"),
        (("tick", "0s"), "is no duration"),
        (("tick", "-5m"), "'-5m': the clock goes forward only"),
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
    assert mailprobe("lab", "mailbox", "bob", *dead).stdout == f"{RECEIVER}\nthe mailbox is empty\n"
    assert first("mailbox", f"bob@{RECEIVER}") == "the mailbox is empty\n"
    for order in (("resume", "client"), ("tick", "1s"), ("flush",), ("restart", "receiver")):
        assert "the lab of MAILPROBE_LAB is not running: no lab runs in" in first.fails(*order)
        refused = mailprobe("lab", *order, *dead)
        assert (refused.returncode, refused.stderr.startswith("mailprobe: no lab runs in")) == (2, True)
    second = Running(tmp_path)
    try:
        second("resume", "client")
        wait_for(second, 1, "stored in the mailbox")
    finally:
        second.end()
    assert not (tmp_path / "lab.json").exists()
    assert f"has ended; `--directory {tmp_path}` reads the mail" in second.fails("queue")
    assert mailprobe("lab", "queue", *dead).stdout == "the queues are empty\n"
    gone = mailprobe("lab", "queue", env={"MAILPROBE_LAB": str(tmp_path / "none" / "lab.json")})
    assert "`--directory DIR` reads the mail in its directory, if it was started with one" in gone.stderr


def test_both_sites_are_as_healthy_as_the_good_one() -> None:
    for domain in (SENDER, RECEIVER):
        done = mailprobe("check", "--lab", domain)
        assert done.returncode == 0, done.stdout
        assert "passed" in done.stdout
