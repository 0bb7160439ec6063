"""A server from Debian as a child process: started in the foreground, waited for, ended by its pid."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
POLL_S = 0.01

# Debian keeps daemons in sbin, which is not on everybody's PATH.
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

# Below the kernel's usual range for outgoing connections (32768 to 60999), so that none of them can take a port
# between its choice and the server's bind.
_PORTS = range(20000, 32768)
_given: set[int] = set()


class ServerError(Exception):
    """A server did not start; the text holds what it logged."""


class PortTaken(ServerError):  # noqa: N818 - names what happened
    """Somebody else took one of the ports meanwhile."""


class Startable(Protocol):
    """What `on_free_ports` can start."""

    def start(self) -> None:
        """Return when the server answers."""

    def stop(self) -> None:
        """End it and everything it started."""


StartableT = TypeVar("StartableT", bound=Startable)


def find_program(name: str) -> str | None:
    """Give the path of a program, daemons' folders included, or None."""
    return shutil.which(name, path=_SEARCH)


def free_port(address: str) -> int:
    """Give a port that is free for TCP and UDP and that this process has not given before."""
    for _ in range(1000):
        port = random.SystemRandom().choice(_PORTS)
        if port not in _given and _is_free(address, port):
            _given.add(port)
            return port
    raise ServerError(f"no free port found on {address}")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as candidate:
            try:
                candidate.bind((address, port))
            except OSError:
                return False
    return True


def on_free_ports(make: Callable[[], StartableT]) -> StartableT:
    """Make and start a server, again with other ports when another process was quicker."""
    for _ in range(4):
        server = make()
        try:
            server.start()
        except PortTaken:
            server.stop()
        except BaseException:
            server.stop()
            raise
        else:
            return server
    raise PortTaken("four times in a row another process took a port")


class Process:
    """One server in the foreground in a session of its own, so that whatever it starts can be found again.

    *endpoints* are the (address, port) pairs that accept TCP connections once the server is up; *log* receives
    what it prints. `setpriv --pdeathsig` ends the server when the test process is killed; it does not hold for
    one that changes its user meanwhile.
    """

    def __init__(self, argv: Sequence[str], log: Path, endpoints: Sequence[tuple[str, int]]) -> None:
        self._argv = tuple(argv)
        self._log = log
        self._endpoints = tuple(endpoints)
        self._child: subprocess.Popen[bytes] | None = None
        self.started_in_s = 0.0

    @property
    def pid(self) -> int | None:
        """The server's pid, also after its end; None before the start."""
        return None if self._child is None else self._child.pid

    @property
    def log(self) -> str:
        """What the server printed so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start the server and return when every endpoint accepts a connection.

        Raises:
            PortTaken: another process has one of the ports.
            ServerError: it ended, or was not ready within the limit.
        """
        begin = time.monotonic()
        setpriv = find_program("setpriv")
        guard = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        with self._log.open("ab") as out:
            self._child = subprocess.Popen(
                [*guard, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = begin + START_LIMIT_S
        for endpoint in self._endpoints:
            self._await(endpoint, deadline)
        self.started_in_s = time.monotonic() - begin

    def _await(self, endpoint: tuple[str, int], deadline: float) -> None:
        while not (self._listens_on(endpoint) and _accepts(endpoint)):
            self._still_running()
            if time.monotonic() > deadline:
                raise self._error(f"not ready on {endpoint[0]}:{endpoint[1]}")
            time.sleep(POLL_S)

    def _listens_on(self, endpoint: tuple[str, int]) -> bool:
        """Tell whether the port is ours: a neighbour that took it would accept connections just as well."""
        inode = _listening_inode(endpoint)
        return inode is not None and any(inode in _socket_inodes(pid) for pid in self.members())

    def _still_running(self) -> None:
        assert self._child is not None
        status = self._child.poll()
        if status is not None:
            raise self._error(f"ended with status {status}")

    def _error(self, what: str) -> ServerError:
        kind = PortTaken if "address already in use" in self.log.lower() else ServerError
        return kind(f"{' '.join(self._argv)}: {what}; it printed:\n{self.log[-4000:]}")

    def terminate(self) -> None:
        """Ask the server to end, without waiting for it."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def stop(self) -> None:
        """End the server and whatever it left behind; return when nothing of it runs any more."""
        self.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        while self.members():
            if time.monotonic() > deadline:
                for pid in self.members():
                    _kill(pid)
            time.sleep(POLL_S)
        if self._child is not None:
            self._child.wait()

    def members(self) -> list[int]:
        """Give the pids of the server and of everything it started that still runs."""
        if self._child is None:
            return []
        return [pid for pid in _pids() if _session_of(pid) == self._child.pid]


def _accepts(endpoint: tuple[str, int]) -> bool:
    try:
        socket.create_connection(endpoint, timeout=1).close()
    except OSError:
        return False
    return True


def _listening_inode(endpoint: tuple[str, int]) -> str | None:
    """Give the inode of the socket that listens there, from the kernel's table (proc(5), /proc/net/tcp)."""
    address = int.from_bytes(socket.inet_aton(endpoint[0]), sys.byteorder)
    local = f"{address:08X}:{endpoint[1]:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return next((row[9] for row in rows if row[1] == local and row[3] == "0A"), None)


def _socket_inodes(pid: int) -> set[str]:
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - no path inside
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session_of(pid: int) -> int | None:
    """Give a process's session id (proc(5), stat field 6), None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, session = fields[0], int(fields[3])
    return None if state in "ZX" else session
