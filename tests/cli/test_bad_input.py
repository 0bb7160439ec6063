"""Bad input: one clear line on stderr, the right exit status, nothing on stdout, never a traceback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.installed import COMMAND, environment, mailprobe


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mx", ""], "empty name"),
        (["mx", ".."], "empty label"),
        (["mx", "a..b"], "empty label"),
        (["mx", "a" * 300], "300 characters"),
        (["mx", "a" * 64 + ".test"], "more than 63"),
        (["mx", "with space.test"], "character that no name may have"),
        (["mx", "evil\x1b[2J.test"], "character that no name may have"),
        (["mx", "xn--\u00e4.test"], "internationalised"),
        (["mx", "a.test", "--type", "NOSUCH"], "no DNS record type"),
        (["mx", "a.test", "--resolver", "1.2.3"], "resolver '1.2.3'"),
        (["mx", "a.test", "--resolver", "ftp://x"], "scheme"),
        (["mx", "a.test", "--resolver", "127.0.0.1:99999"], "not a port"),
        (["mx", "a.test", "--timeout", "0"], "--timeout 0"),
        (["mx", "a.test", "--timeout", "nan"], "--timeout nan"),
        (["mx", "a.test", "-4", "-6"], "exclude each other"),
        (["mx", "a.test", "--source", "192.0.2.77"], "cannot use that address"),
        (["mx", "a.test", "--source", "here"], "no IP address"),
        (["ports", "a.test", "--ports", "0"], "not a port"),
        (["ports", "a.test", "--ports", "65536"], "not a port"),
        (["ports", "a.test", "--ports", ","], "names no port"),
        (["ports", "a.test", "--ports", "25:gopher"], "unknown service"),
        (["ports", "a.test:0"], "not a port"),
        (["ports", "[::1"], "no address in brackets"),
        (["ports", "a.test", "--ehlo", "not a name"], "no domain name"),
        (["ports", "a.test", "--ehlo", "192.0.2.1"], "goes in brackets"),
        (["ports", "a.test", "--ca-file", "/nonexistent.pem"], "no such file"),
        (["check", "a.test", "--only", "nosuch"], "no check and no topic"),
        (["check", "a.test", "--internal-net", "ten"], "no range"),
        (["judge", "/nonexistent.json"], "No such file"),
        (["explain", "nosuch-check"], "no check"),
        (["lab", "list", "zzz"], "no scenario"),
        (["lab", "up", "--offset", "65000"], "65536"),
        (["lab", "run", "--delay", "-1", "true"], "--delay"),
        (["lab", "run", "/nonexistent/program"], "No such file"),
        (["frobnicate"], "no command"),
        (["check"], "Missing argument"),
        (["check", "https://a.test/"], "give just the name"),
        (["check", "someone@a.test"], "give just the domain"),
        (["check", "a.test:"], "ends with a colon"),
        (["check", "a.test", "--only", "mx", "--skip", "mx"], "no check to run"),
        (["check", "a.test", "--only", ""], "names no check"),
        (["mx", "192.0.2.1"], "is an address"),
        (["ports", "a.test:465", "--ports", "25"], "does not list"),
        (["ports", "a.test", "--ports", "25:smtp,25:imap"], "two services"),
        (["ports", "a.test", "--ports", "25-30"], "one by one"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_told_in_words(arguments: list[str], said: str) -> None:
    done = mailprobe(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert said in done.stderr
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert done.stderr.startswith("mailprobe: ")
    assert len(done.stderr.splitlines()) == 1


def test_international_names_follow_idna_2008() -> None:
    done = mailprobe("mx", "--lab", "--format", "json", "straße.de")
    assert json.loads(done.stdout)[0]["domain"] == "xn--strae-oqa.de"


@pytest.mark.parametrize("command", ["mx", "ports", "check"])
def test_unknown_domain_is_a_finding_not_a_usage_error(command: str) -> None:
    done = mailprobe(command, "--lab", "nosuch.lab.test")
    assert done.returncode == 1
    assert "NXDOMAIN" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["mx", "ports", "check"])
def test_unreachable_resolver_leaves_it_undecided(command: str) -> None:
    done = mailprobe(command, "--resolver", "127.0.0.1:1", "--timeout", "3", "a.test")
    assert done.returncode == 3
    assert "refused" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no evidence"),
        ("{", "no evidence"),
        ("[]", "no evidence"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1}', "missing required field"),
        ("\x00\x01\x02", "no evidence"),
    ],
)
def test_broken_evidence_is_told_apart(text: str, said: str) -> None:
    done = mailprobe("judge", "-", given=text)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_field_in_evidence_names_its_path(tmp_path: Path) -> None:
    evidence = json.loads(mailprobe("collect", "--lab", "mx-null.lab.test").stdout)
    evidence["targets"][0]["surprise"] = 1
    done = mailprobe("judge", "-", given=json.dumps(evidence))
    assert done.returncode == 2
    assert "surprise" in done.stderr
    assert "$.targets[0]" in done.stderr


def test_unwritable_output_loses_nothing_silently(tmp_path: Path) -> None:
    done = mailprobe("collect", "--lab", "mx-null.lab.test", "-o", str(tmp_path / "no" / "such" / "folder.json"))
    assert done.returncode == 2
    assert "--output" in done.stderr


def test_lab_file_of_a_lab_that_is_gone_is_told(tmp_path: Path) -> None:
    done = mailprobe("mx", "good.lab.test", env={"MAILPROBE_LAB": str(tmp_path / "gone.json")})
    assert done.returncode == 2
    assert "is the lab running?" in done.stderr


def test_unreadable_baseline_is_told(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text("[]")
    done = mailprobe("check", "--lab", "mx-null.lab.test", "--baseline", str(tmp_path / "base.json"))
    assert done.returncode == 2
    assert "--baseline" in done.stderr


def test_closed_stdout_ends_in_one_line() -> None:
    with subprocess.Popen(
        [COMMAND, "lab", "list"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 141
    assert told == "mailprobe: stdout could not be written to the end: Broken pipe\n"


def test_full_disk_ends_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "lab", "list"], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 141
    assert done.stderr == "mailprobe: stdout could not be written to the end: No space left on device\n"


def test_stdout_that_was_never_open_is_told() -> None:
    script = f'exec "{COMMAND}" lab list >&-'
    done = subprocess.run(["/bin/sh", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 141
    assert done.stderr == "mailprobe: stdout is closed: there is nowhere to write to\n"


def test_lab_up_overwrites_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "lab.json"
    precious.write_text("mine")
    done = mailprobe("lab", "up", "--file", str(precious))
    assert done.returncode == 2
    assert "it exists" in done.stderr
    assert precious.read_text() == "mine"


def test_lab_up_ends_on_interrupt_and_removes_its_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.json"
    with subprocess.Popen(
        [COMMAND, "lab", "up", "--offset", "21000", "--file", str(file)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()  # comes when everything listens
        assert "MAILPROBE_LAB" in first
        asked = mailprobe("mx", "pens.ac.id", env={"MAILPROBE_LAB": str(file)})
        assert asked.returncode == 0
        assert "pmg2.pens.ac.id" in asked.stdout
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert "the lab has ended" in told
    assert not file.exists()


def test_interrupted_check_exits_with_130() -> None:
    # Nothing ever comes from this port, so the check waits until it is interrupted.
    listener = socket.create_server(("127.0.0.1", 0))
    with (
        listener,
        subprocess.Popen(
            [COMMAND, "check", f"127.0.0.1:{listener.getsockname()[1]}"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        connection, _ = listener.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert told.strip() == "mailprobe: interrupted"
