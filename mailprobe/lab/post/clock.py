"""The lab's clock: real time and an offset that can be moved, so that a retry in five days is seen now."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailprobe.model.errors import UsageError

OFFSET_LIMIT_S = 100 * 366 * 86400.0  # a century: dates stay within four digits
_OCTETS = 64  # the file holds one number


class LabClock:
    """A clock that only goes forward. With a *file* it is shared: other processes read, and may move, the same time.

    The file holds the offset in seconds as text; a file that is not there means 0.

    Raises:
        UsageError: the file cannot be read, or holds no number.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._offset_s = 0.0
        if file is not None:
            self._stamp = _stamp(file)
            self._offset_s = read_offset(file)

    @property
    def offset_s(self) -> float:
        """By how many seconds the lab is ahead of the real time."""
        self._refresh()
        return self._offset_s

    def now(self) -> datetime:
        """Give the lab's time, aware, in UTC."""
        return datetime.now(UTC) + timedelta(seconds=self.offset_s)

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            UsageError: backwards, no number, more than a century in all, or the file cannot be written.
        """
        if not math.isfinite(seconds) or seconds < 0:
            raise UsageError(f"a lab's clock only goes forward, by a number of seconds; {seconds} is none")
        with self._lock:
            offset_s = (self._offset_s if self._file is None else read_offset(self._file)) + seconds
            if offset_s > OFFSET_LIMIT_S:
                raise UsageError("a lab's clock can be moved by a century at most")
            if self._file is not None:
                _write_offset(self._file, offset_s)
                self._stamp = _stamp(self._file)
            self._offset_s = offset_s

    def _refresh(self) -> None:
        """Read the file again if somebody has replaced it; what cannot be read leaves the clock as it was."""
        if self._file is None:
            return
        stamp = _stamp(self._file)
        if stamp is None or stamp == self._stamp:
            return
        with self._lock, contextlib.suppress(UsageError):
            self._offset_s = max(self._offset_s, read_offset(self._file))
            self._stamp = stamp


def read_offset(file: Path) -> float:
    """Read by how many seconds a lab is ahead; 0 when there is no such file.

    Raises:
        UsageError: it cannot be read, or holds no number of seconds between 0 and a century.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_OCTETS + 1).strip()
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise UsageError(f"the lab's clock {file}: {error.strerror}") from None
    try:
        offset_s = float(text)
    except ValueError:
        offset_s = math.nan
    if not 0 <= offset_s <= OFFSET_LIMIT_S:
        raise UsageError(f"the lab's clock {file} holds no number of seconds; remove the file to set it to 0")
    return offset_s


def _write_offset(file: Path, offset_s: float) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        temporary.write_text(f"{offset_s!r}\n", encoding="ascii")
        temporary.replace(file)
    except OSError as error:
        raise UsageError(f"the lab's clock {file}: {error.strerror}") from None


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Tell one version of the file from the next, as every one is another file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
