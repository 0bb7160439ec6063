"""Letters that wait, and eyes for those that have arrived."""

from __future__ import annotations

import imaplib
import socket
import ssl
from pathlib import Path

from mailprobe.lab.post.control import Order
from mailprobe.lab.world import Lab
from tests.lab.post.sites import BOB, RECEIVER, SENDER, TIMEOUT_S, address_of, arrived, letter, stored, submit


def waiting_letters(directory: Path, count: int = 1, part: str = "client") -> Path:
    """Make a lab's directory in which letters wait for a part that is paused."""
    with Lab(directory=directory) as lab:
        lab.order(Order("pause", part=part, site=SENDER))
        for number in range(1, count + 1):
            submit(lab, BOB, data=letter(number))
        lab.rest()
    return directory


def let_go(lab: Lab) -> None:
    """Let what waits go on."""
    for part in ("pickup", "client"):
        lab.order(Order("resume", part=part, site=SENDER))
    lab.rest()


def numbers(lab: Lab, address: str = BOB) -> list[int]:
    """Give the numbers of the letters in a mailbox, each of which must be whole."""
    found = []
    for data in stored(lab, address):
        number = int(arrived(data).partition(b"<")[2].partition(b"@")[0])
        assert arrived(data) == letter(number)
        found.append(number)
    return sorted(found)


def imap(lab: Lab) -> imaplib.IMAP4:
    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            raw = socket.create_connection(lab.route(address_of(lab, f"mx.{RECEIVER}"), 993), TIMEOUT_S)
            context = ssl.create_default_context(cafile=str(lab.ca_file))
            return context.wrap_socket(raw, server_hostname=f"mx.{RECEIVER}")

    return Client("mx")
