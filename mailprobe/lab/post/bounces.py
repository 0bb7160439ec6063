"""Delivery reports: what a post office writes to the sender of a letter (RFC 3464, RFC 6522, RFC 3461 §6).

A report is put together as octets, so that what it returns is what came. Replies of other servers are the words of
strangers: nothing in them becomes a header field, a second part, or a command to a terminal. When an address is not
ASCII, the report has the form of RFC 6533.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from hashlib import sha256

import msgspec

from mailprobe.lab.post.addresses import folded, split
from mailprobe.lab.post.returned import Part, returned
from mailprobe.lab.post.spool import message_id_of

FIELD_CHARACTERS = 2_000
_WORD_OCTETS = 900  # what cannot be folded stays within a line (RFC 5322 §2.1.1)
_WIDTH = 76
_ENHANCED = re.compile(r"(?<![\w.])([245]\.\d{1,3}\.\d{1,3})(?![\w.])", re.ASCII)
_CODE = re.compile(r"([245])\d\d(?![\w.])", re.ASCII)


class Action(StrEnum):
    """What became of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"  # to a server that sends no reports of success
    EXPANDED = "expanded"  # to more than one


_CLASS = {Action.FAILED: "5", Action.DELAYED: "4"}


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of one recipient.

    *status* is the enhanced code (RFC 3463), and when empty the one that *diagnostic* holds. *diagnostic* is the last
    reply of the server *remote*, or when that is empty our own words. *orcpt* is what the sender gave (RFC 3461
    §4.2), decoded, with its type. *tried* is the time of the last try, *until* until when there will be more.
    """

    address: str
    action: Action
    status: str = ""
    diagnostic: str = ""
    remote: str = ""
    orcpt: str = ""
    tried: datetime | None = None
    until: datetime | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The letter that a report is about; *ret* and *envid* as in its envelope."""

    queue_id: str
    sender: str
    arrived: datetime
    data: bytes
    ret: str = ""
    envid: str = ""


