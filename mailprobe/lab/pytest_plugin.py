"""The pytest plugin: hands the lab to anybody's tests, as the fixture ``mail_lab``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mailprobe.lab.world import Lab


@pytest.fixture(scope="session")
def mail_lab() -> Iterator[Lab]:
    """Run a lab for the whole session; ports are ephemeral, so that sessions can run side by side.

    ``mail_lab.route("127.53.1.1", 25)`` gives where a port really listens, ``mail_lab.resolver`` the DNS and
    ``mail_lab.ca_file`` the root certificate. Letters between ``sender.lab.test`` and ``receiver.lab.test`` go through
    real spools and queues below ``mail_lab.mail_directory``: ``mail_lab.rest()`` waits until nothing is left to do, and
    ``mail_lab.order`` pauses parts of it or moves the clock.
    """
    from mailprobe.lab.world import Lab

    with Lab() as lab:
        yield lab
