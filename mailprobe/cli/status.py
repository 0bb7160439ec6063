"""Exit statuses, and which of several counts."""

from __future__ import annotations

from collections.abc import Iterable

FAILED, UNDECIDED = 1, 3


def worst(statuses: Iterable[int]) -> int:
    """Give the status of a run from those of its targets: what is known to fail weighs more than what is not known."""
    return max(statuses, key=lambda status: (status == FAILED, status))
