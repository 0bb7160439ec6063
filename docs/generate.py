"""Writes the generated pages of this folder and the output in the README anew: `make docs`.

A test makes the same pages and compares, so that none of them drifts from the program.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mailprobe.checks import CHECKS
from mailprobe.lab.scenario import Scenario
from mailprobe.lab.world import SCENARIOS
from mailprobe.model.evidence_file import json_schema

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)


def checks_page() -> str:
    """Make the page of all checks, by topic."""
    parts = [
        "# Checks\n",
        f"All {len(CHECKS)} checks, made from the program itself. `mailprobe explain ID` shows one of them.\n",
    ]
    topic = ""
    for check in CHECKS.values():
        if check.function.__module__ != topic:
            topic = check.function.__module__
            title = (sys.modules[topic].__doc__ or "").strip().splitlines()[0]
            parts.append(f"## {title}\n")
        subject = check.subject.__name__.lower().replace("target", "domain")
        parts.append(
            f"### {check.id}\n\n**{check.claim}** · {check.severity.value} · asked of each {subject}\n\n"
            f"{check.why}\n\n*Do:* {check.advice}\n\n*See:* {check.source}\n"
        )
    return "\n".join(parts)


def scenarios_page() -> str:
    """Make the page of all lab scenarios."""
    checked = [item for item in SCENARIOS if item.layer != "flow"]
    letters = [item for item in SCENARIOS if item.layer == "flow"]
    return (
        "# Lab scenarios\n\n"
        f"The {len(SCENARIOS)} names of the lab, each with `.lab.test` behind it. The twin passes the same check and "
        "differs by one rule. `mailprobe lab list` shows this list, too.\n\n"
        "## For `mailprobe check --lab`\n\n"
        "| name | what is done | check | verdict | twin |\n|---|---|---|---|---|\n"
        f"{_rows(checked)}\n"
        "## For `mailprobe trip --lab`\n\n"
        "| name | what is done | check | verdict | twin | `mailprobe trip --lab` |\n|---|---|---|---|---|---|\n"
        f"{_rows(letters, ' `{target}` |')}"
    )


def _rows(scenarios: Sequence[Scenario], more: str = "") -> str:
    return "".join(
        f"| `{item.name}` | {item.wrong} | [{item.check}](checks.md#{item.check}) "
        f"| {item.verdict.value} | `{item.twin}` |{more.format(target=item.target)}\n"
        for item in scenarios
    )


def pages() -> dict[Path, str]:
    """Give every generated page with its text."""
    return {
        DOCS / "checks.md": checks_page(),
        DOCS / "scenarios.md": scenarios_page(),
        DOCS / "evidence.schema.json": json_schema().decode("utf-8"),
    }


def output_of(command: str) -> str:
    """Run a command of the README as a reader would at 80 columns, and give what it prints."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": binaries, "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    environment.pop("MAILPROBE_LAB", None)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def main() -> None:
    """Write everything."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    renewed = BLOCK.sub(
        lambda match: f"```console\n$ {match['command']}\n{output_of(match['command']).rstrip()}\n```", text
    )
    README.write_text(renewed, encoding="utf-8")


if __name__ == "__main__":
    main()
