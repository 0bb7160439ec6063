"""Trips through a real Postfix into a real Dovecot."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.installed import COMMAND, environment, mailprobe
from tests.peers.mailhost import PASSWORD, MailHost, MailHostFactory
from tests.peers.servers.dovecot import FULL, GHOST

LIMIT_S = 25.0


@pytest.fixture(scope="module")
def host(mail_host: MailHostFactory) -> MailHost:
    return mail_host()


class Traveller(msgspec.Struct, frozen=True):
    """Runs `mailprobe trip` where the usual names and ports lead to the host; bounces are looked for there, too."""

    host: MailHost
    lab_file: Path

    @property
    def env(self) -> dict[str, str]:
        return {"MAILPROBE_LAB": str(self.lab_file)}

    def words(self, sender: str, recipient: str, *options: str) -> tuple[str, ...]:
        domain, name = self.host.domain, self.host.name
        pair = (f"{sender}@{domain}", f"{recipient}@{domain}")
        reading = () if "--pop3" in options or "--imap" in options else ("--imap", name)
        sending = () if "--mx" in options or "--submit" in options else ("--submit", name)
        return ("trip", *pair, *sending, *reading, "--wait", "20s", *options)

    def run(
        self, sender: str, recipient: str, *options: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return mailprobe(*self.words(sender, recipient, *options), env={**self.env, **(env or {})})

    def trip(
        self, sender: str, recipient: str, *options: str, status: int = 0, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a trip, see that it ends with that status, and give what it says, *failed* naming the checks."""
        done = self.run(sender, recipient, *options, "--format", "json", env=env)
        assert done.returncode == status, done.stdout + done.stderr
        document = json.loads(done.stdout)
        (shown,) = document["trips"]
        found = {each["check"]: each["verdict"] for each in document["findings"]}
        return {**shown, "failed": [check for check, verdict in found.items() if verdict == "fail"], "found": found}


@pytest.fixture
def traveller(host: MailHost, resolver: str, tmp_path: Path) -> Traveller:
    file = tmp_path / "host.json"
    host.lab_file(resolver).write(file)
    return Traveller(host, file)


def deliver(host: MailHost, user: str, letter: bytes) -> None:
    """Have another client's letter delivered, and wait until it is."""
    before = len(host.letters(user))
    with smtplib.SMTP(*host.endpoint(25)) as client:
        client.sendmail("other@b.test", [f"{user}@{host.domain}"], letter)
    until(lambda: len(host.letters(user)) > before)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- it arrives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        (),
        ("--submit", "mail.example.test:465"),
        ("--mx",),
        ("--imap", "mail.example.test:143"),
        ("--pop3", "mail.example.test"),
        ("--pop3", "mail.example.test:110"),
    ],
    ids=["submission", "submissions", "mx", "imap-starttls", "pop3s", "pop3-starttls"],
)
def test_a_letter_arrives_and_is_deleted_again_and_nothing_else_is(traveller: Traveller, way: tuple[str, ...]) -> None:
    user = "arrives" + re.sub(r"\W", "", "".join(way))
    deliver(
        traveller.host, user, b"Subject: mailprobe trip\r\nX-Mailprobe-Token: mp-0123456789abcdef01234567\r\n\r\na\r\n"
    )
    shown = traveller.trip("anna", user, *way)
    assert (shown["state"], shown["failed"]) == ("arrived", [])
    (copy,) = shown["copies"]
    assert (copy["unchanged"], copy["removed"], copy["folder"]) == (True, True, "INBOX")
    first = "ESMTPS" if "--mx" in way else "ESMTPSA"
    assert [hop["protocol"] for hop in copy["hops"]] == [first, "LMTP"]
    assert shown["delay_s"] < 15
    assert len(traveller.host.letters(user)) == 1


def test_it_is_left_where_it_is_when_that_is_wanted(traveller: Traveller) -> None:
    shown = traveller.trip("anna", "keeps", "--keep")
    (letter,) = traveller.host.letters("keeps")
    assert shown["token"].encode() in letter
    assert shown["copies"][0]["removed"] is False


@contextmanager
def queue_manager_stopped(host: MailHost) -> Iterator[Callable[[], None]]:
    """Keep Postfix from delivering, until the function given is called or the block is left."""
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in host.postfix.members()}
    (manager,) = (pid for pid, name in names.items() if name == "qmgr")

    def go_on() -> None:
        os.kill(manager, signal.SIGCONT)

    os.kill(manager, signal.SIGSTOP)
    try:
        yield go_on
    finally:
        go_on()


