"""NSD, an authoritative name server, on a loopback port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.peers.servers.process import Process, find_program, free_port

ADDRESS = "127.0.0.1"

_CONFIG = """
server:
    ip-address: {address}@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zone.list"
    database: ""
    rrl-ratelimit: 0
    hide-version: no
remote-control:
    control-enable: no
"""

_ZONE = """
zone:
    name: "{name}"
    zonefile: "{file}"
"""


class Nsd:
    """NSD serving *zones* (zone name to zone file text) from files in *directory*."""

    def __init__(self, directory: Path, zones: Mapping[str, str]) -> None:
        directory.mkdir(parents=True)
        self.port = free_port(ADDRESS)
        config = _CONFIG.format(address=ADDRESS, port=self.port, directory=directory)
        for name, text in zones.items():
            file = f"{name.rstrip('.')}.zone"
            (directory / file).write_text(text, encoding="ascii")
            config += _ZONE.format(name=name.rstrip("."), file=file)
        (directory / "nsd.conf").write_text(config, encoding="utf-8")
        argv = [find_program("nsd") or "nsd", "-d", "-c", str(directory / "nsd.conf")]
        self.process = Process(argv, directory / "nsd.log", [(ADDRESS, self.port)])

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
