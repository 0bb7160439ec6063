"""Signals that end a run: each takes the way out that Ctrl-C takes, so that labs, files and children are seen to."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType

# SIGHUP is there on POSIX only. What was ignored when we were started, as by nohup, stays ignored.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_met: list[int] = []


def take_orderly_way_out() -> None:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt from now on, and the first of them alone."""
    with contextlib.suppress(ValueError):  # not in the main thread: it is for others to end it
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    _met.append(number)
    sys.unraisablehook = _say_nothing  # what is broken off half made complains when it is thrown away
    for each in ENDING:
        if signal.getsignal(each) is _end:
            signal.signal(each, signal.SIG_IGN)  # a second one must not break off the cleaning up
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):  # asyncio's own while a loop runs: it cancels what is done there
        handler(signal.SIGINT, frame)
        return
    raise KeyboardInterrupt


def _say_nothing(_unraisable: object) -> None:
    """Leave out what nobody can act on."""


def met() -> int | None:
    """Give the number of the signal that ends the run, None while none of these came."""
    return _met[0] if _met else None


def name_of(number: int) -> str:
    """Give a signal's name."""
    return signal.Signals(number).name
