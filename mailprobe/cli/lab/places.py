"""Which lab a command is about, and which of its sites."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mailprobe.lab.post.control import Answer, NoLabError, Order, ring
from mailprobe.model.errors import UsageError
from mailprobe.model.labfile import read_lab_file

Command = TypeVar("Command", bound=Callable[..., Any])

directory_option = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The lab's directory, as given to `lab up`. Default: that of the lab that MAILPROBE_LAB names.",
)


def lab_directory(given: Path | None) -> Path:
    """Give the directory of the lab that is meant.

    Raises:
        UsageError: none is named, it is not there, or the lab that is named has ended or has none.
    """
    if given is None:
        file = os.environ.get("MAILPROBE_LAB")
        if not file:
            raise UsageError("which lab? give --directory DIR, or set MAILPROBE_LAB as `mailprobe lab up` says")
        if not Path(file).exists():
            raise UsageError(_ended(Path(file)))
        written = read_lab_file(Path(file)).directory
        if not written:
            raise UsageError(f"the lab of {file} has no directory; start it again with this mailprobe")
        given = Path(written)
    if not given.is_dir():
        raise UsageError(f"--directory {given}: there is no such directory")
    return given


def _ended(file: Path) -> str:
    """Say that a lab is no more, and how to read what it has left, if that was kept."""
    left = file.parent if any(file.parent.glob("*/queue.db")) else "DIR"
    kept = "" if left != "DIR" else ", if it was started with one"
    return f"the lab of MAILPROBE_LAB={file} has ended; `--directory {left}` reads the mail in its directory{kept}"


def give_order(given: Path | None, directory: Path, order: Order) -> Answer:
    """Ask the lab in *directory* for something; *given* is what ``--directory`` said.

    Raises:
        UsageError: no lab runs there, or it will not.
    """
    try:
        return ring(directory, order)
    except NoLabError as error:
        if given is not None:
            raise
        raise UsageError(f"the lab of MAILPROBE_LAB is not running: {error}") from None


def site_names(directory: Path) -> list[str]:
    """Name the sites that have a post office in the directory of a lab.

    Raises:
        UsageError: there is none, or the directory cannot be read.
    """
    try:
        names = sorted(each.name for each in directory.iterdir() if (each / "queue.db").exists())
    except OSError as error:
        raise UsageError(f"--directory {directory}: {error.strerror}") from None
    if not names:
        raise UsageError(f"no post office has run in {directory}; start one with `mailprobe lab up --directory DIR`")
    return names


def site_name(directory: Path, text: str) -> str:
    """Give the whole name of a site; ``receiver`` means ``receiver.lab.test``.

    Raises:
        UsageError: there is no such site.
    """
    names = site_names(directory)
    wanted = text.lower().rstrip(".")
    found = [name for name in names if name == wanted] or [name for name in names if name.startswith(f"{wanted}.")]
    if len(found) != 1:
        raise UsageError(f"no site {text!r} with a post office; there are {', '.join(names)}")
    return found[0]
