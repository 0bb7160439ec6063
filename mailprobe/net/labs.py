"""Reaching a lab: the same network with another resolver, other trust anchors and another way to the ports."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from mailprobe.model.labfile import LabFile
from mailprobe.net.network import Reach


class Reachable(Protocol):
    """What a lab tells about itself, whether it runs in this process or elsewhere."""

    @property
    def resolver(self) -> str:
        """Where its DNS listens, as ``address:port``."""

    @property
    def ca_file(self) -> Path:
        """A PEM file with its root certificate."""

    @property
    def internal_networks(self) -> tuple[str, ...]:
        """CIDR ranges whose addresses are no mistake there."""

    def route(self, address: str, port: int) -> tuple[str, int]:
        """Give where an address and port really listen."""


class Elsewhere:
    """A lab in another process, known by its lab file."""

    def __init__(self, file: LabFile) -> None:
        self._ports = file.ports
        self.resolver = file.resolver
        self.ca_file = Path(file.ca_file)
        self.internal_networks = file.internal_networks

    def route(self, address: str, port: int) -> tuple[str, int]:
        """Look the endpoint up; what the lab does not list is where its name says."""
        where, _, number = self._ports.get(f"{address}:{port}", f"{address}:{port}").rpartition(":")
        return where, int(number)


def inside(reach: Reach, lab: Reachable) -> Reach:
    """Point a reach at a lab; a resolver and trust anchors that the caller chose stay."""
    return msgspec.structs.replace(
        reach,
        resolver=lab.resolver if reach.resolver == "system" else reach.resolver,
        ca_file=reach.ca_file or lab.ca_file,
        route=lab.route,
        internal_networks=(*lab.internal_networks, *reach.internal_networks),
    )
