"""The header of a letter (RFC 5322 §2.2): octets to fields, in order, however odd the letter is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

HEADER_LIMIT = 1_048_576  # octets; what is beyond is not looked at
_WHITE = b" \t"


class Field(NamedTuple):
    """One field: *value* unfolded, as Latin-1 and without the spaces around it; its octets are ``[start:end]``.

    A line that is no field, such as the ``From `` line of an mbox, has an empty *name* and is its own value.
    """

    name: str
    value: str
    start: int
    end: int

    def has_name(self, name: str) -> bool:
        """Tell whether it goes by that name; case does not count."""
        return self.name.lower() == name.lower()


def body_start(octets: bytes) -> int:
    """Give where the body begins, behind the empty line; the length where there is no body."""
    if octets.startswith(b"\r\n"):
        return 2
    if octets.startswith(b"\n"):
        return 1
    ends = [(at, len(mark)) for mark in (b"\n\r\n", b"\n\n") if (at := octets.find(mark)) >= 0]
    if not ends:
        return len(octets)
    at, length = min(ends)
    return at + length


def fields(octets: bytes) -> Iterator[Field]:
    """Read the fields of a letter or of a header alone, up to the empty line, in any line ends."""
    start = 0
    end = min(body_start(octets), HEADER_LIMIT)
    while start < end:
        stop = _line_end(octets, start, end)
        if octets[start:stop] in {b"\n", b"\r\n"}:
            return
        while stop < end and octets[stop] in _WHITE:
            stop = _line_end(octets, stop, end)
        yield _field(octets, start, stop)
        start = stop


def values(octets: bytes, name: str) -> tuple[str, ...]:
    """Give what every field of that name says, from the top."""
    return tuple(field.value for field in fields(octets) if field.has_name(name))


def _line_end(octets: bytes, start: int, end: int) -> int:
    at = octets.find(b"\n", start, end)
    return end if at < 0 else at + 1


def _field(octets: bytes, start: int, end: int) -> Field:
    text = octets[start:end].replace(b"\r\n", b"").replace(b"\n", b"").decode("latin-1")
    name, colon, value = text.partition(":")
    name = name.rstrip(" \t")  # RFC 5322 §4.5: obsolete, and real
    if not colon or not name or not all("!" <= character <= "~" for character in name):
        return Field("", text, start, end)
    return Field(name, value.strip(" \t"), start, end)
