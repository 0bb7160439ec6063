"""The parts of a letter (RFC 2046 §5.1), as far as reading a report needs them.

Bounces come from strangers, so only so many parts are looked at, only so deep, and one level at a time.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from mailprobe.records.header import body_start, values

PARTS_LIMIT = 50
DEPTH_LIMIT = 3
_BOUNDARY_LIMIT = 200  # RFC 2046 §5.1.1: 70

_TYPE = re.compile(r"\s*([!-.0-~]+/[!-.0-:<-~]+)")
_PARAMETER = re.compile(r';\s*([!#-&*+\-.0-9A-Z^_`a-z{|}~]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')


class Part(NamedTuple):
    """One part: its type in lower case (``text/plain`` where it has none), and its octets, header and body."""

    type: str
    octets: bytes

    @property
    def body(self) -> bytes:
        """The body as it stands."""
        return self.octets[body_start(self.octets) :]

    @property
    def content(self) -> bytes:
        """The body, decoded from quoted-printable or base64."""
        return _decoded(self.body, (values(self.octets, "Content-Transfer-Encoding") or ("",))[0])

    def parameter(self, name: str) -> str:
        """Give a parameter of the type, empty when it has none of that name."""
        stated = (values(self.octets, "Content-Type") or ("",))[0]
        found = {match[1].lower(): _unquoted(match[2]) for match in _PARAMETER.finditer(stated[:2_000])}
        return found.get(name, "")


def part(octets: bytes) -> Part:
    """Read a letter, or a part of one, as a part."""
    stated = (values(octets, "Content-Type") or ("",))[0]
    match = _TYPE.match(stated[:200])
    return Part(match[1].lower() if match else "text/plain", octets)


def parts_of(whole: Part) -> Iterator[Part]:
    """Give the parts of a multipart, in order; nothing for anything else, or without a boundary."""
    boundary = whole.parameter("boundary").encode("latin-1")
    if not whole.type.startswith("multipart/") or not 0 < len(boundary) <= _BOUNDARY_LIMIT:
        return
    body = b"\n" + whole.body
    line = re.compile(rb"\r?\n--" + re.escape(boundary) + rb"(--)?[ \t]*(?=(\r?\n|\Z))")
    start = None
    for number, match in enumerate(line.finditer(body)):
        if start is not None:
            yield part(body[start : match.start()])
        if match[1] or number == PARTS_LIMIT:
            return
        start = match.end(2)
    if start is not None:
        yield part(body[start:])


def leaves(whole: Part, depth: int = DEPTH_LIMIT) -> Iterator[Part]:
    """Give the parts that are no multipart, in order; a letter inside the letter is one of them."""
    if whole.type.startswith("multipart/") and depth:
        for each in parts_of(whole):
            yield from leaves(each, depth - 1)
    else:
        yield whole


def _decoded(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == "base64":
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
        whole = letters[: len(letters) - len(letters) % 4] if len(letters) % 4 == 1 else letters
        return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
    return body


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') and len(text) > 1 else text