class Reporter(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes a report: the *host* that has the letter, in the mail domain *domain*; *queue_id* is the report's."""

    domain: str
    host: str
    queue_id: str
    at: datetime


def is_wanted(notify: str | None, action: Action) -> bool:
    """Tell whether the sender wants to hear of this (RFC 3461 §4.1): of failure, when nothing was said of it."""
    if notify is None:
        return action in (Action.FAILED, Action.DELAYED)
    wanted = {word.strip().upper() for word in notify.split(",")}
    return {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY"}.get(action, "SUCCESS") in wanted


def addressee(sender: str, recipients: Collection[str], postmaster: str) -> str | None:
    """Say who gets the report about a letter: its sender, and when it has none, being a report itself, the postmaster.

    None when nobody does: a report that failed on its way to the postmaster is the end of it. *recipients* are those
    of the letter's envelope.
    """
    if sender:
        return sender
    ours = {folded(postmaster), split(folded(postmaster))[0], "postmaster"}
    return None if any({folded(each), split(folded(each))[0]} & ours for each in recipients) else postmaster


def enhanced_code(reply: str, action: Action = Action.FAILED) -> str:
    """Find the enhanced code in a reply, or give the general one that fits its code, or else the action."""
    found = _ENHANCED.search(reply[:200])
    if found:
        return found[1]
    code = _CODE.match(reply)
    return f"{code[1] if code else _CLASS.get(action, '2')}.0.0"


def failure_report(letter: Subject, fates: Sequence[Fate], by: Reporter, to: str | None = None) -> bytes:
    """Write that a letter could not be delivered; *to* is the postmaster when the letter is a report itself.

    The whole letter is returned, unless its sender wanted the header only or it is too large.
    """
    return _report("Your letter could not be delivered", letter, fates, by, to, full=letter.ret != "HDRS")


def delay_report(letter: Subject, fates: Sequence[Fate], by: Reporter) -> bytes:
    """Write that a letter still waits, and until when it is tried."""
    return _report("Your letter is delayed", letter, fates, by, None, full=False)


def success_report(letter: Subject, fates: Sequence[Fate], by: Reporter) -> bytes:
    """Write that a letter was delivered, as its sender asked (NOTIFY=SUCCESS)."""
    return _report("Your letter was delivered", letter, fates, by, None, full=False)


def _report(title: str, letter: Subject, fates: Sequence[Fate], by: Reporter, to: str | None, *, full: bool) -> bytes:
    fates = _once_each(fates)
    recipient = letter.sender if to is None else to
    texts = (recipient, letter.sender, *(each.address for each in fates), *(each.orcpt for each in fates))
    wide = not all(text.isascii() for text in texts)
    copy = returned(letter.data, full=full, wide=wide)
    parts = [_explanation(letter, fates, by, copy, wide=wide, double=to is not None), _status(letter, fates, by, wide)]
    body = [part.octets() for part in (*parts, copy)]
    boundary = _boundary(by, body)
    kind = "global-delivery-status" if wide else "delivery-status"
    fields = [
        f"From: Mail Delivery System <MAILER-DAEMON@{by.domain}>",
        f"To: <{_cut(_line(recipient, wide))}>",
        f"Subject: {title if to is None else 'A report could not be delivered'}",
        f"Date: {format_datetime(by.at)}",
        f"Message-ID: <{by.queue_id}.{int(by.at.timestamp())}@{by.host}>",
        *_thread(letter, wide),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"',
    ]
    if not all(octets.isascii() for octets in body):
        fields.append("Content-Transfer-Encoding: 8bit")
    delimiter = f"--{boundary}"
    head = "".join(f"{field}\r\n" for field in fields)
    pieces = [piece for octets in body for piece in (f"\r\n{delimiter}\r\n".encode(), octets)]
    return b"".join((head.encode(), *pieces, f"\r\n{delimiter}--\r\n".encode()))


def _once_each(fates: Sequence[Fate]) -> list[Fate]:
    """Leave out who is told of already: aliases that branch and meet again lead to an address more than once."""
    found: dict[tuple[str, str, Action], Fate] = {}
    for fate in fates:
        found.setdefault((folded(fate.address), fate.orcpt, fate.action), fate)
    return list(found.values())


def _thread(letter: Subject, wide: bool) -> list[str]:
    message_id = message_id_of(letter.data)
    if not message_id or _cut(message_id) != message_id or not (wide or message_id.isascii()):
        return []
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]


def _boundary(by: Reporter, body: Sequence[bytes]) -> str:
    """Give a boundary that stands nowhere in the report, whatever is returned in it (RFC 2046 §5.1.1)."""
    number = 0
    while True:
        digest = sha256(f"{by.queue_id} {by.host} {number}".encode()).hexdigest()[:16]
        boundary = f"{by.queue_id}_{digest}"
        if not any(boundary.encode() in octets for octets in body):
            return boundary
        number += 1


# The part for people


def _explanation(letter: Subject, fates: Sequence[Fate], by: Reporter, copy: Part, *, wide: bool, double: bool) -> Part:
    opening = f"This is the mail system at {by.host}."
    if double:
        opening += " The letter below is a delivery report that could not be delivered itself, so you get it."
    closing = (
        f"The letter came here on {format_datetime(letter.arrived)}, as {letter.queue_id}. "
        f"Below are a report for programs and {copy.words}."
    )
    until = [fate.until for fate in fates if fate.until is not None]
    if until:
        closing = f"It is tried until {format_datetime(max(until))}; there is no need to send it again. {closing}"
    paragraphs = [_wrapped(opening)]
    for action, words in _WORDS.items():
        told = [_told(fate, wide) for fate in fates if fate.action is action]
        paragraphs += [_wrapped(words), *told] if told else []
    octets = "\r\n\r\n".join((*paragraphs, _wrapped(closing), "")).encode()
    charset = "us-ascii" if octets.isascii() else "utf-8"
    return Part(f"text/plain; charset={charset}", octets, "notification")


_WORDS = {
    Action.FAILED: "Your letter could not be delivered to the following, and is not tried again:",
    Action.DELAYED: "Your letter could not be delivered yet to the following:",
    Action.DELIVERED: "Your letter was put into the mailbox of:",
    Action.RELAYED: "Your letter went on to a server that does not report whether it arrives, for:",
    Action.EXPANDED: "Your letter went on to everybody behind the following address:",
}


def _told(fate: Fate, wide: bool) -> str:
    lines = [f"    {_cut(_line(fate.address, wide))}"]
    said = _line(fate.diagnostic, wide)
    if said:
        who = f"{_line(fate.remote, wide)} said: " if fate.remote else ""
        lines += [f"        {line}" for line in _wrapped(who + said, _WIDTH - 8).split("\r\n")]
    return "\r\n".join(lines)


def _wrapped(text: str, width: int = _WIDTH) -> str:
    return "\r\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


# The part for programs


def _status(letter: Subject, fates: Sequence[Fate], by: Reporter, wide: bool) -> Part:
    groups = [_letter_fields(letter, by), *(_fate_fields(fate) for fate in fates)]
    text = "\r\n".join("".join(_field(name, value, wide) for name, value in group) for group in groups)
    kind = "message/global-delivery-status" if wide else "message/delivery-status"
    return Part(kind, text.encode(), "delivery report")


def _letter_fields(letter: Subject, by: Reporter) -> list[tuple[str, str]]:
    """Give the fields about the letter (RFC 3464 §2.2)."""
    envid = [("Original-Envelope-Id", letter.envid)] if letter.envid else []
    return [
        *envid,
        ("Reporting-MTA", f"dns; {by.host}"),
        ("X-Queue-Id", letter.queue_id),
        ("Arrival-Date", format_datetime(letter.arrived)),
    ]


def _fate_fields(fate: Fate) -> list[tuple[str, str]]:
    """Give the fields about one recipient (RFC 3464 §2.3)."""
    status = _ENHANCED.fullmatch(fate.status)
    fields = [
        ("Original-Recipient", _typed(fate.orcpt) if fate.orcpt else ""),
        ("Final-Recipient", _typed(f"{'rfc822' if fate.address.isascii() else 'utf-8'};{fate.address}")),
        ("Action", fate.action.value),
        ("Status", status[1] if status else enhanced_code(fate.diagnostic, fate.action)),
        ("Remote-MTA", f"dns; {fate.remote.partition('[')[0]}" if fate.remote else ""),
        ("Diagnostic-Code", _diagnostic(fate)),
        ("Last-Attempt-Date", format_datetime(fate.tried) if fate.tried else ""),
        ("Will-Retry-Until", format_datetime(fate.until) if fate.until else ""),
    ]
    return [(name, value) for name, value in fields if value]


def _typed(text: str) -> str:
    """Write an address with its type, which is ``rfc822`` where none was given."""
    kind, semicolon, address = text.partition(";")
    return f"{kind.strip()}; {address.strip()}" if semicolon else f"rfc822; {text}"


def _diagnostic(fate: Fate) -> str:
    """Give the diagnostic with its type, which is ``smtp`` for a server's reply alone (RFC 3464 §2.3.6)."""
    if not fate.diagnostic:
        return ""
    return f"{'smtp' if fate.remote else 'x-mailprobe'}; {fate.diagnostic}"


def _field(name: str, value: str, wide: bool) -> str:
    lines = textwrap.wrap(f"{name}: {_line(value, wide)}", _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\r\n\t".join(lines) + "\r\n"


def _line(text: str, wide: bool) -> str:
    """Make one harmless line of a text: no controls, only ASCII unless the report is *wide*, of bounded length."""
    harmless = "".join(
        char if char.isprintable() and (wide or char.isascii()) else " " if char.isspace() or char < " " else "?"
        for char in text[:FIELD_CHARACTERS]
    )
    return " ".join(_cut(word) for word in harmless.split())


def _cut(text: str) -> str:
    return text.encode()[:_WORD_OCTETS].decode("utf-8", "ignore")
