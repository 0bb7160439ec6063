"""The part of a delivery report that gives the letter back: all of it, or its header."""

from __future__ import annotations

import re

import msgspec

RETURNED_OCTETS = 50_000  # Postfix returns as much
_LINE_OCTETS = 998  # RFC 5322 §2.1.1
_UNFIT = re.compile(rb"\x00|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")  # for 7bit and 8bit (RFC 2045 §2.7, §2.8)


class Part(msgspec.Struct, frozen=True):
    """One part of a report. *words* describes it to people."""

    kind: str
    body: bytes
    words: str

    def octets(self) -> bytes:
        """Give the part with its header."""
        encoding = "7bit" if self.body.isascii() else "8bit"
        fields = f"Content-Description: {self.words.capitalize()}\r\nContent-Type: {self.kind}\r\n"
        return f"{fields}Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + self.body


def returned(data: bytes, *, full: bool, wide: bool) -> Part:
    """Give a letter back, its header only unless *full*, or where the whole is too large or cannot stand in a part.

    *wide* reports may hold UTF-8 in a header (RFC 6533 §6); in others such a header is passed on as it is.
    """
    end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
    header = data if end == 1 else data[:end]
    utf8 = wide and not header.isascii()
    if full and len(data) <= RETURNED_OCTETS and not _UNFIT.search(data):
        return Part("message/global" if utf8 else "message/rfc822", data, "the letter")
    return Part("message/global-headers" if utf8 else "text/rfc822-headers", _tamed(header), "the header of the letter")


def _tamed(header: bytes) -> bytes:
    """Make a header fit for a part, and short."""
    lines = header[: RETURNED_OCTETS + 1].replace(b"\0", b"?").splitlines()
    if len(header) > RETURNED_OCTETS:
        lines = lines[:-1]  # it may be cut
    return b"".join(line[:_LINE_OCTETS] + b"\r\n" for line in lines if line)
