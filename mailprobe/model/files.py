"""Files that people name: read whole within a bound, and written whole or not at all.

What goes wrong is an OSError whose *strerror* says it in words, also where the system has no word for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

WRITER_S = 5.0  # how long a pipe may be without anybody who writes into it
SILENCE_S = 60.0  # how long somebody who writes into a pipe may say nothing
_LOOK_S = 0.02
_PIECE = 1 << 20


def read_whole(path: Path, limit: int, *, pipes: bool = False) -> bytes:
    """Read a regular file of at most *limit* octets; with *pipes* a pipe will do, such as a shell's ``<(command)``.

    Raises:
        OSError: it cannot be read, has more octets, or is something else: devices have no end.
    """
    handle = _open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a file descriptor
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(kind) and not (pipes and stat.S_ISFIFO(kind)):
            raise OSError(errno.EINVAL, "it is no regular file" + (" and no pipe" if pipes else ""))
        found = bytearray()
        patience = _Patience()
        while len(found) <= limit:
            piece = file.read(min(_PIECE, limit + 1 - len(found)))
            if piece:
                found += piece
            elif stat.S_ISREG(kind) or (piece == b"" and found):
                return bytes(found)
            patience.wait(piece)
        raise too_long(limit)


def too_long(limit: int) -> OSError:
    """Make the error about more octets than may be."""
    return OSError(errno.EFBIG, f"more than {_size(limit)}, which is the limit")


def _size(octets: int) -> str:
    whole, unit = (octets // 1_000_000, "MB") if octets >= 1_000_000 else (octets // 1_000, "KB")
    return f"{whole} {unit}"


class _Patience:
    """Waits for those who write into a pipe, but not for ever."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._met = False

    def wait(self, piece: bytes | None) -> None:
        """Wait a moment after *piece* was read: None from somebody who is silent, nothing from nobody."""
        now = time.monotonic()
        if piece or (piece is None and not self._met):
            self._since, self._met = now, True
        if piece:
            return
        if piece is None and now - self._since > SILENCE_S:
            raise TimeoutError(errno.ETIMEDOUT, f"whoever writes into this pipe was silent for {SILENCE_S:g} s")
        if piece == b"" and now - self._since > WRITER_S:
            raise TimeoutError(errno.ETIMEDOUT, "nobody writes into this pipe")
        time.sleep(_LOOK_S)


def write_whole(path: Path, octets: bytes, *, private: bool = False) -> None:
    """Put all octets in the place of the file, on the disk, or leave everything as it was.

    A new file is readable by its owner alone when it is *private*; one that was there keeps its mode. Devices and
    pipes are written to as they are.

    Raises:
        OSError: it cannot be written.
    """
    try:
        path = path.resolve()
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if mode is not None and not stat.S_ISREG(mode):
        _pour(path, octets)
        return
    _replace(path, octets, 0o600 if private else 0o666, mode)


def _replace(path: Path, octets: bytes, new_mode: int, old_mode: int | None) -> None:
    beside = path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}")
    handle = _open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), new_mode)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a file descriptor
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if old_mode is not None:
            beside.chmod(stat.S_IMODE(old_mode))
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    _sync_folder(path.parent)


def _pour(path: Path, octets: bytes) -> None:
    """Write into a device or pipe; a pipe that nobody reads from is an error (ENXIO), and not waited for."""
    handle = _open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "wb") as file:  # noqa: PTH123 - a file descriptor
        os.set_blocking(file.fileno(), True)
        file.write(octets)


def _open(path: Path, flags: int, mode: int = 0o666) -> int:
    try:
        return os.open(path, flags, mode)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets folders be synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
