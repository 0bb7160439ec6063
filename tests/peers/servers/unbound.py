"""Unbound, a validating resolver, on a loopback port; it asks one authoritative server and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.peers.servers.process import Process, find_program, free_port

ADDRESS = "127.0.0.1"

# Unbound answers test. and 127.in-addr.arpa itself unless told not to (RFC 6303, RFC 6761). The stub for the root
# keeps every other name on this machine: the authoritative server refuses it, which becomes SERVFAIL here. Each zone
# has a stub of its own, for once Unbound has met a zone's NS records it follows those where no stub is as specific.
_CONFIG = """
server:
    interface: {address}@{port}
    so-reuseport: no
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{directory}"
    pidfile: "{directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    verbosity: 1
    do-ip6: no
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    local-zone: "test." nodefault
    local-zone: "127.in-addr.arpa." nodefault
    module-config: "validator iterator"
    trust-anchor-signaling: no
    ede: yes
    rrset-roundrobin: no
    val-log-level: 1
{anchors}
remote-control:
    control-enable: no
{stubs}
"""

_STUB = """
stub-zone:
    name: "{name}"
    stub-addr: {authority}
"""


class Unbound:
    """Unbound in front of *authority* (``address@port``), which serves *zones*.

    *anchors* are DNSKEY records in presentation form; below them answers are validated, elsewhere they count as
    insecure.
    """

    def __init__(self, directory: Path, authority: str, zones: Iterable[str], anchors: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True)
        self.port = free_port(ADDRESS)
        names = [*(f"{zone}." for zone in zones), "."]
        config = _CONFIG.format(
            address=ADDRESS,
            port=self.port,
            directory=directory,
            anchors="\n".join(f'    trust-anchor: "{anchor}"' for anchor in anchors),
            stubs="".join(_STUB.format(name=name, authority=authority) for name in names),
        )
        path = directory / "unbound.conf"
        path.write_text(config, encoding="utf-8")
        argv = [find_program("unbound") or "unbound", "-d", "-c", str(path)]
        self.process = Process(argv, directory / "unbound.log", [(ADDRESS, self.port)])

    @property
    def endpoint(self) -> str:
        """Where it answers, as ``address:port``."""
        return f"{ADDRESS}:{self.port}"

    def start(self) -> None:
        """Return when it accepts connections."""
        self.process.start()

    def stop(self) -> None:
        """End it."""
        self.process.stop()
