"""The letter of a trip: made so that it is known again, and compared with what arrives."""

from __future__ import annotations

import secrets
from datetime import datetime

import msgspec

from mailprobe.mail.addresses import mailbox
from mailprobe.mail.compose import Draft, Letter, compose
from mailprobe.model.trip import Hop
from mailprobe.records import received
from mailprobe.records.header import body_start, values

TOKEN_HEADER = "X-Mailprobe-Token"
TOKEN_PREFIX = "mp-"
SUBJECT = "mailprobe trip"
_SHOWN = 60  # characters of a line that differs

# Each line is one that some server has been seen to change.
_TEXT = """\
mailprobe sent this letter to see whether it arrives, how long that takes, and
whether it is still the same. It deletes the letter itself; you may do so, too.

.
..a dot at the start of a line
From is a word that mailboxes in one file put a > before
two spaces at the end of the line  
\ta tab at the start, 120 characters, and a plain end:
------------------------------------------------------------------------------------------------------------------------

{token}
"""  # noqa: W291 - the spaces are meant


class TripLetter(msgspec.Struct, frozen=True):
    """A letter and the token that it is known by."""

    token: str
    letter: Letter

    @property
    def body(self) -> bytes:
        """What stands below the header."""
        return body_of(self.letter.octets)


def write_letter(sender: str, recipient: str, at: datetime) -> TripLetter:
    """Write a letter that no other one is like.

    Raises:
        UsageError: the sender or the recipient is not one address.
    """
    token = TOKEN_PREFIX + secrets.token_hex(12)
    domain = mailbox(sender, "the sender").domain
    to = mailbox(recipient, "the recipient").address
    named = domain if domain.isascii() and not domain.startswith("[") else "mailprobe.invalid"
    draft = Draft(
        sender=sender,
        to=(to,),
        subject=f"{SUBJECT} {token}",
        text=_TEXT.format(token=token),
        # No vacation notice shall answer it (RFC 3834 §5).
        headers=((TOKEN_HEADER, token), ("Auto-Submitted", "auto-generated")),
        date=at,
        message_id=f"<{token}@{named}>",
    )
    return TripLetter(token, compose(draft))


def token_of(octets: bytes) -> str:
    """Give the token in the header of a letter, empty when it is none of ours."""
    found = values(octets, TOKEN_HEADER)
    return found[0] if found and found[0].startswith(TOKEN_PREFIX) else ""


def body_of(octets: bytes) -> bytes:
    """Give what stands below the header."""
    return octets[body_start(octets) :]


def difference(sent: bytes, arrived: bytes) -> str:
    """Name the first line in which two bodies differ, empty when they are the same.

    Empty lines at the end do not count, as in a DKIM signature (RFC 6376 §3.4.3): a server may have to end the last
    line. Nor do bare line ends: they are how a letter is kept in a file.
    """
    before, after = _lines(sent), _lines(arrived)
    for number, (one, other) in enumerate(zip(before, after, strict=False), 1):
        if one != other:
            return f"line {number} of the body was {_shown(one)} and is {_shown(other)}"
    if len(before) > len(after):
        return f"the body ends before line {len(after) + 1}, {_shown(before[len(after)])}"
    if len(after) > len(before):
        return f"line {len(before) + 1} was added to the body: {_shown(after[len(before)])}"
    return ""


def _lines(body: bytes) -> list[bytes]:
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _shown(line: bytes) -> str:
    text = line.decode("latin-1")
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def hops_of(octets: bytes, sent_at: datetime) -> tuple[Hop, ...]:
    """Read the road of a letter, the first hop's delay counted from the sending."""
    hops = []
    before: datetime | None = sent_at.replace(microsecond=0)  # dates in Received fields have no fractions
    for found in received.hops(octets):
        delay = (found.at - before).total_seconds() if found.at is not None and before is not None else None
        hops.append(
            Hop(
                by=found.by,
                client=found.helo or found.reverse_name,
                client_address=found.address,
                protocol=found.protocol,
                tls=found.tls,
                queue_id=found.queue_id,
                at=found.at,
                delay_s=delay,
            )
        )
        before = found.at or before
    return tuple(hops)
