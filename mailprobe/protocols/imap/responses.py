"""What IMAP servers say, taken apart (RFC 9051 §7, RFC 3501 §7): one untagged response, one value.

A response comes as pieces: text as Latin-1 ``str``, and each literal as ``bytes`` between two texts. What has not the
form that its name asks for becomes `Other`, so that nothing a server says can stop a conversation here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from mailprobe.protocols.imap.names import decode_name

DEPTH_LIMIT = 40  # of parentheses
NUMBERS_LIMIT = 1_000_000  # that a set of an ESEARCH may stand for

Piece = str | bytes
Value = str | bytes | list["Value"] | None  # an atom, a string, a list, NIL


class Exists(msgspec.Struct, frozen=True):
    """How many letters the mailbox has now."""

    count: int


class Expunged(msgspec.Struct, frozen=True):
    """The letter of that sequence number is gone; the numbers above it fall by one."""

    number: int


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one letter; None where it was not. *sections* maps ``BODY[...]`` and the like to octets."""

    number: int
    uid: int | None = None
    flags: tuple[str, ...] | None = None
    size: int | None = None
    internal_date: str | None = None
    sections: dict[str, bytes] = {}

    @property
    def octets(self) -> bytes | None:
        """The only section that was told, whatever the server calls it; None when there is none."""
        return next(iter(self.sections.values()), None)


class Found(msgspec.Struct, frozen=True):
    """The numbers, or uids, that a search found."""

    numbers: tuple[int, ...]


class Listed(msgspec.Struct, frozen=True):
    """A mailbox, its attributes such as ``\\Junk``, and what stands between the levels of its name, None for none."""

    name: str
    attributes: tuple[str, ...]
    delimiter: str | None

    def has(self, attribute: str) -> bool:
        """Tell whether it has an attribute, case apart."""
        return attribute.lower() in (each.lower() for each in self.attributes)


class MailboxStatus(msgspec.Struct, frozen=True):
    """Numbers about a mailbox that need not be selected, such as ``MESSAGES``."""

    name: str
    items: dict[str, int]


class Flags(msgspec.Struct, frozen=True):
    """The flags that letters of this mailbox can have."""

    flags: tuple[str, ...]


class Condition(msgspec.Struct, frozen=True):
    """An untagged OK, NO, BAD, BYE or PREAUTH; *code* is empty, or as ``UIDVALIDITY`` with *arguments*."""

    status: str
    code: str
    arguments: str
    text: str


class Namespaces(msgspec.Struct, frozen=True):
    """Prefixes with their delimiters (RFC 2342): the user's own, other users', and shared ones."""

    personal: tuple[tuple[str, str | None], ...]
    others: tuple[tuple[str, str | None], ...]
    shared: tuple[tuple[str, str | None], ...]


class Identity(msgspec.Struct, frozen=True):
    """What a server tells of itself (RFC 2971)."""

    fields: dict[str, str]


class Other(msgspec.Struct, frozen=True):
    """Anything else; *text* is without its literals."""

    text: str


Response = (
    Exists | Expunged | Fetched | Found | Listed | MailboxStatus | Flags | Condition | Namespaces | Identity | Other
)

_NUMBERED = re.compile(r"\* ([0-9]{1,10}) ([A-Z]+)(?: |$)", re.IGNORECASE)
_NAMED = re.compile(r"\* ([A-Z0-9.-]+)(?: |$)", re.IGNORECASE)
_CONDITION = re.compile(
    r"\* (OK|NO|BAD|BYE|PREAUTH)(?: \[([A-Z0-9-]+)(?: ([^\]]*))?\])? ?(.*)", re.IGNORECASE | re.DOTALL
)
_TOKEN = re.compile(r'[()]|"((?:[^"\\]|\\.)*)"|[^\s()"\[]*\[[^\]]{0,999}\](?:<[0-9]+>)?|[^\s()"]+')
_RANGE = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")
_NUMBER = re.compile(r"[0-9]{1,20}")


def parse_response(pieces: Sequence[Piece]) -> Response:
    """Read one untagged response."""
    text = pieces[0] if pieces and isinstance(pieces[0], str) else ""
    try:
        return _read(text, pieces)
    except (_MalformedError, ValueError):
        return Other("".join(piece for piece in pieces if isinstance(piece, str)))


class _MalformedError(Exception):
    """Something else stands where a value was to stand."""


def _read(text: str, pieces: Sequence[Piece]) -> Response:
    if (numbered := _NUMBERED.match(text)) is not None:
        rest = (text[numbered.end() :], *pieces[1:])
        return _about_number(int(numbered[1]), numbered[2].upper(), rest)
    if (condition := _CONDITION.match(text)) is not None:
        status, code, arguments, words = condition.groups()
        return Condition(status.upper(), (code or "").upper(), arguments or "", words)
    named = _NAMED.match(text)
    if named is None:
        raise _MalformedError
    name, rest = named[1].upper(), (text[named.end() :], *pieces[1:])
    if name == "SEARCH":
        return Found(tuple(int(word) for word in text[named.end() :].partition("(")[0].split()))
    return _about_name(name, _values(rest))


