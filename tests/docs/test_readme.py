"""The commands of the README, run, print what the README says."""

from __future__ import annotations

import re

import pytest

from docs.generate import BLOCK, README, output_of

EXAMPLES = [(match["command"], match["output"]) for match in BLOCK.finditer(README.read_text(encoding="utf-8"))]
# What differs from run to run: times, ephemeral ports, and the widths that follow from them.
_MOVING = (
    (re.compile(r"<[\w-]+[0-9a-f]{16,}@|<\d{14}\.[0-9a-f]+@"), "<ID@"),
    (re.compile(r"\b\d{4}[0-9A-Z]{9}(R\d+)?\b"), "QUEUE-ID"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"\b\d\d:\d\d(:\d\d(\.\d{3})?)?\b"), "TIME"),
    (re.compile(r"\b\d{10}\.(?=QUEUE-ID)"), "SECONDS."),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "N ms"),
    (re.compile(r"(127\.\d+\.\d+\.\d+)(:|#)\d{4,5}\b"), r"\1\2PORT"),
    (re.compile(r"127\.53\.\d+\.\d+"), "ADDRESS"),
    (re.compile(r"\s+\d+$", re.MULTILINE), " N"),
    (re.compile(r"-{2,}"), "-"),
    (re.compile(r"[ \n]+"), " "),
)


def steady(text: str) -> str:
    for pattern, replacement in _MOVING:
        text = pattern.sub(replacement, text)
    return text.strip()


def test_there_are_examples_to_run() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_command_prints_what_the_readme_shows(command: str, output: str) -> None:
    assert steady(output_of(command)) == steady(output)


def test_the_comparison_sees_a_difference() -> None:
    assert steady("25  smtp  open  STARTTLS  12\n") != steady("25  smtp  open  plain  12\n")
    assert steady("took 12 ms") == steady("took 7 ms")


def test_lines_of_output_fit_eighty_columns() -> None:
    wide = [line for _, output in EXAMPLES for line in output.splitlines() if len(line) > 80]
    assert wide == []
