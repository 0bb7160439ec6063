"""What happens to a test whose server or client is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.peers.servers.process import find_program


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``MAILPROBE_REQUIRE_PEERS=1`` says that the peers must be there."""
    if os.environ.get("MAILPROBE_REQUIRE_PEERS") == "1":
        pytest.fail(f"MAILPROBE_REQUIRE_PEERS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require_program(name: str) -> str:
    """Give a program's path, or skip the test that asked."""
    path = find_program(name)
    if path is None:
        unavailable(f"{name} is not installed")
    return path