def is_idle(host: MailHost, user: str) -> bool:
    """See, by the titles that Dovecot gives its processes, whether a user's session waits in IDLE."""
    (dovecot, *_) = host.processes
    wanted = f"[{user} 127.0.0.1 IDLE]".encode()
    found = False
    for pid in dovecot.members():
        try:
            found = found or wanted in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_a_letter_that_comes_late_is_told_of_by_idle(traveller: Traveller) -> None:
    with queue_manager_stopped(traveller.host) as go_on:
        command = [COMMAND, *traveller.words("anna", "idler", "--format", "json")]
        with subprocess.Popen(command, env=environment(traveller.env), stdout=subprocess.PIPE) as running:
            until(lambda: is_idle(traveller.host, "idler"))
            go_on()
            output, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, output
    (shown,) = json.loads(output)["trips"]
    (copy,) = shown["copies"]
    assert copy["watched"] is True
    said = [exchange["sent"].split(" ")[-1] for exchange in shown["look"]["conversation"]["exchanges"]]
    assert "IDLE" in said
    assert "DONE" in said
    assert shown["delay_s"] < 8  # the next look without IDLE would have been after ten seconds


def test_what_is_delivered_to_junk_is_found_there_and_warned_of(traveller: Traveller) -> None:
    to = ("junked+Junk", "--to-user", "junked")
    shown = traveller.trip("anna", *to)
    assert (shown["state"], shown["failed"]) == ("arrived", ["trip-inbox"])
    (copy,) = shown["copies"]
    assert (copy["folder"], copy["junk"], copy["removed"]) == ("Junk", True, True)
    traveller.trip("anna", *to, "--fail-on", "warning", status=1)
    assert traveller.host.letters("junked", "Junk") == []


def test_of_an_alias_one_copy_is_ours(traveller: Traveller) -> None:
    shown = traveller.trip("anna", "team", "--to-user", "first")
    assert (shown["state"], shown["failed"]) == ("arrived", [])
    token = shown["token"].encode()
    until(lambda: any(token in letter for letter in traveller.host.letters("second")))
    assert not any(token in letter for letter in traveller.host.letters("first"))


# -- it does not ------------------------------------------------------------------------------------------------


def test_what_postfix_throws_away_is_lost(traveller: Traveller) -> None:
    shown = traveller.trip("anna", "blackhole", "--wait", "2s", status=1)
    assert (shown["state"], shown["failed"]) == ("lost", ["trip-arrives"])
    assert shown["waited_s"] < 10


@pytest.mark.parametrize(("user", "status"), [(GHOST, "5.1.1"), (FULL, "5.2.2")])
def test_the_bounce_of_postfix_is_found_told_and_deleted(traveller: Traveller, user: str, status: str) -> None:
    sender = f"sent-to-{user}"
    deliver(traveller.host, sender, b"From: MAILER-DAEMON@b.test\r\nSubject: an older bounce\r\n\r\nof somebody\r\n")
    shown = traveller.trip(sender, user, "--to-user", "reader", status=1)
    assert (shown["state"], shown["failed"]) == ("returned", ["trip-arrives"])
    (bounce,) = shown["bounces"]
    assert (bounce["action"], bounce["status"], bounce["removed"]) == ("failed", status, True)
    assert bounce["recipient"] == f"{user}@{traveller.host.domain}"
    (left,) = traveller.host.letters(sender)
    assert b"an older bounce" in left


def test_a_bounce_is_found_by_pop3(traveller: Traveller) -> None:
    name = traveller.host.name
    way = ("--imap", name, "--from-pop3", name, "--to-user", "reader")
    shown = traveller.trip("sent-by-pop3", GHOST, *way, status=1)
    assert shown["state"] == "returned"
    assert shown["bounces"][0]["removed"] is True
    assert traveller.host.letters("sent-by-pop3") == []


def test_who_is_refused_at_once_needs_no_waiting(traveller: Traveller) -> None:
    shown = traveller.trip("anna", "nobody", "--to-user", "reader", status=1)
    assert (shown["state"], shown["failed"]) == ("refused", ["trip-accepted"])
    assert shown["look"] is None


def test_a_mailbox_that_cannot_be_read_leaves_it_open_whether_it_arrived(traveller: Traveller) -> None:
    wrong = {"MAILPROBE_FROM_PASSWORD": PASSWORD, "MAILPROBE_TO_PASSWORD": "wrong"}
    shown = traveller.trip("anna", "locked", "--wait", "1s", status=3, env=wrong)
    assert (shown["state"], shown["failed"]) == ("unknown", [])
    assert shown["found"]["trip-arrives"] == "unknown"
    assert shown["look"]["trouble"]["stage"] == "login"


