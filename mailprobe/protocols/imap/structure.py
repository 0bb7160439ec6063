"""A message as IMAP sees it: its parts, ENVELOPE and BODYSTRUCTURE (RFC 3501 §7.4.2).

The parts are slices of the message exactly as stored, so that ``BODY[1.2]`` is octet for octet what a
signature was made over; the parsers of the standard library do not keep that.
"""

from __future__ import annotations

import re
from email.utils import getaddresses

import msgspec

from mailprobe.protocols.imap.grammar import quoted

NESTING_LIMIT = 20
PARTS_LIMIT = 200
ADDRESSES_LIMIT = 1000  # octets of one field that are taken apart; the parser is slow

_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')
_GAP = re.compile(rb"\r?\n\r?\n")


class Part(msgspec.Struct, frozen=True):
    """One part: a whole message, a piece of a multipart, or the message within ``message/rfc822``.

    *header* ends with the empty line. *children* are the pieces of a multipart; of ``message/rfc822`` the one
    child is the inner message.
    """

    header: bytes
    body: bytes
    type: str
    subtype: str
    parameters: tuple[tuple[bytes, bytes], ...]
    children: tuple[Part, ...]

    def field(self, name: bytes) -> bytes | None:
        """Give the first header field of that name, unfolded, or None."""
        return next((value for key, value in fields_of(self.header) if key == name.lower()), None)


def fields_of(header: bytes) -> list[tuple[bytes, bytes]]:
    """Give the header fields: name in lower case and unfolded value."""
    fields = []
    for line in _FOLD.sub(b"", header).splitlines():
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.strip().lower(), value.strip()))
    return fields


def split_header(data: bytes) -> tuple[bytes, bytes]:
    """Cut a message into header, with its empty line, and body."""
    if data[:2] == b"\r\n":
        return data[:2], data[2:]
    match = _GAP.search(data)
    return (data[: match.end()], data[match.end() :]) if match else (data, b"")


def parse_message(data: bytes) -> Part:
    """Cut a message into its parts; what is not understood stays one piece."""
    return _parse(data, "text", "plain", 0, [0])


def _parse(data: bytes, kind: str, subkind: str, depth: int, count: list[int]) -> Part:
    header, body = split_header(data)
    count[0] += 1
    value = next((value for name, value in fields_of(header) if name == b"content-type"), b"")
    head, _, _ = value.partition(b";")
    words = head.strip().decode("latin-1").lower().split("/")
    if len(words) == 2 and all(re.fullmatch(r"[!-~]+", word) for word in words):
        kind, subkind = words
    parameters = tuple(
        (match[1].lower(), re.sub(rb"\\(.)", rb"\1", match[2]) if match[2] is not None else match[3])
        for match in _PARAMETER.finditer(value)
    )
    children: tuple[Part, ...] = ()
    boundary = dict(parameters).get(b"boundary", b"")
    if depth < NESTING_LIMIT and kind == "multipart" and boundary:
        inner = ("message", "rfc822") if subkind == "digest" else ("text", "plain")
        pieces = _pieces(body, boundary)[: max(0, PARTS_LIMIT - count[0])]
        children = tuple(_parse(piece, *inner, depth + 1, count) for piece in pieces)
    elif depth < NESTING_LIMIT and (kind, subkind) == ("message", "rfc822"):
        children = (_parse(body, "text", "plain", depth + 1, count),)
    if kind == "multipart" and not children:
        kind, subkind = "text", "plain"
    return Part(header, body, kind, subkind, parameters, children)


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """Cut at the boundaries; the line end before one belongs to it (RFC 2046 §5.1.1)."""
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    pieces: list[bytes] = []
    start = None
    for match in line.finditer(body):
        if start is not None:
            pieces.append(re.sub(rb"\A\r?\n", b"", body[start : match.start()]))
        if match[1]:
            return pieces
        start = match.end()
    if start is not None:  # the closing boundary is missing
        pieces.append(re.sub(rb"\A\r?\n", b"", body[start:]))
    return pieces


def find_part(message: Part, path: tuple[int, ...]) -> Part | None:
    """Give the part that a section number names (RFC 3501 §6.4.5), or None."""
    part = message
    for number in path:
        if (part.type, part.subtype) == ("message", "rfc822") and part.children and part is not message:
            part = part.children[0]
        if part.type == "multipart":
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif number != 1:
            return None
    return part


def envelope(message: Part) -> bytes:
    """Give the ENVELOPE."""
    sender = _addresses(message.field(b"from"))
    columns = [
        quoted(message.field(b"date")),
        quoted(message.field(b"subject")),
        sender,
        *(_addresses(message.field(name)) if message.field(name) else sender for name in (b"sender", b"reply-to")),
        *(_addresses(message.field(name)) for name in (b"to", b"cc", b"bcc")),
        quoted(message.field(b"in-reply-to")),
        quoted(message.field(b"message-id")),
    ]
    return b"(" + b" ".join(columns) + b")"


def _addresses(value: bytes | None) -> bytes:
    if not value:
        return b"NIL"
    lines = []
    for name, address in getaddresses([value[:ADDRESSES_LIMIT].decode("latin-1")]):
        local, _, domain = address.rpartition("@")
        if address:
            columns = (name or None, None, local or address, domain if local else None)
            octets = (quoted(None if text is None else text.encode("latin-1")) for text in columns)
            lines.append(b"(" + b" ".join(octets) + b")")
    return b"(" + b"".join(lines) + b")" if lines else b"NIL"


def body_structure(part: Part, extended: bool) -> bytes:
    """Give BODYSTRUCTURE, or BODY when not *extended*."""
    if part.type == "multipart":
        inner = b"".join(body_structure(child, extended) for child in part.children)
        tail = b" " + _parameters(part.parameters) + _extension(part) if extended else b""
        return b"(" + inner + b" " + quoted(part.subtype.upper().encode("latin-1")) + tail + b")"
    columns = [
        quoted(part.type.upper().encode("latin-1")),
        quoted(part.subtype.upper().encode("latin-1")),
        _parameters(part.parameters),
        quoted(part.field(b"content-id")),
        quoted(part.field(b"content-description")),
        quoted((part.field(b"content-transfer-encoding") or b"7bit").upper()),
        b"%d" % len(part.body),
    ]
    if part.children:
        columns += [envelope(part.children[0]), body_structure(part.children[0], extended)]
    if part.type == "text" or part.children:
        columns.append(b"%d" % part.body.count(b"\n"))
    tail = b" " + quoted(part.field(b"content-md5")) + _extension(part) if extended else b""
    return b"(" + b" ".join(columns) + tail + b")"


def _extension(part: Part) -> bytes:
    value = part.field(b"content-disposition")
    if value is None:
        return b" NIL NIL NIL"
    kind = value.partition(b";")[0].strip().upper()
    parameters = tuple((match[1].lower(), match[2] or match[3] or b"") for match in _PARAMETER.finditer(value))
    return b" (" + quoted(kind) + b" " + _parameters(parameters) + b") NIL NIL"


def _parameters(parameters: tuple[tuple[bytes, bytes], ...]) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(" + b" ".join(quoted(name.upper()) + b" " + quoted(value) for name, value in parameters) + b")"
