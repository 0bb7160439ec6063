"""Debian's own clients, led to the hosts of a lab."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable

import pytest

from mailprobe.lab.world import Lab

LIMIT_S = 30
HOST = "good.lab.test"


def run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def nslookup(lab: Lab, kind: str, name: str) -> str:
    address, _, port = lab.resolver.partition(":")
    return run("nslookup", f"-port={port}", f"-q={kind}", name, address).stdout


def place(lab: Lab, port: int, host: str = HOST) -> tuple[str, int]:
    """Ask the lab's DNS, by nslookup, for the host's address, and give where that port of it listens."""
    address = nslookup(lab, "A", host).rsplit("Address: ", 1)[1].strip()
    return lab.route(address, port)


def curl(
    lab: Lab, scheme: str, port: int, path: str, *options: str, given: str = "", host: str = HOST, user: str = "bob"
) -> str:
    """Run curl on the host by its name, which its certificate must bear."""
    address, actual = place(lab, port, host)
    done = run(
        "curl", "--silent", "--show-error", "--noproxy", "*", "--ssl-reqd", "--cacert", str(lab.ca_file),
        "--resolve", f"{host}:{actual}:{address}", "--user", f"{user}:secret", f"{scheme}://{host}:{actual}/{path}",
        *options, given=given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def swaks(lab: Lab, host: str, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    address, actual = place(lab, port, host)
    return run(
        "swaks", "--server", address, "--port", str(actual), "--helo", "client.test", "--from", f"alice@{host}",
        "--to", f"bob@{host}", "--tls-verify", "--tls-ca-path", str(lab.ca_file), *options,
    )  # fmt: skip


def together(*actions: Callable[[], None]) -> None:
    """Run actions in a thread each; what one raises is raised."""
    errors: list[BaseException] = []

    def guarded(action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
