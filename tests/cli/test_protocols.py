"""`mailprobe protocols`, as a person types it."""

from __future__ import annotations

import json

import pytest

from tests.installed import mailprobe


def test_the_table_fits_eighty_columns_and_names_every_protocol() -> None:
    done = mailprobe("protocols")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["SMTP", "POP3", "POP3S", "IMAP"]
    assert max(map(len, lines)) <= 80
    for question in ("function", "ports", "direction", "sync across", "mail stays", "encryption", "suited to"):
        assert question in done.stdout


def test_the_table_as_json_has_a_row_for_each_question() -> None:
    rows = json.loads(mailprobe("protocols", "--format", "json").stdout)
    assert [row["question"] for row in rows][:2] == ["function", "ports"]
    assert rows[1]["pop3s"] == "995"


def test_proving_on_the_lab_shows_both_devices_and_ends_well() -> None:
    done = mailprobe("protocols", "--prove", "--lab")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("28 proven")
    assert "  first  POP3  ~> DELE 1" in done.stdout
    assert "  second POP3  ~> UIDL" in done.stdout
    assert "secret" not in done.stdout


def test_what_cannot_be_decided_is_status_3() -> None:
    done = mailprobe("protocols", "--prove", "--lab", "--login", "bob", env={"MAILPROBE_PASSWORD": "wrong"})
    assert done.returncode == 3
    assert "undecided IMAP, sync across devices" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("somewhere.test",), "the table needs no server; add --prove"),
        (("--prove",), "Give HOST and --login USER, or --lab"),
        (("--prove", "mail.test"), "Give HOST and --login USER, or --lab"),
        (("--prove", "--lab", "nowhere.lab.test"), "has no address"),
        (("--prove", "--lab", "--address", "no address"), "address"),
    ],
)
def test_what_is_missing_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = mailprobe("protocols", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
