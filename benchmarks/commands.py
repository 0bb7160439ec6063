"""Command lines to measure: mailprobe's own and its peers'."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import msgspec

_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/lib/nagios/plugins"])


class Command(msgspec.Struct, frozen=True):
    """One command line under the name that tables give it; *lab_file* is the lab that it asks."""

    name: str
    argv: tuple[str, ...]
    lab_file: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment to run it in: no lab but its own, no terminal's width or colour."""
        unwanted = {"MAILPROBE_LAB", "COLUMNS", "PYTHONDEVMODE", "PYTHONPROFILEIMPORTTIME", "PYTHONDONTWRITEBYTECODE"}
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        return kept | ({"MAILPROBE_LAB": str(self.lab_file)} if self.lab_file else {})


def mailprobe(name: str, *arguments: str, lab_file: Path | None = None) -> Command:
    """Give a command line of mailprobe as users have it: through the console script of this interpreter."""
    script = Path(sys.executable).with_name("mailprobe")
    start = (str(script),) if script.exists() else (sys.executable, "-m", "mailprobe")
    return Command(name, (*start, *arguments), lab_file)


def program(name: str) -> str | None:
    """Give the path of a peer's program, None when this machine has none."""
    return shutil.which(name, path=_SEARCH)


def shell(name: str, script: str) -> Command:
    """Give a command that is several programs in one script."""
    return Command(name, ("sh", "-c", script))
