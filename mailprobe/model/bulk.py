"""What came of sending many letters, in figures."""

from __future__ import annotations

from mailprobe.model.evidence import Struct, Trouble


class Latencies(Struct, frozen=True, kw_only=True):
    """Milliseconds from the first command of a letter to the last reply to it; all None without accepted letters."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class BulkSummary(Struct, frozen=True, kw_only=True):
    """A bounded load and its outcomes, counted by recipient; *letters* counts those that at least one took.

    *not_sent* counts recipients of letters that were taken up and for which no connection was left. *replies* maps
    the code of the reply that decided, with its enhanced code unless the letter was accepted, to how often it came;
    ``no reply`` where none did. *stopped* says in words what ended it before its last letter, empty when nothing did,
    and *trouble* what the last connection that failed met.
    """

    letters: int
    accepted: int
    refused: int
    deferred: int
    uncertain: int
    not_sent: int
    seconds: float
    per_second: float
    octets: int
    connections: int
    latencies: Latencies
    replies: dict[str, int]
    stopped: str
    trouble: Trouble | None
