"""The words of an IMAP command as a client writes them (RFC 9051 §9): text, or octets where only a literal will do.

Nothing that a user gives can end a command or begin another: what has no place in a word raises LocalProtocolError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailprobe.model.errors import LocalProtocolError
from mailprobe.protocols.client import argument
from mailprobe.protocols.imap.names import encode_name

_QUOTED_LIMIT = 1_000
_ITEM = re.compile(r"[A-Z0-9.]+(?:\[[A-Z0-9. ()-]*\])?(?:<[0-9.]+>)?", re.IGNORECASE)
_FLAG = re.compile(r"\\?[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|~]+")
_RANGE = re.compile(r"[1-9][0-9]*:(?:\*|[1-9][0-9]*)")


def string(text: str) -> str | bytes:
    """Write a string: quoted where it can be, else as octets (RFC 9051 §4.3)."""
    if not argument(text).isascii() or len(text) > _QUOTED_LIMIT:
        return text.encode("utf-8")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mailbox_word(name: str) -> str | bytes:
    """Write a mailbox name."""
    return string(encode_name(argument(name)))


def item_list(items: tuple[str, ...]) -> str:
    """Write what is asked about letters or mailboxes."""
    if not items or not all(_ITEM.fullmatch(item) for item in items):
        raise LocalProtocolError(f"these are no items: {items!r}")
    return f"({' '.join(items)})"


def flag_list(flags: tuple[str, ...]) -> str:
    """Write flags."""
    if not flags or not all(_FLAG.fullmatch(flag) for flag in flags):
        raise LocalProtocolError(f"these are no flags: {flags!r}")
    return f"({' '.join(flags)})"


def header_is(name: str, value: str) -> tuple[str | bytes, ...]:
    """Give the criteria for letters whose header field holds a text, anywhere and in any case (RFC 9051 §6.4.4)."""
    return "HEADER", string(name), string(value)


def sequence_set(numbers: Iterable[int] | str) -> str:
    """Write a set of numbers in its shortest form, ``1:3,7``; a range such as ``5:*`` is one already."""
    if isinstance(numbers, str):
        if not _RANGE.fullmatch(numbers):
            raise LocalProtocolError(f"{numbers!r} is no range")
        return numbers
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    if not ranges or ranges[0][0] < 1:
        raise LocalProtocolError("a set of numbers has numbers from 1")
    return ",".join(f"{low}" if low == high else f"{low}:{high}" for low, high in ranges)