def _about_number(number: int, name: str, rest: Sequence[Piece]) -> Response:
    if name == "EXISTS":
        return Exists(number)
    if name == "EXPUNGE":
        return Expunged(number)
    if name != "FETCH":
        raise _MalformedError
    values = _values(rest)
    if len(values) != 1 or not isinstance(values[0], list):
        raise _MalformedError
    return _fetched(number, values[0])


def _fetched(number: int, items: list[Value]) -> Fetched:
    told = dict(_pairs(items))
    return Fetched(
        number=number,
        uid=_number(told["UID"]) if "UID" in told else None,
        flags=_atoms(told["FLAGS"]) if "FLAGS" in told else None,
        size=_number(told.pop("RFC822.SIZE")) if "RFC822.SIZE" in told else None,
        internal_date=_text(told["INTERNALDATE"]).strip() if "INTERNALDATE" in told else None,
        sections={
            key: b"" if value is None else _octets(value)
            for key, value in told.items()
            if key.startswith(("BODY[", "BINARY[", "RFC822"))
        },
    )


def _about_name(name: str, values: list[Value]) -> Response:
    if name in {"LIST", "LSUB"} and len(values) >= 3:
        delimiter = None if values[1] is None else _text(values[1])
        return Listed(decode_name(_text(values[2])), _atoms(values[0]), delimiter)
    if name == "STATUS" and len(values) == 2 and isinstance(values[1], list):
        return MailboxStatus(decode_name(_text(values[0])), {key: _number(each) for key, each in _pairs(values[1])})
    if name == "FLAGS" and len(values) == 1:
        return Flags(_atoms(values[0]))
    if name == "ESEARCH":
        return Found(_extended(values))
    if name == "NAMESPACE" and len(values) == 3:
        return Namespaces(_prefixes(values[0]), _prefixes(values[1]), _prefixes(values[2]))
    if name == "ID" and len(values) == 1:
        fields = _pairs(values[0]) if isinstance(values[0], list) else ()
        return Identity({key.lower(): "" if each is None else _text(each) for key, each in fields})
    raise _MalformedError


def _extended(values: list[Value]) -> tuple[int, ...]:
    """Read ``(TAG "m5") UID ALL 1:5,7`` (RFC 4731 §3.1)."""
    words = [value for value in values if isinstance(value, str)]
    for key, value in pairwise(words):
        if key.upper() == "ALL":
            return tuple(_spread(value))
    return ()


def _spread(sequence: str) -> Iterator[int]:
    count = 0
    for item in sequence.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            raise _MalformedError
        low, high = sorted((int(match[1]), int(match[2] or match[1])))
        count += high - low + 1
        if count > NUMBERS_LIMIT:
            raise _MalformedError
        yield from range(low, high + 1)


def _prefixes(value: Value) -> tuple[tuple[str, str | None], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _MalformedError
    found = []
    for each in value:
        if not isinstance(each, list) or len(each) < 2:
            raise _MalformedError
        found.append((decode_name(_text(each[0])), None if each[1] is None else _text(each[1])))
    return tuple(found)


# -- values ----------------------------------------------------------------------------------------------------


def _values(pieces: Sequence[Piece]) -> list[Value]:
    """Read values, nested as their parentheses are."""
    stack: list[list[Value]] = [[]]
    for token in _tokens(pieces):
        if token == "(":
            stack.append([])
            if len(stack) > DEPTH_LIMIT:
                raise _MalformedError
        elif token == ")":
            if len(stack) == 1:
                raise _MalformedError
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(None if isinstance(token, str) and token.upper() == "NIL" else token)
    if len(stack) > 1:
        raise _MalformedError
    return stack[0]


def _tokens(pieces: Sequence[Piece]) -> Iterator[str | bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        for match in _TOKEN.finditer(piece):
            if match[1] is None:
                yield match[0]
            else:
                yield re.sub(r"\\(.)", r"\1", match[1]).encode("latin-1")


def _pairs(items: list[Value]) -> Iterator[tuple[str, Value]]:
    if len(items) % 2:
        raise _MalformedError
    for key, value in zip(items[::2], items[1::2], strict=True):
        yield _text(key).upper(), value


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _MalformedError


def _octets(value: Value) -> bytes:
    return value if isinstance(value, bytes) else _text(value).encode("latin-1")


def _number(value: Value) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    raise _MalformedError


def _atoms(value: Value) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _MalformedError
    return tuple(_text(each) for each in value)
