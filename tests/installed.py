"""Runs the installed `mailprobe` command, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("mailprobe"))
LIMIT_S = 30


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give a user's environment, without a lab that happens to run, at 80 columns."""
    base = {key: value for key, value in os.environ.items() if not key.startswith("MAILPROBE_")}
    return {**base, "LC_ALL": "C.UTF-8", "COLUMNS": "80", **(variables or {})}


def mailprobe(
    *arguments: str, env: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command with *env* added to the environment, and *given* on standard input; no traceback may be seen."""
    done = subprocess.run(
        [COMMAND, *arguments],
        input=given,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
