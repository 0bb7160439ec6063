"""The event loop for what sends as fast as it can: uvloop where it is installed, else asyncio's own."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import TypeVar

Result = TypeVar("Result")


def run_fast(main: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine as `asyncio.run` does, on the fastest loop there is."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:  # it comes with `pip install 'mailprobe[fast]'`
        return None
    return factory
