"""Work for threads, in bunches: what waits for the disk is handed over together, and so is what came of it.

A file that must be safe costs a wait of a fraction of a millisecond. While one bunch waits, the next gathers, so the
more there is to do the less each piece costs, and the event loop hears of a whole bunch at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

WORKERS = 1  # bunches under way at once
BUNCH = 32


class Crew(Generic[Job, Result]):
    """Does *work* on a bunch of jobs in a thread, and tells *done* of the jobs with what came of each.

    *work* must not raise. *done* is called in the thread of the event loop that is running when the crew is made.
    """

    def __init__(
        self,
        threads: Executor,
        work: Callable[[Sequence[Job]], Sequence[Result]],
        done: Callable[[Sequence[tuple[Job, Result]]], None],
    ) -> None:
        self._threads = threads
        self._work = work
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._bunches: set[asyncio.Future[list[tuple[Job, Result]]]] = set()
        self._starting = False

    def __len__(self) -> int:
        """Count what is waiting or under way, a bunch as one."""
        return len(self._waiting) + len(self._bunches)

    def add(self, job: Job) -> None:
        """Have a job done; the bunch is closed at the end of this turn of the loop."""
        self._waiting.append(job)
        if not self._starting and len(self._bunches) < WORKERS:
            self._starting = True
            self._loop.call_soon(self._start)

    async def settle(self) -> None:
        """Forget what waits, and wait for what is under way."""
        self._waiting.clear()
        while self._bunches:
            await asyncio.wait(self._bunches)
            await asyncio.sleep(0)

    def _start(self) -> None:
        self._starting = False
        while self._waiting and len(self._bunches) < WORKERS:
            free = WORKERS - len(self._bunches)
            size = min(BUNCH, -(-len(self._waiting) // free))
            jobs = [self._waiting.popleft() for _ in range(size)]
            bunch = self._loop.run_in_executor(self._threads, self._do, jobs)
            self._bunches.add(bunch)
            bunch.add_done_callback(self._finish)

    def _do(self, jobs: list[Job]) -> list[tuple[Job, Result]]:
        return list(zip(jobs, self._work(jobs), strict=True))

    def _finish(self, bunch: asyncio.Future[list[tuple[Job, Result]]]) -> None:
        self._bunches.discard(bunch)
        self._start()
        if not bunch.cancelled():
            self._done(bunch.result())
