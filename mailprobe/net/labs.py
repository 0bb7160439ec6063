"""Reaching a lab: the same network with another resolver, other trust anchors, another clock and way to the ports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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

    def now(self) -> datetime:
        """The time of day there, which can be ahead of ours."""


class Elsewhere:
    """A lab in another process, known by its lab file."""

    def __init__(self, file: LabFile) -> None:
        self._ports = file.ports
        self.resolver = file.resolver
        self.ca_file = Path(file.ca_file)
        self.internal_networks = file.internal_networks
        self._clock = Path(file.clock) if file.clock else None

    def route(self, address: str, port: int) -> tuple[str, int]:
        """Look the endpoint up; what the lab does not list is where its name says."""
        where, _, number = self._ports.get(f"{address}:{port}", f"{address}:{port}").rpartition(":")
        return where, int(number)

    def now(self) -> datetime:
        """Read by how much its clock is ahead; a file that is not there or holds no number means not at all."""
        ahead = 0.0
        if self._clock is not None:
            try:
                ahead = float(self._clock.read_text(encoding="ascii"))
            except (OSError, ValueError):
                ahead = 0.0
        try:
            return datetime.now(UTC) + timedelta(seconds=ahead)
        except (OverflowError, ValueError):
            return datetime.now(UTC)


def inside(reach: Reach, lab: Reachable) -> Reach:
    """Point a reach at a lab; a resolver and trust anchors that the caller chose stay."""
    return msgspec.structs.replace(
        reach,
        resolver=lab.resolver if reach.resolver == "system" else reach.resolver,
        ca_file=reach.ca_file or lab.ca_file,
        route=lab.route,
        clock=reach.clock or lab.now,
        internal_networks=(*lab.internal_networks, *reach.internal_networks),
    )
