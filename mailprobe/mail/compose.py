"""A letter from its parts: header, text, HTML, attachments. Octets leave here as they go over the wire.

Attachments are carried to the octet, and encoded, so that any server takes them; only a letter within the letter must
not be encoded (RFC 2046 §5.2.1), and is the one thing that can make a composed letter 8-bit. The parts are put
together here rather than by `email`, which would write a letter within the letter anew and copies an attachment a dozen
times.
"""

from __future__ import annotations

import binascii
import re
import secrets
from datetime import datetime
from email.utils import format_datetime

import msgspec

from mailprobe.mail.addresses import Mailbox, mailbox, mailboxes
from mailprobe.mail.headers import LINE_LIMIT, address_field, field_name, parameter_field, text_field
from mailprobe.model.errors import UsageError

_MEDIA_TYPE = re.compile(r"([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126})")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_OVERLONG = re.compile(rb"[^\r\n]{%d}" % (LINE_LIMIT + 1))
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,990}>")
_BASE64_LINE = 76  # RFC 2045 §6.8

_ADDRESS_FIELDS = frozenset({"from", "sender", "to", "cc", "reply-to", "resent-from", "resent-sender", "resent-to"})
_OURS = frozenset({"mime-version", "content-type", "content-transfer-encoding"})


class Attachment(msgspec.Struct, frozen=True):
    """A file to go with a letter; *type* such as ``image/png``."""

    name: str
    type: str
    octets: bytes


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a letter.

    *sender* is the author and the envelope's sender; ``<>`` is the null sender, who needs a From in *headers*. Each
    address may have a name beside it. *text* and *html* are alternatives of each other; without either the letter is
    empty. *headers* are added in order and stand in place of the fields made here. *date* is aware. An empty
    *message_id* makes one. *smtputf8* writes headers in UTF-8 even where that could be avoided.
    """

    sender: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    date: datetime
    message_id: str = ""
    smtputf8: bool = False


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in its envelope, ready to go: *octets* with CRLF line ends, an empty *sender* is the null one.

    *needs_8bit* and *needs_smtputf8* say what a server has to offer for it (RFC 6152, RFC 6531). *message_id* has its
    brackets, and is empty when the letter has none. *notes* tell what was changed in a ready letter, or is odd in it.
    """

    octets: bytes
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    needs_8bit: bool
    needs_smtputf8: bool
    notes: tuple[str, ...] = ()


def compose(draft: Draft) -> Letter:
    """Write a letter. Recipients are named once each, and those of *bcc* nowhere in it.

    Raises:
        UsageError: no recipient; an address, a header or a type that is none; a line end where none may be.
    """
    author = None if draft.sender.strip() in {"", "<>"} else mailbox(draft.sender, "the sender")
    to, cc = mailboxes(draft.to, "To"), mailboxes(draft.cc, "Cc")
    everybody = (*to, *cc, *mailboxes(draft.bcc, "Bcc"))
    if not everybody:
        raise UsageError("a letter needs a recipient")
    given = _given(draft.headers)
    in_header = (*to, *cc, *mailboxes(draft.reply_to, "Reply-To"), *([author] if author else []), *_boxes(given))
    utf8 = draft.smtputf8 or any(box.needs_smtputf8 for box in in_header)
    message_id = given.get("message-id") or draft.message_id or new_message_id(author, draft.date)
    if not _MESSAGE_ID.fullmatch(message_id):
        raise UsageError(f"{message_id[:60]!r} is no Message-ID; write <something@domain>")
    header = _header(draft, author, to, cc, {**given, "message-id": message_id}, utf8=utf8)
    octets = b"".join((header, *_content(draft, utf8=utf8)))
    envelope = (*((author,) if author else ()), *everybody)
    return Letter(
        octets=octets,
        sender=author.address if author else "",
        recipients=tuple(dict.fromkeys(box.address for box in everybody)),
        message_id=message_id,
        needs_8bit=not octets.isascii(),
        needs_smtputf8=not header.isascii() or any(box.needs_smtputf8 for box in envelope),
    )


# -- header ----------------------------------------------------------------------------------------------------


