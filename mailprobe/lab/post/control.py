"""The doorbell of a running lab: a unix socket in its directory that takes one JSON object a line.

``{"do": "pause", "part": "pickup", "site": null}`` is answered by ``{"ok": true, ...}`` or ``{"error": "..."}``.
Whoever may enter the directory may ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from mailprobe.model.errors import MailprobeError, UsageError

SOCKET = "control.sock"
LINE_LIMIT = 65536
RING_S = 30.0  # how long a lab may take to answer: a restart ends what is under way first
_PATH_LIMIT = 100  # sun_path has 108 octets on Linux, 104 on macOS


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted of a lab. *site* None means every site; *seconds* is for ``tick``."""

    do: Literal["pause", "resume", "tick", "restart", "flush", "status", "look"]
    part: str = ""
    site: str | None = None
    seconds: float = 0.0


Answer = dict[str, Any]


class NoLabError(UsageError):
    """No lab runs where one was to be asked."""


Obey = Callable[[Order], Awaitable[Answer]]


class Doorbell:
    """The lab's side."""

    def __init__(self, directory: Path, obey: Obey) -> None:
        self._directory = directory
        self._obey = obey
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._directory / SOCKET

    async def open(self) -> None:
        """Listen. A socket that a dead lab left is replaced.

        Raises:
            OSError: the system has no unix sockets, or the directory takes none.
        """
        with _reachable(self._directory) as path:
            Path(path).unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._answer, path, limit=LINE_LIMIT)
            Path(path).chmod(0o600)

    async def close(self) -> None:
        """Listen no more, send everybody away, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self.path.unlink(missing_ok=True)
        for caller in tuple(self._callers):
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs it as a task"
        self._callers.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                await self._converse(reader, writer)
        finally:
            self._callers.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than LINE_LIMIT
                return
            if not line:
                return
            writer.write(msgspec.json.encode(await self._obeyed(line)) + b"\n")
            await writer.drain()

    async def _obeyed(self, line: bytes) -> Answer:
        try:
            return {"ok": True, **await self._obey(msgspec.json.decode(line, type=Order))}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return {"error": f"no order: {error}"}
        except (MailprobeError, OSError) as error:
            return {"error": str(error)}


def ring(directory: Path, order: Order) -> Answer:
    """Ask a running lab for something, from any thread or process, and give its answer.

    Raises:
        NoLabError: no lab runs in that directory.
        UsageError: it will not, or cannot be asked.
    """
    try:
        with _reachable(directory) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(RING_S)
            channel.connect(path)
            channel.sendall(msgspec.json.encode(order) + b"\n")
            answer = _one_line(channel)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NoLabError(
            f"no lab runs in {directory}; start one with `mailprobe lab up --directory {directory}`"
        ) from None
    except TimeoutError:
        raise UsageError(f"the lab in {directory} does not answer") from None
    except OSError as error:
        raise UsageError(f"the lab in {directory} cannot be asked: {error.strerror or error}") from None
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return answer


def runs_in(directory: Path) -> bool:
    """Tell whether a lab runs in that directory."""
    try:
        ring(directory, Order("status"))
    except UsageError:
        return False
    return True


def _one_line(channel: socket.socket) -> Answer:
    taken = bytearray()
    while not taken.endswith(b"\n"):
        octets = channel.recv(LINE_LIMIT)
        if not octets:
            raise ConnectionError("it hung up")
        taken += octets
    try:
        return msgspec.json.decode(bytes(taken), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConnectionError(f"it answers nonsense: {error}") from None


@contextmanager
def _reachable(directory: Path) -> Iterator[str]:
    """Give the path of the socket in a form that fits into a socket address, however deep the directory lies."""
    path = str(directory.absolute() / SOCKET)
    if len(os.fsencode(path)) <= _PATH_LIMIT or not Path("/proc/self/fd").is_dir():
        yield path
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
