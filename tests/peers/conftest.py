"""Real servers on loopback for the tests in this folder.

- ``mail_host``: a factory; ``mail_host()`` gives a healthy `MailHost`, ``mail_host(certificate=Kind.EXPIRED)`` and
  so on one of its variants (`Variant` lists them). A host starts at the first request for its variant and serves
  every later test of the same process.
- ``name_server``: a `NameServer`, NSD behind Unbound; its docstring lists the zones.
- ``resolver``: that Unbound as ``127.0.0.1:PORT``.
- ``certificate_authority``: who issued the hosts' certificates.
- ``server_directory``: a folder that daemons under other users can enter.

A server that cannot run here skips the test and says why; with ``MAILPROBE_REQUIRE_PEERS=1`` that is an error.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import pytest

from tests.peers.availability import require_program, unavailable
from tests.peers.certificates import CertificateAuthority
from tests.peers.mailhost import MailHost, MailHostFactory, Variant, VariantOptions
from tests.peers.nameserver import NameServer
from tests.peers.servers import postfix
from tests.peers.servers.process import on_free_ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that ``-m "not peers"`` leaves it out."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.peers)


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    # Not pytest's own: that is closed to other users, and its long path does not fit a Unix socket's name.
    directory = Path(tempfile.mkdtemp(prefix="mailprobe-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def certificate_authority(server_directory: Path) -> CertificateAuthority:
    return CertificateAuthority(server_directory / "ca")


@pytest.fixture(scope="session")
def mail_host(server_directory: Path, certificate_authority: CertificateAuthority) -> Iterator[MailHostFactory]:
    reason = postfix.why_missing()
    if reason is not None:
        unavailable(reason)
    require_program("dovecot")
    running: dict[Variant, MailHost] = {}
    tries = 0

    def new(variant: Variant) -> MailHost:
        nonlocal tries
        tries += 1
        return MailHost(server_directory / f"host-{tries}", certificate_authority, variant)

    def give(**options: Unpack[VariantOptions]) -> MailHost:
        variant = Variant(**options)
        if variant not in running:
            running[variant] = on_free_ports(lambda: new(variant))
        return running[variant]

    yield give
    for host in running.values():
        host.terminate()
    for host in running.values():
        host.stop()


@pytest.fixture(scope="session")
def name_server(server_directory: Path) -> Iterator[NameServer]:
    require_program("nsd")
    require_program("unbound")
    server = NameServer(server_directory / "dns")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def resolver(name_server: NameServer) -> str:
    return name_server.resolver
