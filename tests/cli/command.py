"""Runs the installed command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

MAILPROBE = str(Path(sys.executable).parent / "mailprobe")
Done = subprocess.CompletedProcess[str]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give a user's environment, without a lab that happens to run, at 80 columns."""
    base = {key: value for key, value in os.environ.items() if not key.startswith("MAILPROBE_")}
    return {**base, "LC_ALL": "C.UTF-8", "COLUMNS": "80", **(variables or {})}


def mailprobe(*arguments: str, stdin: str | None = None, variables: Mapping[str, str] | None = None) -> Done:
    """Run mailprobe; no traceback may ever be seen."""
    done = subprocess.run(
        [MAILPROBE, *arguments],
        input=stdin,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
