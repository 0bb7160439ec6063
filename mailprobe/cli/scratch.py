"""One folder for everything temporary that a lab in this process writes, whichever thread it writes it in."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from mailprobe.cli.endings import ENDING


@contextmanager
def scratch_folder() -> Iterator[None]:
    """Have temporary files made in a folder that goes in the end, at whatever point the run is broken off.

    A lab clears up after itself; but a signal may come just when it makes something.
    """
    before, folder = tempfile.tempdir, None
    try:
        with _signals_held():
            folder = Path(tempfile.mkdtemp(prefix="mailprobe-"))
            tempfile.tempdir = str(folder)
        yield
    finally:
        if folder is not None:
            with _signals_held():
                tempfile.tempdir = before
                rmtree(folder, ignore_errors=True)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have the signals that end a run wait."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
