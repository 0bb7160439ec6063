"""The lab's DNS, which the tests of the lookups ask over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailprobe.lab.world import Lab


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running
