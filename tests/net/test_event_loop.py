"""The fast event loop runs what it is given, whichever it is."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mailprobe.net.event_loop import run_fast


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_it_gives_the_result() -> None:
    assert run_fast(answer()) == 42


def test_without_uvloop_it_is_asyncio_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert type(run_fast(loop())).__module__.startswith("asyncio.")
