"""What a command does while it waits for servers: it imports what it needs at its end, and tells what it waits for.

Reading certificates, verifying them and writing tables take longer to import than a server nearby takes to answer.
It is done on the event loop, a module at a time, with everything that has arrived read in between: in a thread it
would take the interpreter lock at every turn of the conversations and make them slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from mailprobe.model.errors import UsageError
from mailprobe.net.network import Network

PATIENCE_S = 2.0  # what answers within it needs no progress shown
NAMED = 3
Result = TypeVar("Result")


def ask(network: Network, asking: Coroutine[Any, Any, Result], modules: tuple[str, ...]) -> Result:
    """Run a coroutine that talks to mail servers; meanwhile load the trust anchors and import *modules*.

    A person at a terminal is told, on stderr, what is being waited for once it takes long.
    """
    return asyncio.run(_ask(network, asking, modules))


async def _ask(network: Network, asking: Coroutine[Any, Any, Result], modules: tuple[str, ...]) -> Result:
    answered = asyncio.ensure_future(asking)
    beside = [asyncio.ensure_future(_prepare(network, modules))]
    if sys.stderr.isatty():
        beside.append(asyncio.ensure_future(_tell_progress(network)))
    try:
        return await answered
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _tell_progress(network: Network) -> None:
    """Tell a person at a terminal what is being waited for, once it takes long; leave no trace of it behind."""
    started = time.monotonic()
    try:
        await asyncio.sleep(PATIENCE_S)
        while True:
            waiting = network.waiting_for
            names = ", ".join(waiting[:NAMED]) + (f" and {len(waiting) - NAMED} more" if len(waiting) > NAMED else "")
            text = f"{time.monotonic() - started:.0f} s, waiting for {names or 'the resolver'}"
            sys.stderr.write(f"\r{text[:78]}\x1b[K")
            sys.stderr.flush()
            await asyncio.sleep(1.0)
    finally:
        if time.monotonic() - started >= PATIENCE_S:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


async def _prepare(network: Network, modules: tuple[str, ...]) -> None:
    """Import and load in small pieces. What goes wrong here goes wrong, and is reported, where it is needed."""
    await asyncio.sleep(0)  # the first packets go out before anything else
    with contextlib.suppress(UsageError):
        network.trust.load()
    for module in modules:
        await asyncio.sleep(0)
        with contextlib.suppress(ImportError):
            __import__(module)  # unlike import_module, it is seen by -X importtime
