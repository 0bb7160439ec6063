"""Files that options name, and stdin and stdout in their place; what goes wrong is one line about the option."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from mailprobe.cli.closed import StdoutClosed
from mailprobe.model.errors import UsageError
from mailprobe.model.files import read_whole, too_long, write_whole

EVIDENCE_LIMIT = 500_000_000  # octets of what `collect` and `check --format json` write


class TooLongError(UsageError):
    """There are more octets than the option takes."""


def read(path: str, option: str, limit: int, *, pipes: bool = False) -> bytes:
    """Read a file of at most *limit* octets, or stdin for ``-``; a pipe only with *pipes*.

    Raises:
        TooLongError: it has more octets.
        UsageError: it cannot be read, or is no such file.
    """
    try:
        return _stdin(limit) if path == "-" else read_whole(Path(path), limit, pipes=pipes)
    except OSError as error:
        kind = TooLongError if error.errno == errno.EFBIG else UsageError
        raise kind(f"{option} {path}: {error.strerror or error}".lstrip()) from None


def read_line(path: str, option: str, limit: int) -> bytes:
    """Read the first line of a file or pipe, or the next one of stdin for ``-``, without its end.

    Raises:
        UsageError: it cannot be read, or is too long.
    """
    octets = _line_of_stdin(option, limit) if path == "-" else read(path, option, limit, pipes=True)
    return octets.partition(b"\n")[0].removesuffix(b"\r")


def _line_of_stdin(option: str, limit: int) -> bytes:
    if sys.stdin is None:
        raise UsageError(f"{option} -: stdin is closed")
    return sys.stdin.buffer.readline(limit)


def _stdin(limit: int) -> bytes:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "stdin is closed")
    octets = sys.stdin.buffer.read(limit + 1)
    if len(octets) > limit:
        raise too_long(limit)
    return octets


def write(path: Path, option: str, octets: bytes) -> None:
    """Write a file whole or not at all; what is our stdout by another name is written to in its turn.

    Raises:
        UsageError: it cannot be written, and is as it was.
        StdoutClosed: nobody reads stdout.
    """
    if _is_stdout(path):
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(octets)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise StdoutClosed(error.strerror) from None
        return
    try:
        write_whole(path, octets)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror or error}") from None


def _is_stdout(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stdout.fileno()), path.stat())
    except (OSError, ValueError):  # not there yet, no name at all, or a stdout without a file
        return False
