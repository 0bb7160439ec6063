"""The words of an IMAP command (RFC 3501 §9): reading what a client sent, quoting what a server says.

A command reaches ``Words`` whole: its literals stand in it as they came, ``{3}`` CRLF and three octets.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from mailprobe.protocols.commands import CommandBuffer, OverlongLineError
from mailprobe.protocols.imap.names import is_name

NUMBER_LIMIT = 2**32 - 1
DEPTH_LIMIT = 16  # of parentheses and of NOT and OR in a search
LITERAL_AT_END = re.compile(rb"\{([0-9]{1,10})(\+?)\}\Z")

_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r?\n")
_ATOM = re.compile(rb"[^\x00-\x20(){%*\"\\\x7f]+")
_LIST_ATOM = re.compile(rb"[^\x00-\x20(){\"\\\x7f]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"')
_FLAG = re.compile(rb"\\?[^\x00-\x20(){%*\"\\\x7f\]]+")
_NUMBER = re.compile(rb"[0-9]{1,10}")
_DIGITS = re.compile(rb"[0-9]+")
_ONE = rb"(?:[1-9][0-9]{0,9}|\*)"
_RANGE = _ONE + rb"(?::" + _ONE + rb")?"
_SET = re.compile(_RANGE + rb"(?:," + _RANGE + rb")*(?=[ )]|\Z)")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")


class BadCommandError(ValueError):
    """A command without the form that the RFC gives it."""


class TooBigError(Exception):
    """A literal that is not taken; *endless* when its octets, or a line without end, are on their way anyway."""

    def __init__(self, tag: bytes, endless: bool) -> None:
        super().__init__("literal too big")
        self.tag = tag
        self.endless = endless


class Limits(msgspec.Struct, frozen=True):
    """How long a command may get: its lines together, and its literals together."""

    lines: int
    literals: int


class CommandReader:
    """Puts lines and literals together to whole commands."""

    def __init__(self) -> None:
        self._parts = bytearray()
        self._literal = 0  # octets still to come
        self._lines = 0
        self._literals = 0
        self.wants_go_ahead = False  # the client waits for "+" before it sends the literal

    def read(self, buffer: CommandBuffer, limits: Limits) -> bytes | None:
        """Give the next whole command without its line end, or None when more octets are needed.

        Raises:
            OverlongLineError: too many octets in lines; the command is gone.
            TooBigError: too many octets in literals; the command is gone.
        """
        while True:
            if self._literal:
                taken = buffer.take(self._literal)
                self._parts += taken
                self._literal -= len(taken)
                if self._literal:
                    return None
            try:
                line = buffer.line(max(2, limits.lines - self._lines))
            except OverlongLineError:
                self._start_anew()
                raise
            if line is None:
                return None
            self._parts += line
            match = LITERAL_AT_END.search(line)
            if match is None:
                return self._start_anew()
            self._expect(int(match[1]), bool(match[2]), limits, len(line))
            if self.wants_go_ahead:
                return None

    def _expect(self, count: int, non_synchronizing: bool, limits: Limits, line_length: int) -> None:
        self._lines += line_length
        self._literals += count
        if self._literals > limits.literals:
            raise TooBigError(self._start_anew().partition(b" ")[0], non_synchronizing)
        self._parts += b"\r\n"
        self._literal = count
        self.wants_go_ahead = not non_synchronizing

    def _start_anew(self) -> bytes:
        whole = bytes(self._parts)
        self._parts.clear()
        self._literal = self._lines = self._literals = 0
        return whole

    def clear(self) -> None:
        """Forget a command that is half there."""
        self._start_anew()
        self.wants_go_ahead = False


class Words:
    """Reads one command from left to right.

    Every method raises BadCommandError when something else stands there.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise BadCommandError(f"{what} expected")
        self._at = match.end()
        return match

    def peek(self) -> bytes:
        """Give the next octet, or nothing at the end."""
        return self._text[self._at : self._at + 1]

    def at_end(self) -> bool:
        """Tell whether everything was read."""
        return self._at >= len(self._text)

    def end(self) -> None:
        """Read the end of the command."""
        if not self.at_end():
            raise BadCommandError("unexpected argument")

    def space(self) -> None:
        """Read one space."""
        self.literally(b" ")

    def literally(self, octets: bytes) -> None:
        """Read exactly these octets, case apart."""
        if not self.skip(octets):
            raise BadCommandError(f"{octets.decode()!r} expected")

    def skip(self, octets: bytes) -> bool:
        """Read these octets, case apart, if they are next."""
        if self._text[self._at : self._at + len(octets)].upper() != octets.upper():
            return False
        self._at += len(octets)
        return True

    def take(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        """Read what the pattern matches."""
        return self._match(pattern, what)[0]

    def word(self) -> str:
        """Read an atom, in upper case."""
        return self._match(_ATOM, "atom")[0].decode("ascii", "replace").upper()

    def number(self) -> int:
        """Read a number."""
        return _bounded(self._match(_NUMBER, "number")[0])

    def string(self) -> bytes:
        """Read a quoted string or a literal."""
        if self.peek() == b'"':
            return re.sub(rb"\\(.)", rb"\1", self._match(_QUOTED, "quoted string")[1])
        count = int(self._match(_LITERAL, "string")[1])
        value = self._text[self._at : self._at + count]
        self._at += count
        if b"\0" in value:
            raise BadCommandError("a literal holds no NUL (RFC 3501)")
        return value

    def astring(self) -> bytes:
        """Read an atom or a string."""
        return self.string() if self.peek() in (b'"', b"{") else self._match(_ATOM, "string")[0]

    def pattern(self) -> bytes:
        """Read what LIST takes as a mailbox with wildcards."""
        return self.string() if self.peek() in (b'"', b"{") else self._match(_LIST_ATOM, "mailbox")[0]

    def mailbox(self) -> str:
        """Read the name of a mailbox."""
        name = self.astring().decode("latin-1")
        if not name or len(name) > 255 or not all(" " <= letter <= "~" for letter in name):
            raise BadCommandError("a mailbox name is printable ASCII, at most 255 octets (RFC 3501)")
        if not is_name(name):
            raise BadCommandError("a mailbox name is modified UTF-7 (RFC 3501)")
        return name

    def sequence(self) -> bytes:
        """Read a set of numbers."""
        found = self._match(_SET, "sequence set")[0]
        for digits in _DIGITS.findall(found):
            _bounded(digits)
        return found

    def is_sequence(self) -> bool:
        """Tell whether a set of numbers is next."""
        return _SET.match(self._text, self._at) is not None

    def flags(self) -> tuple[str, ...]:
        """Read a list of flags with or without its parentheses."""
        listed = self.skip(b"(")
        flags: list[str] = []
        while not (self.peek() == b")" if listed else self.at_end()):
            if flags:
                self.space()
            flags.append(canonical_flag(self._match(_FLAG, "flag")[0].decode("latin-1")))
        if listed:
            self.literally(b")")
        return tuple(dict.fromkeys(flags))


def _bounded(digits: bytes) -> int:
    number = int(digits)
    if number > NUMBER_LIMIT:
        raise BadCommandError("a number has 32 bits (RFC 3501)")
    return number


SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
FLAGS_PER_LETTER = 32


def canonical_flag(flag: str) -> str:
    """Give a flag in the case it is listed in.

    Raises:
        BadCommandError: a system flag that clients cannot set.
    """
    if not flag.startswith("\\"):
        if len(flag) > 64:
            raise BadCommandError("keyword too long")
        return flag
    known = {name.lower(): name for name in SYSTEM_FLAGS}
    if flag.lower() not in known:
        raise BadCommandError("no such system flag")
    return known[flag.lower()]


def in_set(sequence: bytes, numbers: Iterable[int], highest: int) -> list[int]:
    """Give those of *numbers* that a set names; ``*`` is *highest*. The set is never spread out."""
    starts, ends = spans(sequence, highest)
    found = []
    for number in numbers:
        at = bisect_right(starts, number) - 1
        if at >= 0 and number <= ends[at]:
            found.append(number)
    return found


@lru_cache(maxsize=16)  # SEARCH asks for the same set with every letter
def spans(sequence: bytes, highest: int) -> tuple[list[int], list[int]]:
    """Give the first and the last numbers of what a set names, ascending and without overlap."""
    pairs = []
    for item in sequence.split(b","):
        edges = [highest if edge == b"*" else int(edge) for edge in item.split(b":")]
        pairs.append((min(edges), max(edges)))
    starts: list[int] = []
    ends: list[int] = []
    for low, high in sorted(pairs):
        if ends and low <= ends[-1]:
            ends[-1] = max(ends[-1], high)
        else:
            starts.append(low)
            ends.append(high)
    return starts, ends


def quoted(value: bytes | None) -> bytes:
    """Give a string as a quoted string, as a literal when it holds what cannot be quoted, or NIL."""
    if value is None:
        return b"NIL"
    if len(value) > 1000 or not _QUOTABLE.match(value):
        return literal(value)
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal(value: bytes) -> bytes:
    """Give a string as a literal."""
    return b"{%d}\r\n" % len(value) + value


def mailbox_word(name: str) -> bytes:
    """Give a mailbox name as the servers say it."""
    octets = name.encode("ascii")
    return octets if re.fullmatch(rb"[A-Za-z0-9._/&+-]+", octets) else quoted(octets)
