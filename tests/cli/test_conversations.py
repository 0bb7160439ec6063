"""`mailprobe smtp`, `pop3` and `imap` against the lab, as a user runs them: what is told, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.installed import mailprobe

SECRET = {"MAILPROBE_PASSWORD": "secret"}
GOOD = "mx.good.lab.test"
COMMANDS = ("smtp", "pop3", "imap")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_login_shows_the_capabilities_of_every_stage(command: str) -> None:
    done = mailprobe(command, "--lab", GOOD, "--login", "alice", env=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert "capability" in done.stdout
    assert "before TLS  in TLS" in done.stdout
    assert "after login" in done.stdout
    assert "certificate  ok, 89 days left" in done.stdout
    assert "alice by PLAIN: " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_transcript_shows_no_password(command: str) -> None:
    done = mailprobe(command, "--lab", GOOD, "--login", "alice", "-v", env=SECRET)
    assert "[masked]" in done.stdout
    assert "secret" not in done.stdout
    assert "AGFsaWNlAHNlY3JldA==" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_document(command: str) -> None:
    done = mailprobe(command, "--lab", GOOD, "--format", "json")
    told = json.loads(done.stdout)
    assert told["conversation"]["host"] == GOOD
    assert told["conversation"]["before_tls"] is not None
    assert told["conversation"]["after_tls"] is not None
    assert told["conversation"]["after_login"] is None
    assert told["certificate"]["verdict"] == "ok"
    assert done.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("options", [("--security", "tls"), ("--security", "clear"), ("--security", "starttls")])
def test_tls_is_used_as_asked(command: str, options: tuple[str, str]) -> None:
    done = mailprobe(command, "--lab", GOOD, *options, "--format", "json")
    told = json.loads(done.stdout)["conversation"]
    assert (told["tls"] is None) == (options[1] == "clear")
    assert (told["before_tls"] is None) == (options[1] == "tls")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("stop", "last"),
    [
        ("connect", "connect"),
        ("greeting", "greeting"),
        ("capabilities", "capabilities"),
        ("starttls", "STARTTLS"),
        ("tls", "TLS handshake"),
    ],
)
@pytest.mark.parametrize("command", ["smtp", "pop3"])
def test_a_conversation_is_stopped_where_the_user_says(command: str, stop: str, last: str) -> None:
    done = mailprobe(command, "--lab", GOOD, "--quit-after", stop)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split("  ")[0] for line in done.stdout.split("\n\n")[1].splitlines()[2:]]
    assert [step for step in steps if step != "goodbye"][-1] == last


def test_imap_told_its_capabilities_with_the_greeting() -> None:
    done = mailprobe("imap", "--lab", GOOD, "--quit-after", "capabilities", "--format", "json")
    told = json.loads(done.stdout)
    assert told["stopped"] == "capabilities"
    assert [exchange["stage"] for exchange in told["conversation"]["exchanges"]] == ["greeting", "quit"]


# -- addresses -------------------------------------------------------------------------------------------------


def test_addresses_are_asked_about_and_nothing_is_sent() -> None:
    done = mailprobe("smtp", "--lab", GOOD, "--vrfy", "bob", "--rcpt", "bob@good.lab.test")
    assert (done.returncode, done.stderr) == (0, "")
    assert "VRFY bob" in done.stdout
    assert "MAIL FROM:<>" in done.stdout
    assert "RCPT TO:<bob@good.lab.test>  250" in done.stdout
    assert "DATA" not in done.stdout


def test_a_refused_recipient_is_told_by_the_exit_status() -> None:
    options = ("--mail-from", "a@b.test", "--rcpt", "bob@good.lab.test", "--rcpt", "x@elsewhere.test")
    done = mailprobe("smtp", "--lab", GOOD, *options)
    assert done.returncode == 1
    assert "RCPT TO:<bob@good.lab.test>  250" in done.stdout
    assert "RCPT TO:<x@elsewhere.test>   55" in done.stdout


# -- what goes wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("imap", "--lab", GOOD, "--login", "nobody"), 1, "the server refused while logging in"),
        (("imap", "--lab", GOOD, "--login", "alice", "--security", "clear"), 1, "the connection is not encrypted"),
        (
            ("pop3", "--lab", "certificate-expired.lab.test", "--login", "alice"),
            1,
            "the certificate is not trusted (certificate has expired)",
        ),
        (("pop3", "--lab", GOOD, "--login", "alice", "--fetch", "7"), 1, "there is no letter '7'"),
        (("imap", "--lab", GOOD, "--login", "alice", "--fetch", "7"), 1, "no letter with uid 7"),
        (("imap", "--lab", GOOD, "--login", "alice", "--folder", "None"), 1, "while listing"),
        (("smtp", "--lab", "no-such.lab.test"), 1, "the name does not exist"),
        (("smtp", "--lab", f"{GOOD}:4190"), 1, "connection refused while connecting"),
        (("smtp", "--lab", "greeting-421.lab.test"), 3, "the server asked to come back later"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(arguments: tuple[str, ...], status: int, words: str) -> None:
    done = mailprobe(*arguments, env=SECRET)
    assert words in done.stderr
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("imap", GOOD, "--list"), "give --login USER as well"),
        (("imap", GOOD, "--login", "a", "--save", "x"), "--save writes the letter that --fetch fetches"),
        (("imap", GOOD, "--login", "a", "--fetch", "x"), "--fetch"),
        (("imap", GOOD, "--login", "a", "--folder", "a\nb"), "is no name of a folder"),
        (("imap", GOOD, "--auth", "PLAIN"), "who logs in? Give --login USER"),
        (("imap", GOOD, "--login", "a", "--auth", "NTLM"), "known are SCRAM-SHA-256-PLUS"),
        (("imap", GOOD, "--login", "a\r\nb"), "is no user name"),
        (("imap", GOOD, "--login", "a", "--auth", "XOAUTH2"), "XOAUTH2 needs a token"),
        (("smtp", GOOD, "--vrfy", "a\r\nQUIT"), "control character"),
        (("smtp", GOOD, "--rcpt", "a b@c.test"), "space or an angle bracket"),
        (("smtp", GOOD, "--helo", "no name"), "--ehlo"),
        (("smtp", f"{GOOD}:0"), "is not a port"),
        (("smtp", "--lmtp", GOOD), "LMTP has no port of its own"),
        (("smtp", "alice@a.test"), "is an address of a person"),
    ],
)
def test_wrong_usage_is_told_before_anybody_is_asked(arguments: tuple[str, ...], words: str) -> None:
    done = mailprobe(*arguments, "--lab", env=SECRET)
    assert words in done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_password_that_is_nowhere_is_asked_of_nobody_without_a_terminal() -> None:
    done = mailprobe("pop3", GOOD, "--login", "alice")
    assert done.returncode == 2
    assert "put it into MAILPROBE_PASSWORD, or give --password-file" in done.stderr


def test_a_password_may_stand_in_a_file_or_come_by_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"secret\r\nsecond line\n")
    for given, name in (("", str(file)), ("secret\n", "-")):
        done = mailprobe("pop3", "--lab", GOOD, "--login", "alice", "--password-file", name, given=given)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("octets", "words"), [(b"", "its first line is empty"), (b"\xff\n", "it is not UTF-8 text")])
def test_a_file_without_a_password_is_told(tmp_path: Path, octets: bytes, words: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(octets)
    for name in (str(file), str(tmp_path / "none")):
        done = mailprobe("pop3", "--lab", GOOD, "--login", "alice", "--password-file", name)
        assert done.returncode == 2
        assert (words if name == str(file) else "No such file") in done.stderr


def test_a_unix_socket_where_nobody_listens_is_told(tmp_path: Path) -> None:
    done = mailprobe("smtp", "--lmtp", str(tmp_path / "none"))
    assert done.returncode == 3
    assert "No such file or directory" in done.stderr


@pytest.mark.parametrize("command", ["imap", "pop3", "smtp"])
def test_in_the_lab_everybodys_password_is_known(command: str) -> None:
    done = mailprobe(command, "--lab", "receiver.lab.test", "--login", "bob")
    assert (done.returncode, done.stderr) == (0, "")


def test_in_the_lab_a_password_that_is_given_counts() -> None:
    done = mailprobe("imap", "--lab", "receiver.lab.test", "--login", "bob", env={"MAILPROBE_PASSWORD": "wrong"})
    assert done.returncode == 1
