"""Delivery reports: what a bounce says, of whom, and of which letter.

The standard form is multipart/report with a part of machine-readable fields (RFC 3464, RFC 6533 for addresses beyond
ASCII). Servers that do not use it write to people: qmail in a form of its own that can be read with certainty, others
in prose, out of which addresses and codes are taken as well as that goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from mailprobe.records.header import Field, fields, values
from mailprobe.records.parts import Part, leaves, part

REPORT_LIMIT = 2_097_152  # octets; a report that returns a large letter has all that counts in front
RECIPIENTS_LIMIT = 1_000
_TEXT_LIMIT = 65_536  # octets of prose that are read
_VALUE_LIMIT = 2_000

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)
_ENHANCED = re.compile(r"(?<![0-9.])#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9]|\.[0-9])")
_CODE = re.compile(r"(?<![0-9.])([45])[0-9]{2}(?=[ -])")
_ADDRESS = re.compile(r"<?([^\s<>()\[\]:;,\"@]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9]))>?")
_QMAIL = re.compile(r"Hi\. (?:This is|The) .{0,200}? (?:program|deliver)", re.IGNORECASE)
_QMAIL_END = re.compile(r"^--- (?:Below this line|Undelivered message)", re.MULTILINE)
_COPY_BEGINS = re.compile(
    r"^-{2,} ?(?:This is a copy|Below this line|The header|Original message|Undelivered message"
    r"|Unsent message|The body of the message|Returned message)[^\n]*\n",
    re.MULTILINE | re.IGNORECASE,
)
_TALKS_OF_FAILURE = re.compile(
    r"undeliver|deliver(?:y|ed)? (?:has |status |notification|fail|problem|incomplete|delay)|fail(?:ure|ed)|returned|"
    r"could ?n[o']t be delivered|mail system error|bounce|rejected|non remis|unzustellbar|delay",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"delay(?:ed)?|still (?:trying|being retried)|will (?:keep|continue) trying|warning", re.IGNORECASE
)
_UTF8_HEX = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_MESSAGE_ID = re.compile(r"<[^<>\s]{3,998}>")


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of one recipient (RFC 3464 §2.3). What it does not say is empty.

    *address* is whom the report is about, *original* the address that the sender gave, where it tells. *action* is
    ``failed``, ``delayed``, ``delivered``, ``relayed`` or ``expanded``; *status* an enhanced code such as ``5.1.1``;
    *diagnostic* the words of *remote*, the server that spoke them.
    """

    address: str
    original: str
    action: str
    status: str
    diagnostic: str
    remote: str
    will_retry_until: datetime | None


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report. *standard* tells whether it has the form of RFC 3464; else it was read out of prose.

    *reporter* is the server that wrote it. *envelope_id* is the ENVID of the sender, decoded, and *message_id* that of
    the letter it is about, with its brackets: by these a bounce finds its letter. Either may be empty.
    """

    standard: bool
    reporter: str
    envelope_id: str
    message_id: str
    recipients: tuple[Recipient, ...]


def delivery_report(letter: bytes) -> DeliveryReport | None:
    """Read a letter as a delivery report; None when it is none, as far as one can tell."""
    whole = part(letter[:REPORT_LIMIT])
    found = list(leaves(whole))
    message_id = _returned_id(found)
    for each in found:
        if each.type in _STATUS_TYPES:
            report = _standard(each, whole, message_id)
            if report is not None:
                return report
    return _in_prose(whole, found, message_id)


# -- the standard form -----------------------------------------------------------------------------------------


def _standard(status: Part, whole: Part, message_id: str) -> DeliveryReport | None:
    groups = list(_groups(status.content))
    about = [recipient for group in groups if (recipient := _recipient(group)) is not None]
    if not about:
        return None
    message = groups[0]
    first_is_message = not _value(message, "Final-Recipient")
    return DeliveryReport(
        standard=first_is_message and whole.type == "multipart/report" and all(each.status for each in about),
        reporter=_typed(_value(message, "Reporting-MTA")),
        envelope_id=_decoded(_value(message, "Original-Envelope-Id")),
        message_id=message_id or _referred(whole),
        recipients=tuple(about),
    )


def _groups(content: bytes) -> Iterator[list[Field]]:
    """Give the groups of fields; between two stands an empty line (RFC 3464 §2.1)."""
    for number, block in enumerate(re.split(rb"(?:\r?\n[ \t]*){2,}", content.strip())):
        if number > RECIPIENTS_LIMIT:
            return
        group = [field for field in fields(block) if field.name]
        if group:
            yield group


def _recipient(group: list[Field]) -> Recipient | None:
    address = _typed(_value(group, "Final-Recipient")) or _typed(_value(group, "Original-Recipient"))
    if not address:
        return None
    return Recipient(
        address=address,
        original=_typed(_value(group, "Original-Recipient")),
        action=_value(group, "Action").partition(" ")[0].lower(),
        status=_code(_value(group, "Status")),
        diagnostic=_typed(_value(group, "Diagnostic-Code"), of_text=True),
        remote=_typed(_value(group, "Remote-MTA")),
        will_retry_until=_moment(_value(group, "Will-Retry-Until")),
    )


def _value(group: list[Field], name: str) -> str:
    return next((field.value[:_VALUE_LIMIT] for field in group if field.has_name(name)), "")


def _typed(value: str, *, of_text: bool = False) -> str:
    """Take the type off ``rfc822; bob@a.test``, ``dns; mx.a.test`` or ``smtp; 550 5.1.1 no such user``."""
    kind, semicolon, rest = value.partition(";")
    text = rest.strip() if semicolon and re.fullmatch(r"\s*[A-Za-z0-9-]{1,40}\s*", kind) else value.strip()
    if of_text:
        return text
    text = _utf8(text)
    if kind.strip().lower() == "utf-8":  # RFC 6533 §3
        text = _UTF8_HEX.sub(_character, text)
    return text.strip("<>")


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else match[0]


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _code(text: str) -> str:
    match = _ENHANCED.search(text)
    return match[1] if match else ""


def _decoded(text: str) -> str:
    """Decode xtext (RFC 3461 §4), which some servers leave in the field though it belongs to SMTP alone."""
    return re.sub(r"\+([2-7][0-9A-F])", lambda match: chr(int(match[1], 16)), text)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text[:100])
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# -- which letter ----------------------------------------------------------------------------------------------


def _returned_id(found: list[Part]) -> str:
    for each in found:
        if each.type in _RETURNED_TYPES:
            # A returned letter is a part whose body is a letter, header first; so are returned headers.
            identifiers = values(each.content.lstrip(b"\r\n"), "Message-ID")
            if identifiers:
                return _identifier(identifiers[0])
    return ""


def _identifier(text: str) -> str:
    match = _MESSAGE_ID.search(text)
    return match[0] if match else text.strip()[:998]


def _referred(whole: Part) -> str:
    """Give the letter that a report says it answers: some return nothing of it."""
    for name in ("X-Original-Message-ID", "In-Reply-To", "References"):
        for value in values(whole.octets, name):
            found = _MESSAGE_ID.findall(value[:_VALUE_LIMIT])
            if found:
                return str(found[-1])
    return ""


# -- prose -----------------------------------------------------------------------------------------------------


def _in_prose(whole: Part, found: list[Part], message_id: str) -> DeliveryReport | None:
    text = next((_text(each) for each in found if each.type == "text/plain"), "")
    copy = _COPY_BEGINS.search(text)
    said = text[: copy.start()] if copy else text
    if copy and not message_id:
        identifiers = values(text[copy.end() :].lstrip().encode("latin-1"), "Message-ID")
        message_id = _identifier(identifiers[0]) if identifiers else ""
    recipients = _of_qmail(text) or _of_others(whole, said)
    if not recipients:
        return None
    return DeliveryReport(
        standard=False,
        reporter="",
        envelope_id="",
        message_id=message_id or _referred(whole),
        recipients=tuple(recipients),
    )


def _text(each: Part) -> str:
    return each.content[:_TEXT_LIMIT].decode("latin-1").replace("\r\n", "\n")


def _of_qmail(text: str) -> list[Recipient]:
    """Read qmail's own form: ``Hi. This is …``, then a paragraph per recipient: ``<address>:`` and what was said."""
    if not _QMAIL.match(text.lstrip()):
        return []
    end = _QMAIL_END.search(text)
    paragraphs = re.split(r"\n[ \t]*\n", text[: end.start()] if end else text)
    found = []
    for paragraph in paragraphs[1 : RECIPIENTS_LIMIT + 1]:
        match = re.match(r"\s*<([^<>\n]{1,320})>:[ \t]*\n?", paragraph)
        if match:
            found.append(_guessed(match[1], paragraph[match.end() :], "failed"))
    return found