def _given(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Give the last value of each header by name in lower case, all names checked."""
    found = {}
    for name, value in headers:
        key = field_name(name).lower()
        if key in {"bcc", "resent-bcc"}:
            raise UsageError("a Bcc header would tell everybody; name those recipients with --bcc")
        if key in _OURS:
            raise UsageError(f"{name} follows from the parts of the letter; send a ready one to have your own")
        found[key] = value.strip(" ")
    return found


def _boxes(given: dict[str, str]) -> list[Mailbox]:
    return [box for key in _ADDRESS_FIELDS & set(given) for box in mailboxes([given[key]], key.title())]


def new_message_id(author: Mailbox | None, date: datetime) -> str:
    """Make a Message-ID that nobody else has, in the author's domain (RFC 5322 §3.6.4)."""
    domain = author.domain if author is not None and author.domain.isascii() else "mailprobe.invalid"
    return f"<{date:%Y%m%d%H%M%S}.{secrets.token_hex(10)}@{domain.strip('[]').replace(':', '.')}>"


def _header(
    draft: Draft,
    author: Mailbox | None,
    to: tuple[Mailbox, ...],
    cc: tuple[Mailbox, ...],
    given: dict[str, str],
    *,
    utf8: bool,
) -> bytes:
    if author is None and "from" not in given:
        raise UsageError("an empty sender is nobody: say who writes, with a header 'From: name <user@domain>'")
    made = {
        "date": b"Date: %b\r\n" % format_datetime(draft.date).encode(),
        "from": address_field("From", [author], utf8=utf8) if author else b"",
        "to": address_field("To", to, utf8=utf8) if to else b"" if cc else b"To: undisclosed-recipients:;\r\n",
        "cc": address_field("Cc", cc, utf8=utf8) if cc else b"",
        "reply-to": address_field("Reply-To", boxes, utf8=utf8)
        if (boxes := mailboxes(draft.reply_to, "Reply-To"))
        else b"",
        "subject": text_field("Subject", draft.subject, utf8=utf8) if draft.subject else b"",
        "message-id": text_field("Message-ID", given["message-id"], utf8=utf8),
    }
    kept = [octets for key, octets in made.items() if key not in given or key == "message-id"]
    own = [(name, value) for name, value in draft.headers if name.lower() != "message-id"]
    return b"".join((*kept, *(_own(name, value, utf8=utf8) for name, value in own)))


def _own(name: str, value: str, *, utf8: bool) -> bytes:
    if name.lower() in _ADDRESS_FIELDS:
        return address_field(name, mailboxes([value], name), utf8=utf8)
    return text_field(name, value.strip(" "), utf8=utf8)


# -- body ------------------------------------------------------------------------------------------------------


def _content(draft: Draft, *, utf8: bool) -> list[bytes]:
    """Give the rest of the header, the empty line and the body."""
    alternatives = [_text("plain", draft.text)] if draft.text is not None else []
    if draft.html is not None:
        alternatives.append(_text("html", draft.html))
    main = [_multipart("alternative", alternatives)] if len(alternatives) > 1 else alternatives
    files = [_file(attachment, utf8=utf8) for attachment in draft.attachments]
    parts = [*main, *files] or [_text("plain", "")]
    whole = parts[0] if len(parts) == 1 and not files else _multipart("mixed", parts)
    return [b"MIME-Version: 1.0\r\n", *whole]


def _text(subtype: str, text: str) -> list[bytes]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if lines and not lines.endswith("\n"):
        lines += "\n"
    try:
        octets = lines.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {subtype} text is no text in UTF-8") from None
    encoding, body = _for_any_server(octets)
    return [
        b"Content-Type: text/%b; charset=utf-8\r\n" % subtype.encode(),
        b"Content-Transfer-Encoding: %b\r\n\r\n" % encoding,
        body,
    ]


def _for_any_server(octets: bytes) -> tuple[bytes, bytes]:
    """Encode lines with LF so that seven bits and lines of 998 octets are enough."""
    wire = octets.replace(b"\n", b"\r\n")
    if octets.isascii() and b"\0" not in octets and not _OVERLONG.search(octets):
        return b"7bit", wire
    quoted = binascii.b2a_qp(octets, istext=True).replace(b"\n", b"\r\n")
    # Text in another script has an octet escaped at every turn; base64 is then the smaller one.
    return (b"quoted-printable", quoted) if len(quoted) < len(wire) * 1.5 + 100 else (b"base64", _base64(wire))


def _base64(octets: bytes) -> bytes:
    letters = binascii.b2a_base64(octets, newline=False)
    lines = [letters[start : start + _BASE64_LINE] for start in range(0, len(letters), _BASE64_LINE)]
    return b"".join((b"\r\n".join(lines), b"\r\n" if lines else b""))


def _file(attachment: Attachment, *, utf8: bool) -> list[bytes]:
    kind = attachment.type.lower()
    if not _MEDIA_TYPE.fullmatch(kind) or kind.startswith("multipart/"):
        raise UsageError(f"{attachment.type[:60]!r} is no type of an attachment; write for example image/png")
    parameters = {"name": attachment.name} if attachment.name else {}
    named = {"filename": attachment.name} if attachment.name else {}
    if kind == "message/rfc822":
        encoding, body = _letter_within(attachment)
    else:
        encoding, body = b"base64", _base64(attachment.octets)
        if kind.startswith("text/") and _is_utf8(attachment.octets):
            parameters = {"charset": "utf-8", **parameters}
    return [
        parameter_field("Content-Type", kind, parameters, utf8=utf8),
        parameter_field("Content-Disposition", "attachment", named, utf8=utf8),
        b"Content-Transfer-Encoding: %b\r\n\r\n" % encoding,
        body,
    ]


def _letter_within(attachment: Attachment) -> tuple[bytes, bytes]:
    octets = attachment.octets
    if b"\r" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    if _BARE.search(octets) or _OVERLONG.search(octets) or b"\0" in octets:
        raise UsageError(
            f"{attachment.name!r} cannot go as message/rfc822, which must not be encoded (RFC 2046 §5.2.1): it has "
            "lines of more than 998 octets, bare line ends or NULs; attach it as application/octet-stream"
        )
    return (b"7bit" if octets.isascii() else b"8bit"), octets


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _multipart(subtype: str, parts: list[list[bytes]]) -> list[bytes]:
    boundary = b"=_" + secrets.token_hex(16).encode()  # so unlikely in a part that nobody need look
    eight = any(b"Content-Transfer-Encoding: 8bit\r\n" in piece for part in parts for piece in part[:-1])
    pieces = [
        b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (subtype.encode(), boundary),
        b"Content-Transfer-Encoding: %b\r\n\r\n" % (b"8bit" if eight else b"7bit"),
    ]
    for part in parts:
        pieces += [b"--%b\r\n" % boundary, *part, b"\r\n"]
    return [*pieces, b"--%b--\r\n" % boundary]
