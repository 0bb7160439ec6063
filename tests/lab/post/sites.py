"""Clients and eyes for the tests of post offices: smtplib hands letters over, and the mailboxes are looked into."""

from __future__ import annotations

import email
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

import dns.message
import dns.query

from mailprobe.lab.post.journal import trace
from mailprobe.lab.world import Lab
from mailprobe.model.road import RoadEvent, What

SENDER, RECEIVER = "sender.lab.test", "receiver.lab.test"
ALICE, BOB, CAROL = f"alice@{SENDER}", f"bob@{RECEIVER}", f"carol@{RECEIVER}"
TIMEOUT_S = 20


def address_of(lab: Lab, host: str) -> str:
    where, _, port = lab.resolver.rpartition(":")
    reply = dns.query.udp(dns.message.make_query(host, "A"), where, port=int(port), timeout=TIMEOUT_S)
    return str(reply.answer[-1][0])


def letter(number: int = 1, body: bytes = b"Hello\r\n", fields: bytes = b"") -> bytes:
    return b"Message-ID: <%d@test>\r\nFrom: a@b.test\r\nDate: Mon, 4 Mar 2024 05:06:07 +0000\r\n%b\r\n%b" % (
        number,
        fields,
        body,
    )


@contextmanager
def connected(lab: Lab, host: str, port: int) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(timeout=TIMEOUT_S) as client:
        client.connect(*lab.route(address_of(lab, host), port))
        client._host = host  # type: ignore[attr-defined]  # the name that starttls() verifies
        client.ehlo("client.test")
        yield client


def submit(
    lab: Lab,
    *recipients: str,
    data: bytes | None = None,
    sender: str = ALICE,
    user: str = "alice",
    site: str = SENDER,
    options: Sequence[str] = (),
    asked: Sequence[str] = (),
) -> None:
    """Hand a letter over as a user's mail program does."""
    with connected(lab, f"mx.{site}", 587) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))
        client.login(user, "secret")
        assert client.sendmail(sender, recipients or (BOB,), letter() if data is None else data, options, asked) == {}


def relay(
    lab: Lab, *recipients: str, data: bytes | None = None, sender: str = "eve@far.test", site: str = RECEIVER
) -> None:
    """Hand a letter over as another server does."""
    with connected(lab, f"mx.{site}", 25) as client:
        assert client.sendmail(sender, recipients or (BOB,), letter() if data is None else data) == {}


def stored(lab: Lab, address: str, folder: str = "") -> list[bytes]:
    """Give the letters in a mailbox, oldest first."""
    user, _, site = address.partition("@")
    path = lab.mail_directory / site / "mail" / user / folder
    return [file.read_bytes() for file in sorted(path.glob("new/*")) + sorted(path.glob("cur/*"))]


def arrived(data: bytes) -> bytes:
    """Give a letter as it was before the post offices put their fields in front of it."""
    return data[data.index(b"Message-ID:") :]


def events(lab: Lab, number: int = 1) -> list[RoadEvent]:
    return trace(lab.mail_directory, f"{number}@test")


def happened(lab: Lab, number: int = 1) -> list[What]:
    return [event.what for event in events(lab, number)]


def files_in(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def report_in(data: bytes) -> dict[str, Message]:
    """Take a delivery report apart: the letter itself, the fields about what it is about, and about the recipient."""
    read = email.message_from_bytes(data)
    assert read.get_content_type() == "multipart/report"
    status = _parts(_parts(read)[1])
    return {"letter": read, "about": status[0], "recipient": status[1]}


def _parts(message: Message) -> list[Message]:
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]
