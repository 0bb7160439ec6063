"""Imports what a command needs at its end while it waits for servers.

Reading certificates, verifying them and writing tables take longer to import than a server nearby takes to answer.
It is done on the event loop, a module at a time, with everything that has arrived read in between: in a thread it
would take the interpreter lock at every turn of the conversations and make them slower.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from mailprobe.model.errors import UsageError
from mailprobe.net.network import Network

Result = TypeVar("Result")


def ask(network: Network, asking: Coroutine[Any, Any, Result], modules: tuple[str, ...]) -> Result:
    """Run a coroutine that talks to mail servers; meanwhile load the trust anchors and import *modules*."""
    return asyncio.run(_ask(network, asking, modules))


async def _ask(network: Network, asking: Coroutine[Any, Any, Result], modules: tuple[str, ...]) -> Result:
    answered = asyncio.ensure_future(asking)
    preparing = asyncio.ensure_future(_prepare(network, modules))
    try:
        return await answered
    finally:
        preparing.cancel()


async def _prepare(network: Network, modules: tuple[str, ...]) -> None:
    """Import and load in small pieces. What goes wrong here goes wrong, and is reported, where it is needed."""
    await asyncio.sleep(0)  # the first packets go out before anything else
    with contextlib.suppress(UsageError):
        network.trust.load()
    for module in modules:
        await asyncio.sleep(0)
        with contextlib.suppress(ImportError):
            __import__(module)  # unlike import_module, it is seen by -X importtime
