"""Options are named and read in one way by every command; the names they had before still work."""

from __future__ import annotations

import json

import pytest

from tests.installed import mailprobe

LETTER = ("send", "--from", "a@a.test", "--to", "b@b.test")
WAYS = ("--submit", "127.0.0.1:1", "--imap", "127.0.0.1:1", "--timeout", "5", "--wait", "1s")


@pytest.mark.parametrize(
    "arguments",
    [
        ("trip", "--lab", "--submit-security", "starttls", "--read-security", "Tls", "--format", "JSON"),
        ("trip", "--lab", "--submit-security", "STARTTLS", "--read-security", "TLS", "--format", "json"),
        ("send", "--lab", "--security", "StartTLS", "--format", "JSON"),
        ("smtp", "--lab", "mx.good.lab.test", "--security", "STARTTLS", "--quit-after", "TLS", "--format", "Json"),
        ("check", "--lab", "good.lab.test", "--fail-on", "ERROR", "--format", "JSON"),
        ("lab", "list", "--format", "JSON"),
    ],
)
def test_words_of_options_are_read_in_whatever_case(arguments: tuple[str, ...]) -> None:
    done = mailprobe(*arguments)
    assert done.returncode in {0, 1}, done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize("command", ["smtp", "pop3", "imap", "send", "trip", "protocols"])
def test_every_command_names_its_logins_alike_and_says_where_the_password_is(command: str) -> None:
    help_text = " ".join(mailprobe(command, "--help").stdout.split())
    names = {"trip": ("from-", "to-"), "protocols": ("", "sender-")}.get(command, ("",))
    for name in names:
        assert f"--{name}login" in help_text
        assert f"MAILPROBE_{name.upper().replace('-', '_')}PASSWORD" in help_text


@pytest.mark.parametrize("security", ["tls", "starttls", "opportunistic", "clear"])
def test_help_writes_the_words_in_small_letters(security: str) -> None:
    for command in ("smtp", "send", "trip"):
        assert security in mailprobe(command, "--help").stdout


@pytest.mark.parametrize("option", ["--login", "--user"])
def test_send_takes_a_login_by_both_names(option: str) -> None:
    done = mailprobe("send", "--lab", "--server", "sender.lab.test", option, "alice", "--format", "json")
    assert json.loads(done.stdout)["conversations"][0]["login"]["user"] == "alice"


@pytest.mark.parametrize("options", [("--from-login", "--to-login"), ("--from-user", "--to-user")])
def test_trip_takes_its_logins_by_both_names(options: tuple[str, str]) -> None:
    done = mailprobe("trip", "--lab", options[0], "alice", options[1], "bob", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trips"][0]["sending"]["conversations"][0]["login"]["user"] == "alice"


@pytest.mark.parametrize("name", ["from", "to"])
def test_trip_says_which_option_names_nobody(name: str) -> None:
    known = {"MAILPROBE_FROM_PASSWORD": "x", "MAILPROBE_TO_PASSWORD": "x"}
    done = mailprobe("trip", "a@a.test", "b@b.test", *WAYS, f"--{name}-login", "\n", env=known)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"--{name}-login" in done.stderr
