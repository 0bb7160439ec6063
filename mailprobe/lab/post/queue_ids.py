"""Queue ids: the name that a letter keeps at a site, in its files, replies, header and journal."""

from __future__ import annotations

import re
import secrets
import threading
import time

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{4,40}")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EPOCH_US = 1_577_836_800_000_000  # 2020-01-01


class _QueueIds:
    """Ids that nobody has twice: the time in microseconds, always a later one, and a tag of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._tag = _base36(secrets.randbelow(36**3), 3)

    def next(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000 - _EPOCH_US)
            return _base36(self._last, 10) + self._tag


def _base36(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


_IDS = _QueueIds()


def new_queue_id() -> str:
    """Give a new queue id: 13 letters and digits that sort by time, unique across sites, threads and restarts."""
    return _IDS.next()


def is_queue_id(text: str) -> bool:
    """Tell whether a text has the form of a queue id, so that it may be part of a file name."""
    return _QUEUE_ID.fullmatch(text) is not None
