"""How long the conversations of a trip may take, and how soon the next one may begin."""

from __future__ import annotations

import time

from mailprobe.net.limits import Deadline

PAUSE_S = 5.0  # between two looks, where the server does not tell that something came
LONGEST_PAUSE_S = 60.0
QUICK_S = 1.0
QUICK_ONES = 5  # news in a row that are looked at at once, however soon they come


class Allowance(Deadline):
    """A deadline that is set anew for each thing that is done, and never later than what is left for all of them."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._latest = self._end

    def extend(self, seconds: float) -> None:
        """Let all that comes take so many seconds together, from now."""
        self._latest = time.monotonic() + seconds

    def spend(self, seconds: float, *, least: float = 0.0) -> None:
        """Let what comes next take so many seconds: no more than is left for all, yet never less than *least*."""
        now = time.monotonic()
        self._end = max(min(now + seconds, self._latest), now + least)


class Pace:
    """Keeps a server from being asked again and again: after each failure in a row the pause is twice as long."""

    def __init__(self) -> None:
        self._failures = 0
        self._again_at = 0.0
        self._quick = 0

    @property
    def pause_s(self) -> float:
        """Seconds to wait before the next look."""
        return min(PAUSE_S * 2.0 ** max(0, min(self._failures, 10) - 1), LONGEST_PAUSE_S)

    @property
    def rests(self) -> bool:
        """True while it is too early to try once more what failed more than once."""
        return self._failures > 1 and time.monotonic() < self._again_at

    def went_wrong(self) -> None:
        """Note a failure."""
        self._failures += 1
        self._again_at = time.monotonic() + self.pause_s

    def went_well(self) -> None:
        """Begin anew."""
        self._failures = 0

    def heard_after(self, seconds: float) -> float:
        """Note how long news took to come; give how long to let a server rest that has some all the time."""
        self._quick = self._quick + 1 if seconds < QUICK_S else 0
        return QUICK_S if self._quick > QUICK_ONES else 0.0
