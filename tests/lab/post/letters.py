"""Letters for the tests of a post office."""

from __future__ import annotations

from datetime import UTC, datetime

from mailprobe.lab.post.spool import Spooled, new_queue_id
from mailprobe.protocols.mailstore import Asked, Envelope

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)
DATA = b"From: a@a.test\r\nMessage-ID: <1@a.test>\r\n\r\nhello\r\n"


def envelope(*recipients: str, sender: str = "a@a.test", asked: tuple[Asked, ...] = ()) -> Envelope:
    return Envelope(
        sender=sender,
        recipients=recipients or ("bob@b.test",),
        client_name="c.test",
        server_name="mx.b.test",
        protocol="ESMTP",
        asked=asked,
    )


def spooled(*recipients: str, data: bytes = DATA, at: datetime = NOW, queue_id: str = "", about: str = "") -> Spooled:
    return Spooled(
        queue_id=queue_id or new_queue_id(),
        envelope=envelope(*recipients),
        data=data,
        origin="network",
        arrived=at,
        about=about,
    )