def _of_others(whole: Part, said: str) -> list[Recipient]:
    failed = [address for value in values(whole.octets, "X-Failed-Recipients") for address in value.split(",")]
    if not failed and not _comes_from_a_server(whole):
        return []
    addresses = [address.strip().strip("<>") for address in failed if "@" in address]
    if not addresses:
        addresses = [match[1] for match in _ADDRESS.finditer(said)]
    subject = " ".join(values(whole.octets, "Subject"))
    action = "delayed" if _DELAYED.search(subject) else "failed"
    first = dict.fromkeys(addresses[:RECIPIENTS_LIMIT])
    found = [_guessed(address, said.partition(address)[2], action) for address in first]
    return [each for each in found if each.status or failed][:RECIPIENTS_LIMIT]


def _comes_from_a_server(whole: Part) -> bool:
    """Tell a report from a letter: it has no sender to answer, or says itself that no person wrote it."""
    subject = " ".join(values(whole.octets, "Subject"))
    author = " ".join(values(whole.octets, "From")).lower()
    paths = values(whole.octets, "Return-Path")
    automatic = any(value.lower().startswith("auto-") for value in values(whole.octets, "Auto-Submitted"))
    server = "mailer-daemon" in author or "postmaster" in author or any(path.strip() == "<>" for path in paths)
    return (server or automatic) and bool(_TALKS_OF_FAILURE.search(subject))


def _guessed(address: str, said: str, action: str) -> Recipient:
    """Take a code out of what stands behind the address, up to the next address or for a paragraph or two."""
    near = said[:1_500]
    following = _ADDRESS.search(near, 1)
    while following is not None and following[1] == address:
        following = _ADDRESS.search(near, following.end())
    words = " ".join((near[: following.start()] if following else near).split()).lstrip(">: ")
    code = _code(words)
    if not code and (basic := _CODE.search(words)):
        code = f"{basic[1]}.0.0"
    return Recipient(
        address=address,
        original="",
        action=action,
        status=code,
        diagnostic=words[:500],
        remote="",
        will_retry_until=None,
    )
