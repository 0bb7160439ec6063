"""Runs the installed `mailprobe` command, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("mailprobe"))
LIMIT_S = 30


def mailprobe(
    *arguments: str, env: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command with *env* added to the environment, and *given* on standard input."""
    environment = {key: value for key, value in os.environ.items() if key != "MAILPROBE_LAB"}
    return subprocess.run(
        [COMMAND, *arguments],
        input=given,
        env={**environment, **(env or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
