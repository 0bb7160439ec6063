"""Reads and writes the DNS messages of every day, and knows when one is not.

Whatever is out of the ordinary (another type or class, a malformed message, a code without a name here) gives None
and is left to `mailprobe.net.dns.wire`, so that there is one opinion about the difficult cases. A test holds the
two against each other.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from typing import NamedTuple

from mailprobe.model.evidence import Record

PAYLOAD = 1_232  # octets that pass without fragments: the DNS flag day figure of 2020

_IN = 1
_OPT = 41
_EDE = 15  # RFC 8914 §2
_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
_FLAGS = (
    (0x8000, "qr"),
    (0x0400, "aa"),
    (0x0200, "tc"),
    (0x0100, "rd"),
    (0x0080, "ra"),
    (0x0020, "ad"),
    (0x0010, "cd"),
)
_ONE_ONLY = {"CNAME", "SOA"}
_NAME = re.compile(r"\.|([A-Za-z0-9_*-]{1,63}\.)*[A-Za-z0-9_*-]{1,63}\.?", re.ASCII)
_IN_NAMES = b'"().;\\@$'  # RFC 1035 §5.1: what a master file would take for something else
_IN_STRINGS = b'"\\'
_TTL_LIMIT = 1 << 31  # RFC 2181 §8


class Parts(NamedTuple):
    """A message taken apart; the fields are those of `mailprobe.net.dns.message.Response`."""

    flags: int
    flag_words: tuple[str, ...]
    rcode: int
    rcode_word: str
    question: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]
    authority: tuple[Record, ...]
    extended_errors: tuple[str, ...]


class _Unusual(Exception):  # noqa: N818 - no error, just not for us
    """This message is for the other reader."""


def query(name: str, type_name: str, *, edns: bool, checking_disabled: bool) -> bytes | None:
    """Write a query that asks for recursion and for the AD flag (RFC 6840 §5.7); None for an unusual one."""
    number = _TYPES.get(type_name)
    if number is None or not _NAME.fullmatch(name) or len(name) > 253:
        return None
    flags = 0x0100 | 0x0020 | (0x0010 if checking_disabled else 0)
    labels = [label.encode("ascii") for label in name.split(".") if label]
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    options = struct.pack("!BHHIH", 0, _OPT, PAYLOAD, 0, 0) if edns else b""
    head = os.urandom(2) + struct.pack("!HHHHH", flags, 1, 0, 0, 1 if edns else 0)
    return head + encoded + struct.pack("!HH", number, _IN) + options


def read(wire: bytes) -> Parts | None:
    """Take a message apart; None when it is unusual or malformed."""
    try:
        return _Reader(wire).message()
    except (_Unusual, struct.error, IndexError, UnicodeDecodeError):
        return None


class _Reader:
    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._at = 12
        self._extended_rcode = 0
        self._errors: list[str] = []
        self._options_seen = False

    def message(self) -> Parts:
        _, flags, questions, *counts = struct.unpack_from("!6H", self._wire)
        if flags & 0x7840:
            raise _Unusual("another opcode, or the bit that has no meaning")
        question = tuple(self._question() for _ in range(questions))
        records, authority, _ = (self._section(count, additional=number == 2) for number, count in enumerate(counts))
        rcode = flags & 0x000F | self._extended_rcode << 4
        if rcode not in _RCODES:
            raise _Unusual("a code without a name here")
        words = tuple(word for bit, word in _FLAGS if flags & bit)
        return Parts(flags, words, rcode, _RCODES[rcode], question, records, authority, tuple(self._errors))

    def _question(self) -> tuple[str, str]:
        name = self._name().lower()
        number, class_number = self._unpack("!HH")
        if class_number != _IN or number not in _TYPE_NAMES:
            raise _Unusual("a question of another kind")
        return name, _TYPE_NAMES[number]

    def _section(self, count: int, *, additional: bool) -> tuple[Record, ...]:
        """Read the records of a section, those of one name and type together (RFC 2181 §5)."""
        sets: dict[tuple[str, str], list[Record]] = {}
        for _ in range(count):
            name = self._name()
            number, class_number, ttl, length = self._unpack("!HHIH")
            end = self._at + length
            if end > len(self._wire):
                raise _Unusual("cut")
            if number == _OPT and additional:
                self._options(name, ttl, end)
                continue
            if class_number != _IN or number not in _TYPE_NAMES or ttl >= _TTL_LIMIT:
                raise _Unusual("a record of another kind")
            record = Record(name=name, type=_TYPE_NAMES[number], ttl=ttl, data=self._data(_TYPE_NAMES[number], end))
            _add(sets.setdefault((name.lower(), record.type), []), record)
        return tuple(record for found in sets.values() for record in found)

    def _options(self, name: str, ttl: int, end: int) -> None:
        """Read the OPT record (RFC 6891 §6.1)."""
        if self._options_seen or name != ".":
            raise _Unusual("OPT twice or below a name")
        self._options_seen = True
        self._extended_rcode = ttl >> 24
        while self._at < end:
            code, length = self._unpack("!HH")
            content = self._wire[self._at : self._at + length]
            self._at += length
            if self._at > end:
                raise _Unusual("an option that is cut")
            if code == _EDE:
                (number,) = struct.unpack_from("!H", content)
                text = content[2:].removesuffix(b"\0").decode("utf-8")
                self._errors.append(f"{number} {text}" if text else f"{number}")

    def _data(self, kind: str, end: int) -> str:
        """Give the presentation form of what a record holds (RFC 1035 §5.1)."""
        if kind == "A":
            text = socket.inet_ntoa(self._bytes(4))
        elif kind == "AAAA":
            text = socket.inet_ntop(socket.AF_INET6, self._bytes(16))
        elif kind == "MX":
            (preference,) = self._unpack("!H")
            text = f"{preference} {self._name()}"
        elif kind == "SOA":
            names = f"{self._name()} {self._name()}"
            text = " ".join([names, *map(str, self._unpack("!5I"))])
        elif kind == "TXT":
            text = " ".join(self._strings(end))
        else:
            text = self._name()
        if self._at != end or not text:
            raise _Unusual("a record longer or shorter than its content")
        return text

    def _strings(self, end: int) -> list[str]:
        found = []
        while self._at < end:
            length = self._wire[self._at]
            self._at += 1
            found.append(f'"{_escaped(self._bytes(length), _IN_STRINGS, 0x20)}"')
        return found

    def _name(self) -> str:
        """Read a name; a pointer must lead backwards, so that there is no going round (RFC 1035 §4.1.4)."""
        labels: list[str] = []
        at = lowest = self._at
        jumped = False
        octets = 1
        while length := self._wire[at]:
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | self._wire[at + 1]
                if target >= lowest:
                    raise _Unusual("a pointer forwards")
                if not jumped:
                    self._at = at + 2
                at = lowest = target
                jumped = True
                continue
            octets += length + 1
            label = self._wire[at + 1 : at + 1 + length]
            if length > 63 or len(label) != length or octets > 255:
                raise _Unusual("a label or name too long")
            labels.append(_escaped(label, _IN_NAMES, 0x21))
            at += 1 + length
        if not jumped:
            self._at = at + 1
        return "".join(f"{label}." for label in labels) or "."

    def _bytes(self, count: int) -> bytes:
        data = self._wire[self._at : self._at + count]
        if len(data) != count:
            raise _Unusual("cut")
        self._at += count
        return data

    def _unpack(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._wire, self._at)
        self._at += struct.calcsize(form)
        return values


def _add(found: list[Record], record: Record) -> None:
    """Add a record to its set: each content once, all with the least TTL, the case of the first name."""
    if found and record.type in _ONE_ONLY:
        raise _Unusual("a second record where there can be one")
    ttl = min(record.ttl, *(each.ttl for each in found)) if found else record.ttl
    contents = dict.fromkeys([*(each.data for each in found), record.data])
    name = found[0].name if found else record.name
    found[:] = [Record(name=name, type=record.type, ttl=ttl, data=data) for data in contents]


def _escaped(octets: bytes, special: bytes, lowest: int) -> str:
    """Write octets so that only printable ASCII remains (RFC 1035 §5.1)."""
    return "".join(
        f"\\{chr(octet)}" if octet in special else chr(octet) if lowest <= octet < 0x7F else f"\\{octet:03d}"
        for octet in octets
    )
