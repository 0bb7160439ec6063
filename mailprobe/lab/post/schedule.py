"""When a letter that could not be delivered is tried again, and when it is given up."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a queue in seconds; the defaults are those of Postfix.

    *delay_warning_s* is after how long the sender is told that a letter still waits, None for never.
    """

    minimal_backoff_s: float = 300
    maximal_backoff_s: float = 4000
    lifetime_s: float = 5 * 86400  # RFC 5321 §4.5.4.1: at least 4-5 days
    delay_warning_s: float | None = None

    def backoff(self, tries: int) -> float:
        """Give the seconds to wait after so many tries: doubled each time, within the bounds."""
        doubled = self.minimal_backoff_s * 2.0 ** min(max(tries - 1, 0), 64)
        return min(doubled, max(self.maximal_backoff_s, self.minimal_backoff_s))

    def next_try(self, tries: int, now: datetime) -> datetime:
        """Give when a letter is tried again that has been tried so many times, the last time now."""
        return now + timedelta(seconds=self.backoff(tries))

    def is_expired(self, arrived: datetime, now: datetime) -> bool:
        """Tell whether a letter that arrived then is given up when it fails once more."""
        return now - arrived >= timedelta(seconds=self.lifetime_s)

    def expires(self, arrived: datetime) -> datetime:
        """Give until when a letter is tried."""
        return arrived + timedelta(seconds=self.lifetime_s)

    def is_warning_due(self, arrived: datetime, now: datetime) -> bool:
        """Tell whether the sender is to hear of the delay by now."""
        return self.delay_warning_s is not None and now - arrived >= timedelta(seconds=self.delay_warning_s)
