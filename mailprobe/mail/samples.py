"""Letters made to be difficult, or to be caught: what a server does with them tells something about it.

The two that a scanner must find are put together when they are asked for, so that none finds this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import format_datetime

import msgspec

from mailprobe.mail.addresses import mailboxes
from mailprobe.mail.compose import Attachment, Draft, Letter, compose
from mailprobe.mail.headers import LINE_LIMIT, address_field
from mailprobe.mail.ready import Handling, LineEnds, ready
from mailprobe.model.errors import UsageError


class Sample(msgspec.Struct, frozen=True):
    """A kind of letter: its name, what it is for, and how it is made from its addresses and date."""

    name: str
    purpose: str
    make: Callable[[Envelope], Letter]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes a sample to whom, and when; an empty *message_id* makes one."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    date: datetime
    message_id: str = ""


def sample(name: str, envelope: Envelope) -> Letter:
    """Write the sample of that name.

    Raises:
        UsageError: there is none, or an address is none.
    """
    if name not in SAMPLES:
        raise UsageError(f"there is no sample {name!r}; the samples are {', '.join(SAMPLES)}")
    return SAMPLES[name].make(envelope)


def eicar() -> bytes:
    """Give the file that every scanner for viruses must find, and that harms nobody: 68 octets, as EICAR defines it."""
    return b"".join((b"X5O!P%@AP[4", b"\\PZX54(P^)7CC)7}$", b"EICAR-STANDARD-", b"ANTIVIRUS-TEST-", b"FILE!$H+H*"))


def gtube() -> str:
    """Give the line that every filter for spam must find (GTUBE)."""
    return "".join(("XJS*C4JDBQADN1.NSBN3*2ID", "NEN*GTUBE-STANDARD-", "ANTI-UBE-TEST-EMAIL*C.34X"))


# -- composed --------------------------------------------------------------------------------------------------


def _composed(
    envelope: Envelope, subject: str, text: str, attachments: Sequence[Attachment] = (), *, smtputf8: bool = False
) -> Letter:
    return compose(
        Draft(
            sender=envelope.sender,
            to=envelope.to,
            cc=envelope.cc,
            bcc=envelope.bcc,
            subject=subject,
            text=text,
            attachments=tuple(attachments),
            date=envelope.date,
            message_id=envelope.message_id,
            smtputf8=smtputf8,
        )
    )


def _eicar(envelope: Envelope) -> Letter:
    file = Attachment("eicar.com", "application/octet-stream", eicar())
    text = "Attached is the EICAR test file, which does no harm. A scanner for viruses refuses this letter.\n"
    return _composed(envelope, "mailprobe sample: EICAR", text, [file])


def _gtube(envelope: Envelope) -> Letter:
    text = f"This is the GTUBE, the test for filters of unsolicited mail:\n\n{gtube()}\n"
    return _composed(envelope, "mailprobe sample: GTUBE", text)


def _smtputf8(envelope: Envelope) -> Letter:
    text = "The subject above stands there in UTF-8, which takes SMTPUTF8 all the way (RFC 6531).\n"
    return _composed(envelope, "mailprobe sample: Grüße, приветствие, 挨拶", text, smtputf8=True)


# -- ready, to the octet ---------------------------------------------------------------------------------------


def _plain(envelope: Envelope, subject: str, body: bytes, encoding: str = "7bit", charset: str = "us-ascii") -> Letter:
    """Put a body below an ordinary header and change nothing of it."""
    to, cc = mailboxes(envelope.to, "To"), mailboxes(envelope.cc, "Cc")
    bcc = mailboxes(envelope.bcc, "Bcc")
    if not (*to, *cc, *bcc):
        raise UsageError("a letter needs a recipient")
    header = [
        f"Subject: mailprobe sample: {subject}\r\nDate: {format_datetime(envelope.date)}\r\n".encode(),
        address_field("To", to) if to else b"" if cc else b"To: undisclosed-recipients:;\r\n",
        address_field("Cc", cc) if cc else b"",
        f"Message-ID: {envelope.message_id}\r\n".encode() if envelope.message_id else b"",
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n".encode(),
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode(),
    ]
    return ready(
        b"".join((*header, body)),
        sender=envelope.sender,
        recipients=(*envelope.to, *envelope.cc, *envelope.bcc),
        date=envelope.date,
        handling=Handling(line_ends=LineEnds.KEEP, complete=True),
    )


def _line(length: int) -> Callable[[Envelope], Letter]:
    def make(envelope: Envelope) -> Letter:
        digits = (b"0123456789" * (length // 10 + 1))[:length]
        body = b"The next line has %d octets:\r\n%b\r\nThe last line.\r\n" % (length, digits)
        return _plain(envelope, f"a line of {length} octets", body)

    return make


def _dots(envelope: Envelope) -> Letter:
    lines = (b".", b"..", b"...", b".hidden", b". with a space", b"", b".", b"in the. middle.", b".QUIT", b".")
    return _plain(envelope, "dots", b"\r\n".join((b"Dots begin the lines:", *lines, b"")))


def _bare(end: bytes, name: str) -> Callable[[Envelope], Letter]:
    def make(envelope: Envelope) -> Letter:
        body = b"This line ends with CRLF.\r\nThis one with a bare %b.%bAnd this one with CRLF.\r\n" % (
            name.encode(),
            end,
        )
        return _plain(envelope, f"bare {name}", body)

    return make


def _eight_bit(envelope: Envelope) -> Letter:
    body = "Grüße, naïve café, 100 €, Ελληνικά, русский, 日本語, 🙂\r\n".encode()
    return _plain(envelope, "8-bit text", body, "8bit", "utf-8")


def _binary(envelope: Envelope) -> Letter:
    octets = bytes(octet for octet in range(1, 256) if octet not in b"\r\n")
    return _plain(envelope, "every octet", b"Every octet but NUL, CR and LF:\r\n" + octets + b"\r\n", "8bit", "latin1")


SAMPLES = {
    each.name: each
    for each in (
        Sample("eicar", "a file that scanners for viruses must find, harmless", _eicar),
        Sample("gtube", "a line that filters for spam must find", _gtube),
        Sample("line-998", "a line as long as RFC 5322 allows", _line(LINE_LIMIT)),
        Sample("line-999", "a line one octet longer than RFC 5322 allows", _line(LINE_LIMIT + 1)),
        Sample("dots", "lines that begin with dots, which the protocol doubles", _dots),
        Sample("bare-lf", "a line end without CR, which servers refuse or change", _bare(b"\n", "LF")),
        Sample("bare-cr", "a line end without LF, which servers refuse or change", _bare(b"\r", "CR")),
        Sample("8bit", "text in UTF-8 that is not encoded, for 8BITMIME", _eight_bit),
        Sample("binary", "every octet but NUL and line ends, not encoded", _binary),
        Sample("smtputf8", "a subject in UTF-8, for SMTPUTF8", _smtputf8),
    )
}
