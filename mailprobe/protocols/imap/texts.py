"""The text of a letter as people read it, for SEARCH: encoded words and transfer encodings undone (RFC 3501 §6.4.4)."""

from __future__ import annotations

import binascii
import quopri
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header

from mailprobe.protocols.imap.structure import Part


def field_text(value: bytes) -> str:
    """Decode the value of a header field (RFC 2047); what cannot be decoded stays as it is."""
    text = value.decode("utf-8", "replace")
    if "=?" in text:
        with suppress(MessageError, ValueError, LookupError):
            return str(make_header(decode_header(text)))
    return text


def body_text(part: Part) -> str:
    """Decode all text within a part, one piece behind the other."""
    if part.children:
        return "\n".join(body_text(child) for child in part.children)
    if part.type != "text":
        return ""
    charset = dict(part.parameters).get(b"charset", b"utf-8").decode("latin-1")
    octets = _decoded(part.body, (part.field(b"content-transfer-encoding") or b"").lower())
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):  # a charset that nobody knows
        return octets.decode("utf-8", "replace")


def _decoded(body: bytes, encoding: bytes) -> bytes:
    if encoding == b"quoted-printable":
        return quopri.decodestring(body)
    if encoding == b"base64":
        with suppress(binascii.Error):
            return binascii.a2b_base64(body)
    return body
