"""How long anything may take and how much anything may send."""

from __future__ import annotations

import time

import msgspec

SESSION_OCTETS_LIMIT = 1_048_576


class Limits(msgspec.Struct, frozen=True):
    """Seconds per phase. RFC 5321 §4.5.3.2 allows a server minutes; a diagnosis wants an answer sooner.

    *greeting_s* is the longest: servers pause on purpose before they greet, 6 to 20 seconds in practice.
    """

    connect_s: float = 8.0
    greeting_s: float = 22.0
    reply_s: float = 15.0
    handshake_s: float = 10.0
    farewell_s: float = 0.1
    lookup_s: float = 6.0
    lookup_try_s: float = 1.5
    target_s: float = 60.0

    @classmethod
    def within(cls, seconds: float) -> Limits:
        """Give limits that keep one target within *seconds* and no phase above its usual limit.

        A port that stays silent is asked once more, for TLS, so waiting for its greeting leaves time for that.
        """
        usual = cls()
        return cls(
            connect_s=min(usual.connect_s, seconds),
            greeting_s=min(usual.greeting_s, seconds * 2 / 3),
            reply_s=min(usual.reply_s, seconds),
            handshake_s=min(usual.handshake_s, seconds),
            farewell_s=min(usual.farewell_s, seconds),
            lookup_s=min(usual.lookup_s, seconds),
            lookup_try_s=min(usual.lookup_try_s, seconds / 3),
            target_s=max(seconds, 0.0),
        )


class Deadline:
    """A point in time that nothing may outlast."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self, limit_s: float) -> float:
        """Give the seconds left, *limit_s* at most, 0 when the deadline has passed."""
        return max(0.0, min(limit_s, self._end - time.monotonic()))

    def phase(self, limit_s: float) -> Deadline:
        """Give the deadline of a phase that may take *limit_s* of what is left."""
        return Deadline(self.remaining(limit_s))