# -- by turns ---------------------------------------------------------------------------------------------------


def test_three_runs_take_turns(traveller: Traveller, tmp_path: Path) -> None:
    state = tmp_path / "state.json"

    def run() -> list[dict[str, Any]]:
        done = traveller.run("anna", "turns", "--state", str(state), "--format", "jsonl")
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_for(count: int) -> None:
        until(lambda: len(traveller.host.letters("turns")) == count)

    earlier: list[dict[str, Any]] = []
    for _ in range(3):
        wait_for(len(earlier))
        *found, sent = run()
        assert [each["state"] for each in found] == ["arrived"] * len(earlier)
        assert [each["token"] for each in found] == [each["token"] for each in earlier]
        assert sent["state"] == "pending"
        earlier = [sent]
    assert [each["token"] for each in json.loads(state.read_bytes())["letters"]] == [earlier[0]["token"]]


def test_what_earlier_runs_lost_is_told(traveller: Traveller, tmp_path: Path) -> None:
    way = ("--state", str(tmp_path / "state.json"), "--lost-after", "1s", "--format", "jsonl")
    done = traveller.run("anna", "blackhole", *way)
    assert done.returncode == 0, done.stdout
    token = json.loads(done.stdout)["token"]
    states: list[str] = []

    def is_lost() -> bool:
        done = traveller.run("anna", "blackhole", *way)
        found = {each["token"]: each["state"] for each in map(json.loads, done.stdout.splitlines())}
        states.append(found[token])
        assert done.returncode == (1 if "lost" in found.values() else 0)
        return states[-1] == "lost"

    until(is_lost)
    assert set(states) <= {"pending", "lost"}


# -- told to a monitor ------------------------------------------------------------------------------------------

_PERFORMANCE = re.compile(r"([^\s='|]+)=(-?[\d.]+|U)([a-zA-Z%]*)(?:;(-?[\d.:~@]*)){0,4}")
_SAMPLE = re.compile(r'([a-z_:]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[\d.e+]+|NaN)')


@pytest.mark.parametrize(
    ("to", "word", "status"),
    [
        (("told",), "OK", 0),
        (("told+Junk", "--to-user", "told"), "WARNING", 1),
        ((GHOST, "--to-user", "told"), "CRITICAL", 2),
        (("nobody", "--to-user", "told"), "CRITICAL", 2),
        (("told", "--to-user", GHOST, "--wait", "1s"), "UNKNOWN", 3),
    ],
)
def test_a_plugin_line_is_what_a_monitor_reads(
    traveller: Traveller, to: tuple[str, ...], word: str, status: int
) -> None:
    done = traveller.run("teller", *to, "--format", "nagios")
    assert done.returncode == status, done.stdout
    head, bar, performance = done.stdout.splitlines()[0].partition(" | ")
    assert head.startswith(f"MAILPROBE {word} - ")
    assert len(head) < 80
    assert bar
    items = performance.split(" ")
    assert all(_PERFORMANCE.fullmatch(item) for item in items), items
    names = [item.partition("=")[0] for item in items]
    assert len(set(names)) == len(names)
    assert {"delay", "hops"} < set(names)
    assert "|" not in done.stdout.replace(bar, "", 1)


@pytest.mark.parametrize("to", [("metered",), (GHOST, "--to-user", "metered")])
def test_metrics_are_what_prometheus_reads(traveller: Traveller, to: tuple[str, ...]) -> None:
    done = traveller.run("meter", *to, "--format", "prometheus")
    assert done.returncode == (1 if GHOST in to else 0), done.stdout
    kinds: list[str] = []
    samples: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if line.startswith("# TYPE "):
            kinds.append(line.split(" ")[2])
        elif not line.startswith("# HELP "):
            read = _SAMPLE.fullmatch(line)
            assert read is not None, line
            assert read[1] == kinds[-1], "samples stand below their TYPE"
            assert read[1] + (read[2] or "") not in samples
            samples[read[1] + (read[2] or "")] = float(read[3])
    assert len(kinds) == len(set(kinds))
    way = f'from="meter@example.test",to="{to[0]}@example.test"'
    state = "returned" if GHOST in to else "arrived"
    assert samples[f'mailprobe_trip_letters{{{way},state="{state}"}}'] == 1
    assert (f"mailprobe_trip_delay_seconds{{{way}}}" in samples) is (state == "arrived")
