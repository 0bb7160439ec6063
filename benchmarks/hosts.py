"""Whom the benchmarks ask: real Postfix and Dovecot with a real resolver, and the lab, each for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailprobe.model.ports import WELL_KNOWN
from tests.peers.certificates import CertificateAuthority
from tests.peers.mailhost import MailHost, Variant
from tests.peers.nameserver import NameServer
from tests.peers.servers import postfix
from tests.peers.servers.process import find_program


@contextmanager
def directory() -> Iterator[Path]:
    """Give a directory that daemons under other users can enter."""
    path = Path(tempfile.mkdtemp(prefix="mailprobe-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def why_no_mail_host() -> str | None:
    """Say why a real mail host cannot run here, or None."""
    missing = [name for name in ("dovecot", "nsd", "unbound") if find_program(name) is None]
    return postfix.why_missing() or (f"{' and '.join(missing)} not installed" if missing else None)


@contextmanager
def mail_host() -> Iterator[tuple[MailHost, NameServer]]:
    """Run Postfix and Dovecot on the real seven ports of a loopback address, and a resolver that knows them.

    The real ports, because nmap chooses its scripts by the port.
    """
    with directory() as path:
        ports = {port: port for port in WELL_KNOWN}
        host = MailHost(path / "host", CertificateAuthority(path / "ca"), Variant(), ports)
        names = NameServer(path / "dns")
        try:
            host.start()
            yield host, names
        finally:
            host.stop()
            names.stop()


@contextmanager
def lab(flight_delay_s: float = 0.0) -> Iterator[Path]:
    """Run the lab in another process and give its lab file."""
    with directory() as path:
        file = path / "lab.json"
        argv = (sys.executable, "-m", "benchmarks.lab_server", str(flight_delay_s), str(file))
        root = str(Path(__file__).parents[1])
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=os.environ | {"PYTHONPATH": root},
        ) as server:
            assert server.stdout is not None
            if server.stdout.readline() != b"ready\n":
                raise RuntimeError("the lab did not start")
            yield file
            server.communicate()  # closes its stdin, and it ends
