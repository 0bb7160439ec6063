"""`lab list` says of every scenario what is wrong in it, and of those of a letter's road how to see it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from mailprobe.cli.lab.catalogue import flow_words
from mailprobe.lab.scenarios import SCENARIOS
from tests.installed import mailprobe

FLOWS = [scenario for scenario in SCENARIOS if scenario.layer == "flow"]


def test_every_scenario_of_a_road_is_listed_with_its_command() -> None:
    text = mailprobe("lab", "list", "flow").stdout.replace("\\\n", "")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    mailprobe ")]
    assert commands == [["mailprobe", "trip", "--lab", *shlex.split(scenario.target)] for scenario in FLOWS]


def test_no_line_is_wider_than_a_terminal_and_no_word_is_broken() -> None:
    text = mailprobe("lab", "list").stdout
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert [scenario.name for scenario in SCENARIOS if scenario.wrong not in words] == []


def test_options_stand_beside_their_values() -> None:
    assert "      --imap flow-alias-virtual.lab.test\n" in mailprobe("lab", "list", "alias-virtual").stdout


def test_the_list_is_also_a_document() -> None:
    (entry,) = json.loads(mailprobe("lab", "list", "flow-alias-loop", "--format", "json").stdout)
    assert entry["domain"] == "flow-alias-loop.lab.test"
    assert entry["try"] == ("mailprobe trip --lab alice@sender.lab.test team@flow-alias-loop.lab.test --to-user bob")
    (entry,) = json.loads(mailprobe("lab", "list", "tls10-only", "--format", "json").stdout)
    assert entry["try"] == "mailprobe check --lab tls10-only.lab.test"


@pytest.mark.parametrize("name", ["flow-alias-loop", "flow-alias-loop.lab.test", "Flow-Alias-Loop"])
def test_a_scenario_is_known_by_its_name(name: str) -> None:
    assert flow_words(name) == ("alice@sender.lab.test", "team@flow-alias-loop.lab.test", "--to-user", "bob")


@pytest.mark.parametrize("name", ["", "flow", "good", "tls10-only", "flow-nosuch", "alice@sender.lab.test"])
def test_what_is_no_scenario_of_a_road_gives_no_words(name: str) -> None:
    assert flow_words(name) is None


def test_a_command_that_is_mistyped_is_guessed() -> None:
    done = mailprobe("lab", "restrat", "receiver")
    assert (done.returncode, "did you mean restart?" in done.stderr) == (2, True)


def test_a_lab_of_its_own_beside_one_that_runs_is_told_of(tmp_path: Path) -> None:
    done = mailprobe("mx", "--lab", "pens.ac.id", env={"MAILPROBE_LAB": str(tmp_path / "lab.json")})
    assert done.returncode == 0
    assert done.stderr == "mailprobe: --lab starts a lab of its own; leave it out to use the one of MAILPROBE_LAB\n"
