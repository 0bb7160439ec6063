"""A letter that is ready: taken as it is, what is odd in it said, and changed only where that is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

import msgspec

from mailprobe.mail.addresses import Mailbox, mailbox, mailboxes
from mailprobe.mail.compose import Letter, new_message_id
from mailprobe.mail.headers import LINE_LIMIT, address_field
from mailprobe.model.errors import UsageError
from mailprobe.records.header import Field, body_start, fields

_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_ANY_END = re.compile(rb"\r\n|\r|\n")
# What some servers take for the end of a letter, and what comes behind it for commands.
_FALSE_END = re.compile(rb"(?:(?<!\r)\n|\r(?!\n))\.(?:\r\n|\r|\n)|\r\n\.(?:\r(?!\n)|\n)")
_OVERLONG = re.compile(rb"[^\r\n]{%d,}" % (LINE_LIMIT + 1))


class LineEnds(StrEnum):
    """What is done to the line ends of a ready letter."""

    AUTO = "auto"  # those of a file with LF and nothing else become CRLF; anything else stays
    CRLF = "crlf"  # every CR and LF becomes CRLF
    KEEP = "keep"  # nothing


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """How a ready letter is treated.

    *strict* refuses what RFC 5322 forbids instead of noting it. *keep_bcc* leaves Bcc fields in. *complete* adds From,
    Date and Message-ID where they are missing.
    """

    line_ends: LineEnds = LineEnds.AUTO
    strict: bool = False
    keep_bcc: bool = False
    complete: bool = False


def ready(
    octets: bytes,
    *,
    sender: str | None,
    recipients: Sequence[str],
    date: datetime,
    handling: Handling | None = None,
) -> Letter:
    """Take a letter as it is. Without a *sender* its From is the envelope's, without *recipients* its To, Cc and Bcc.

    Raises:
        UsageError: nobody to send it to or from; with *strict*, something that RFC 5322 forbids.
    """
    handling = handling or Handling()
    notes: list[str] = []
    octets = _without_mbox_line(octets, notes)
    octets = _line_ends(octets, handling.line_ends, notes)
    found = list(fields(octets))
    author = _author(sender, found)
    everybody = mailboxes(recipients, "the recipients") if recipients else _named(found)
    if not everybody:
        raise UsageError("nobody to send it to: the letter has no To, Cc or Bcc; name recipients with --to")
    if not handling.keep_bcc:
        octets = _without_bcc(octets, found, notes)
    if handling.complete:
        octets = _completed(octets, found, author, date, notes)
    _look(octets, notes, strict=handling.strict)
    envelope = (*((author,) if author else ()), *everybody)
    return Letter(
        octets=octets,
        sender=author.address if author else "",
        recipients=tuple(dict.fromkeys(box.address for box in everybody)),
        message_id=next((field.value for field in fields(octets) if field.has_name("Message-ID")), ""),
        needs_8bit=not octets.isascii(),
        needs_smtputf8=not octets[: body_start(octets)].isascii() or any(box.needs_smtputf8 for box in envelope),
        notes=tuple(notes),
    )


# -- who -------------------------------------------------------------------------------------------------------


def _author(sender: str | None, found: list[Field]) -> Mailbox | None:
    if sender is not None:
        return None if sender.strip() in {"", "<>"} else mailbox(sender, "the sender")
    for name in ("Sender", "From"):
        for field in found:
            if field.has_name(name):
                return _from_header([field])[0]
    raise UsageError("nobody to send it from: the letter has no From; name a sender with --from")


def _named(found: list[Field]) -> tuple[Mailbox, ...]:
    return _from_header([field for field in found if field.name.lower() in {"to", "cc", "bcc"} and field.value])


def _from_header(found: list[Field]) -> tuple[Mailbox, ...]:
    boxes: list[Mailbox] = []
    for field in found:
        # A group such as "undisclosed-recipients:;" names nobody.
        if not field.value.rstrip().endswith(":;"):
            text = field.value.encode("latin-1").decode("utf-8", "replace")
            boxes += mailboxes([text], f"the {field.name} field of the letter")
    return tuple(boxes)


# -- what is changed -------------------------------------------------------------------------------------------


def _without_mbox_line(octets: bytes, notes: list[str]) -> bytes:
    if not octets.startswith(b"From "):
        return octets
    notes.append("the line 'From ...' at the top, which belongs to an mbox file, was left out")
    return octets[octets.find(b"\n") + 1 :] if b"\n" in octets else b""


def _line_ends(octets: bytes, wish: LineEnds, notes: list[str]) -> bytes:
    if wish is LineEnds.KEEP:
        return octets
    lf_only = b"\n" in octets and b"\r" not in octets
    if lf_only or wish is LineEnds.CRLF:
        changed = octets.replace(b"\n", b"\r\n") if lf_only else _ANY_END.sub(b"\r\n", octets)
        if changed != octets:
            notes.append("line ends were made CRLF, as mail has them")
        return changed
    return octets


def _without_bcc(octets: bytes, found: list[Field], notes: list[str]) -> bytes:
    hidden = [field for field in found if field.name.lower() in {"bcc", "resent-bcc"}]
    for field in reversed(hidden):
        octets = octets[: field.start] + octets[field.end :]
    if hidden:
        notes.append("the Bcc field was left out, as its recipients are nobody else's affair")
    return octets


def _completed(octets: bytes, found: list[Field], author: Mailbox | None, date: datetime, notes: list[str]) -> bytes:
    missing = {
        "From": address_field("From", [author]) if author else b"",
        "Date": b"Date: %b\r\n" % format_datetime(date).encode(),
        "Message-ID": b"Message-ID: %b\r\n" % new_message_id(author, date).encode(),
    }
    added = {name: field for name, field in missing.items() if field and not any(each.has_name(name) for each in found)}
    if not added:
        return octets
    notes.append(f"added: {', '.join(added)}")
    # A text without a header is a body.
    between = b"" if any(field.name for field in found) or octets.startswith((b"\r\n", b"\n")) else b"\r\n"
    return b"".join((*added.values(), between, octets))


# -- what is odd -----------------------------------------------------------------------------------------------


def _look(octets: bytes, notes: list[str], *, strict: bool) -> None:
    odd = _oddities(octets)
    if odd and strict:
        raise UsageError(f"the letter breaks RFC 5322: {'; '.join(odd)}")
    notes += odd


def _oddities(octets: bytes) -> list[str]:
    found = []
    overlong = _OVERLONG.findall(octets)
    if overlong:
        longest = max(map(len, overlong))
        found.append(
            f"{_lines(len(overlong))} of more than {LINE_LIMIT} octets, the longest has {longest}; "
            "servers may break or refuse them (RFC 5322 §2.1.1)"
        )
    for pattern, name in ((_BARE_LF, "LF"), (_BARE_CR, "CR")):
        if count := len(pattern.findall(octets)):
            found.append(f"{count} bare {name}, which servers may refuse or change (RFC 5321 §2.3.8)")
    if _FALSE_END.search(octets):
        found.append("a dot between bare line ends, which some servers take for the end of the letter")
    if b"\0" in octets:
        found.append("NUL octets, which mail must not have (RFC 5322 §2.3)")
    return found


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
