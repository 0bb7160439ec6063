"""The front of a post office: from a letter that a client has handed over to a file in the spool.

The client is told yes when the file is safe on the disk, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from mailprobe.lab.post.crew import Crew
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.headers import hops, missing, received, with_fields
from mailprobe.lab.post.spool import Spool, Spooled, SpoolError, new_queue_id
from mailprobe.protocols.mailstore import Envelope, Verdict

LOOPING = Verdict(554, "5.4.6", "Too many hops: the letter goes round in circles")
NO_ROOM = Verdict(452, "4.3.1", "The spool has no room; try again later")
NO_SPOOL = Verdict(451, "4.3.0", "The spool cannot be written; try again later")

QUEUE = "queue"

Written = Callable[[Spooled, SpoolError | None], None]
Result = Path | SpoolError


class _Job(msgspec.Struct, frozen=True):
    letter: Spooled
    written: Written


class Intake:
    """Spools letters.

    *spooled* hears of every one that is safe, in the thread of the loop, and whether it has been picked up as well:
    that is done in the same breath while *picks_up* says so, since the letter need not be read again then.
    """

    def __init__(
        self,
        desk: Desk,
        spool: Spool,
        *,
        spooled: Callable[[Sequence[tuple[Spooled, bool]]], None],
        picks_up: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._spool = spool
        self._spooled = spooled
        self._picks_up = picks_up
        self._crew: Crew[_Job, Result] = Crew(desk.threads, self._write, self._tell)
        self.under_way: set[str] = set()

    def accept(self, envelope: Envelope, data: bytes, done: Callable[[Verdict], None]) -> None:
        """Take a letter from a client; *done* is told the verdict."""
        if hops(data) >= self._desk.site.hop_limit:
            done(LOOPING)
            return

        def written(letter: Spooled, error: SpoolError | None) -> None:
            if error is None:
                done(Verdict(250, "2.0.0", f"queued as {letter.queue_id}"))
            else:
                done(NO_ROOM if error.full else NO_SPOOL)

        self.spool(self._letter(envelope, data), written)

    def spool(self, letter: Spooled, written: Written) -> None:
        """Put a letter into the spool; *written* hears how it went."""
        self.under_way.add(letter.queue_id)
        self._crew.add(_Job(letter, written))

    async def settle(self) -> None:
        """Stop: what is not being written yet is not accepted."""
        await self._crew.settle()

    def _letter(self, envelope: Envelope, data: bytes) -> Spooled:
        queue_id, now = new_queue_id(), self._desk.now()
        submitted = envelope.user is not None
        fields = b""
        if self._desk.site.adds_received:
            fields = received(envelope, queue_id, now + timedelta(seconds=self._desk.site.clock_skew_s))
        if submitted:
            fields += missing(data, envelope, queue_id, now)
        return Spooled(
            queue_id=queue_id,
            envelope=envelope,
            data=with_fields(fields, data),
            origin="submission" if submitted else "network",
            arrived=now,
        )

    def _write(self, jobs: Sequence[_Job]) -> Sequence[Result]:
        results = self._spool.write_many([job.letter for job in jobs])
        if not self._picks_up():
            return results
        return [_picked_up(result) if isinstance(result, Path) else result for result in results]

    def _tell(self, results: Sequence[tuple[_Job, Result]]) -> None:
        safe = [(job.letter, _is_picked_up(result)) for job, result in results if isinstance(result, Path)]
        if safe:
            self._spooled(safe)
        for job, result in results:
            self.under_way.discard(job.letter.queue_id)
            error = result if isinstance(result, SpoolError) else None
            if error is not None:
                self._desk.complain(f"a letter from <{job.letter.envelope.sender}> was not accepted: {error}")
            job.written(job.letter, error)


def _picked_up(file: Path) -> Path:
    """Move a letter on to where the queue has it; where that fails it stays, to be picked up later."""
    taken = file.parent.parent / QUEUE / file.name
    try:
        file.rename(taken)
    except OSError:
        return file
    return taken


def _is_picked_up(file: Path) -> bool:
    return file.parent.name == QUEUE
