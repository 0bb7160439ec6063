"""SEARCH: the keys of RFC 3501 §6.4.4."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property

from mailprobe.protocols.imap.fetching import MONTHS
from mailprobe.protocols.imap.grammar import DEPTH_LIMIT, BadCommandError, Words, in_set
from mailprobe.protocols.imap.structure import fields_of, parse_message, split_header
from mailprobe.protocols.imap.texts import body_text, field_text
from mailprobe.protocols.mailstore import Letter

KEYS_LIMIT = 30  # each may read every letter whole
CHARSETS = (b"US-ASCII", b"UTF-8")


class BadCharsetError(Exception):
    """A search in a charset that is none of CHARSETS."""


class Hit:
    """A letter with its number and the highest ones of its mailbox, which ``*`` stands for. It is read when asked."""

    def __init__(self, number: int, letter: Letter, highest_number: int, highest_uid: int) -> None:
        self.number = number
        self.letter = letter
        self.highest_number = highest_number
        self.highest_uid = highest_uid

    @cached_property
    def data(self) -> bytes:
        """The whole letter."""
        return self.letter.data

    @cached_property
    def body(self) -> bytes:
        """The letter without its header."""
        return split_header(self.data)[1]

    @cached_property
    def text(self) -> str:
        """The text of all parts, decoded and in small letters."""
        return body_text(parse_message(self.data)).lower()

    @cached_property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields of its header."""
        return fields_of(split_header(self.data)[0])


Test = Callable[[Hit], bool]

_FLAG_KEYS = {"ANSWERED": "\\Answered", "DELETED": "\\Deleted", "DRAFT": "\\Draft", "FLAGGED": "\\Flagged"}
_FLAG_KEYS["SEEN"] = "\\Seen"
_HEADER_KEYS = {"BCC", "CC", "FROM", "SUBJECT", "TO"}
_DATE = re.compile(rb'"?([ 0-9]?[0-9])-([A-Za-z]{3})-([0-9]{4})"?')
_DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)


def parse_search(words: Words) -> Test:
    """Read everything after SEARCH.

    Raises:
        BadCommandError: it has another form.
        BadCharsetError: strings in that charset are not understood.
    """
    if words.skip(b"CHARSET "):
        charset = words.astring().upper()
        if charset not in CHARSETS:
            raise BadCharsetError
        words.space()
    return _parse_keys(words, 0, b"")


def _parse_keys(words: Words, depth: int, end: bytes) -> Test:
    """Read keys up to *end*; all have to fit."""
    tests = [_parse_key(words, depth)]
    while words.peek() != end:
        words.space()
        tests.append(_parse_key(words, depth))
        if len(tests) > KEYS_LIMIT:
            raise BadCommandError("too many search keys")
    return lambda hit: all(test(hit) for test in tests)


def _parse_key(words: Words, depth: int) -> Test:
    if depth > DEPTH_LIMIT:
        raise BadCommandError("search keys nested too deeply")
    if words.skip(b"("):
        inner = _parse_keys(words, depth + 1, b")")
        words.literally(b")")
        return inner
    if words.is_sequence():
        sequence = words.sequence()
        return lambda hit: bool(in_set(sequence, [hit.number], hit.highest_number))
    return _parse_word(words.word(), words, depth)


def _parse_word(key: str, words: Words, depth: int) -> Test:
    simple = _simple(key)
    if simple is not None:
        return simple
    words.space()
    match key:
        case "NOT":
            test = _parse_key(words, depth + 1)
            return lambda hit: not test(hit)
        case "OR":
            left = _parse_key(words, depth + 1)
            words.space()
            right = _parse_key(words, depth + 1)
            return lambda hit: left(hit) or right(hit)
        case "UID":
            sequence = words.sequence()
            return lambda hit: bool(in_set(sequence, [hit.letter.uid], hit.highest_uid))
        case "LARGER" | "SMALLER":
            size, sign = words.number(), 1 if key == "LARGER" else -1
            return lambda hit: sign * hit.letter.size > sign * size
        case "KEYWORD" | "UNKEYWORD":
            flag = words.astring().decode("latin-1").lower()
            wanted = key == "KEYWORD"
            return lambda hit: (flag in {name.lower() for name in hit.letter.flags}) == wanted
        case "BEFORE" | "ON" | "SINCE" | "SENTBEFORE" | "SENTON" | "SENTSINCE":
            return _dated(key, _parse_date(words))
    return _texted(key, words)


def _simple(key: str) -> Test | None:
    name = key.removeprefix("UN")
    if name in _FLAG_KEYS:
        flag, wanted = _FLAG_KEYS[name], name == key
        return lambda hit: (flag in hit.letter.flags) == wanted
    if key in ("ALL", "OLD"):
        return lambda _hit: True
    if key in ("NEW", "RECENT"):  # \Recent is never set, as in RFC 9051
        return lambda _hit: False
    return None


def _texted(key: str, words: Words) -> Test:
    if key in _HEADER_KEYS or key == "HEADER":
        name = key.lower().encode()
        if key == "HEADER":
            name = words.astring().lower()
            words.space()
        return _in_field(name, words.astring().lower())
    if key not in ("BODY", "TEXT"):
        raise BadCommandError("no such search key")
    return _in_body(words.astring().lower(), whole=key == "TEXT")


def _in_field(name: bytes, needle: bytes) -> Test:
    text = needle.decode("utf-8", "replace").lower()
    return lambda hit: any(
        field == name and (needle in value.lower() or text in field_text(value).lower()) for field, value in hit.fields
    )


def _in_body(needle: bytes, whole: bool) -> Test:
    text = needle.decode("utf-8", "replace").lower()

    def test(hit: Hit) -> bool:
        if needle in (hit.data if whole else hit.body).lower() or text in hit.text:
            return True
        return whole and any(text in field_text(value).lower() for _, value in hit.fields)

    return test


def _dated(key: str, day: date) -> Test:
    def test(hit: Hit) -> bool:
        found = _sent(hit) if key.startswith("SENT") else hit.letter.received.date()
        if found is None:
            return False
        match key.removeprefix("SENT"):
            case "BEFORE":
                return found < day
            case "ON":
                return found == day
        return found >= day

    return test


def _sent(hit: Hit) -> date | None:
    for name, value in hit.fields:
        if name == b"date":
            try:
                return parsedate_to_datetime(value.decode("latin-1")).date()
            except ValueError:
                return None
    return None


def _parse_date(words: Words) -> date:
    text = words.take(_DATE, "date")
    match = _DATE.match(text)
    assert match is not None, "the pattern that was taken fits"
    return _day(match[1], match[2], match[3])


def _day(day: bytes, month: bytes, year: bytes) -> date:
    try:
        return date(int(year), MONTHS.index(month.decode().capitalize()) + 1, int(day))
    except ValueError:
        raise BadCommandError("no such date") from None


def parse_date_time(words: Words) -> datetime:
    """Read the date of an APPEND.

    Raises:
        BadCommandError: it has another form.
    """
    match = _DATE_TIME.match(words.take(_DATE_TIME, "date"))
    assert match is not None, "the pattern that was taken fits"
    day = _day(match[1], match[2], match[3])
    sign = -1 if match[7] == b"-" else 1
    try:
        zone = timezone(sign * timedelta(hours=int(match[8]), minutes=int(match[9])))
        hour, minute, second = int(match[4]), int(match[5]), int(match[6])
        return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone)
    except ValueError:
        raise BadCommandError("no such time") from None
