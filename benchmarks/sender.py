"""A sender in a process of its own: `python -m benchmarks.sender LOOP ADDRESS PORT RECIPIENT COUNT CONNECTIONS`.

LOOP is ``asyncio`` or ``fast``. The summary goes to stdout as JSON.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from mailprobe.mail.bulk import Load, copies, send_many
from mailprobe.mail.courier import Courier
from mailprobe.model.bulk import BulkSummary
from mailprobe.net.event_loop import run_fast
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.smtp.transaction import Addressee, Parcel

LINE = b"X" * 78 + b"\r\n"


def letter(recipient: str, octets: int) -> Parcel:
    """Give a letter with a body of so many octets, as smtp-source makes them."""
    header = (
        b"From: <sender@sender.lab.test>\r\nTo: <%b>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        b"Message-Id: <benchmark@sender.lab.test>\r\n\r\n" % recipient.encode()
    )
    body = LINE * (octets // len(LINE)) + b"X" * (octets % len(LINE)) + b"\r\n"
    return Parcel(sender="sender@sender.lab.test", recipients=(Addressee(recipient),), data=header + body)


async def send(address: str, port: int, recipient: str, count: int, connections: int) -> BulkSummary:
    """Send to one port over kept connections."""
    network = Network(Reach(connections_per_port=connections))

    async def opened() -> Courier:
        return await Courier.open(network, address, port, host="", starttls="never", deadline=Deadline(20.0))

    parcels = copies(letter(recipient, octets=500), count)
    return await send_many(parcels, [opened], Load(connections=connections))


def main() -> None:
    """Send, and print what came of it."""
    loop, address, port, recipient, count, connections = sys.argv[1:]
    run = run_fast if loop == "fast" else asyncio.run
    summary = run(send(address, int(port), recipient, int(count), int(connections)))
    print(msgspec.json.encode(summary).decode())


if __name__ == "__main__":
    main()
