"""Reading mail over POP3 or IMAP behind one interface: `Inbox`, which `inbox_at` makes for a place."""

from __future__ import annotations

from mailprobe.mail.login import Login
from mailprobe.mail.reading.imap import ImapInbox
from mailprobe.mail.reading.inbox import LETTER_LIMIT, Deleted, Folder, Inbox, Recognise, holding
from mailprobe.mail.reading.pop3 import Pop3Inbox
from mailprobe.model.conversation import Place
from mailprobe.model.ports import Protocol
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network

__all__ = [
    "LETTER_LIMIT",
    "Deleted",
    "Folder",
    "ImapInbox",
    "Inbox",
    "Pop3Inbox",
    "Recognise",
    "holding",
    "inbox_at",
]


def inbox_at(
    network: Network,
    place: Place,
    login: Login,
    deadline: Deadline,
    *,
    poll_s: float = 5.0,
    letter_limit: int = LETTER_LIMIT,
) -> Inbox:
    """Give the inbox at a place whose service is one of POP3 or IMAP; nothing is connected before its `open`.

    *poll_s* is how long to wait between two looks where the server does not tell by itself that something came, and
    *letter_limit* how many octets a letter may have.
    """
    kind = Pop3Inbox if place.service.protocol is Protocol.POP3 else ImapInbox
    return kind(network, place, login, deadline, poll_s=poll_s, letter_limit=letter_limit)
