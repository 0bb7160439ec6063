"""FETCH: the items a client asks for (RFC 3501 §6.4.5) and how a letter answers them."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from mailprobe.protocols.imap.grammar import BadCommandError, Words, literal, quoted
from mailprobe.protocols.imap.selected import flag_list
from mailprobe.protocols.imap.structure import (
    Part,
    body_structure,
    envelope,
    find_part,
    parse_message,
    split_header,
)
from mailprobe.protocols.mailstore import Letter

ITEMS_LIMIT = 32  # of one FETCH: each may hold a whole message
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MACROS = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_PLAIN = {
    "FLAGS",
    "UID",
    "INTERNALDATE",
    "RFC822.SIZE",
    "ENVELOPE",
    "BODYSTRUCTURE",
    "BODY",
    "RFC822",
    "RFC822.HEADER",
    "RFC822.TEXT",
}
_NAME = re.compile(rb"[A-Za-z0-9.]+")
_PATH = re.compile(rb"[1-9][0-9]{0,3}(?:\.[1-9][0-9]{0,3})*")
_TEXTS = (b"HEADER.FIELDS.NOT", b"HEADER.FIELDS", b"HEADER", b"TEXT", b"MIME")


class Item(msgspec.Struct, frozen=True):
    """One thing to fetch. *path*, *text*, *fields* and *partial* are only for ``BODY[...]``."""

    name: str
    peek: bool = True
    section: bool = False
    path: tuple[int, ...] = ()
    text: str = ""
    fields: tuple[bytes, ...] = ()
    partial: tuple[int, int] | None = None

    @property
    def takes_text(self) -> bool:
        """True when the answer holds text of the letter, and not its headers alone."""
        return self.name in ("RFC822", "RFC822.TEXT") or (self.section and self.text in ("", "TEXT"))


def parse_items(words: Words) -> tuple[Item, ...]:
    """Read what FETCH takes after its sequence set.

    Raises:
        BadCommandError: it has another form.
    """
    if not words.skip(b"("):
        item = _parse_item(words)
        if isinstance(item, str):
            return tuple(Item(name) for name in _MACROS[item])
        return (item,)
    items: list[Item] = []
    while not items or not words.skip(b")"):
        if items:
            words.space()
        item = _parse_item(words)
        if isinstance(item, str) or len(items) >= ITEMS_LIMIT:
            raise BadCommandError("a macro in a list" if isinstance(item, str) else "too many items")
        items.append(item)
    return tuple(items)


def _parse_item(words: Words) -> Item | str:
    name = words.take(_NAME, "FETCH item").decode().upper()
    if name in _MACROS:
        return name
    if name in ("BODY", "BODY.PEEK") and words.skip(b"["):
        return _parse_section(words, peek=name == "BODY.PEEK")
    if name not in _PLAIN:
        raise BadCommandError("no such FETCH item")
    return Item(name, peek=name not in ("RFC822", "RFC822.TEXT"))


def _parse_section(words: Words, peek: bool) -> Item:
    path: tuple[int, ...] = ()
    if words.peek().isdigit():
        path = tuple(int(number) for number in words.take(_PATH, "part number").split(b"."))
        if words.peek() != b"]":
            words.literally(b".")
    text = next((name for name in _TEXTS if words.skip(name)), b"").decode()
    if text == "MIME" and not path:
        raise BadCommandError("MIME needs a part number")
    fields: list[bytes] = []
    if text.startswith("HEADER.FIELDS"):
        words.space()
        words.literally(b"(")
        while not fields or not words.skip(b")"):
            if fields:
                words.space()
            fields.append(words.astring())
    words.literally(b"]")
    partial = None
    if words.skip(b"<"):
        first = words.number()
        words.literally(b".")
        partial = (first, words.number())
        words.literally(b">")
    return Item("BODY", peek, True, path, text, tuple(fields), partial)


class Answerer:
    """Answers the items of one letter, taking it apart at most once."""

    def __init__(self, letter: Letter) -> None:
        self._letter = letter
        self._data: bytes | None = None
        self._message: Part | None = None

    @property
    def message(self) -> Part:
        """The letter's parts."""
        if self._message is None:
            self._message = parse_message(self.data)
        return self._message

    @property
    def data(self) -> bytes:
        """The letter, read once."""
        if self._data is None:
            self._data = self._letter.data
        return self._data

    def answer(self, item: Item) -> bytes:
        """Give the item's name and value."""
        if item.section:
            return self._section(item)
        return item.name.encode() + b" " + self._value(item.name)

    def _value(self, name: str) -> bytes:
        letter = self._letter
        match name:
            case "FLAGS":
                return flag_list(letter.flags)
            case "UID":
                return b"%d" % letter.uid
            case "INTERNALDATE":
                return date_time(letter.received)
            case "RFC822.SIZE":
                return b"%d" % letter.size
            case "ENVELOPE":
                return envelope(self.message)
            case "BODYSTRUCTURE" | "BODY":
                return body_structure(self.message, name == "BODYSTRUCTURE")
            case "RFC822.HEADER":
                return literal(split_header(self.data)[0])
            case "RFC822.TEXT":
                return literal(split_header(self.data)[1])
        return literal(self.data)

    def _section(self, item: Item) -> bytes:
        words = [".".join(map(str, item.path)), item.text]
        name = ".".join(word for word in words if word).encode()
        if item.fields:
            name += b" (" + b" ".join(_field_word(field) for field in item.fields) + b")"
        value = self._octets(item)
        origin = b""
        if item.partial is not None and value is not None:
            first, count = item.partial
            value, origin = value[first : first + count], b"<%d>" % first
        return b"BODY[" + name + b"]" + origin + b" " + (b"NIL" if value is None else literal(value))

    def _octets(self, item: Item) -> bytes | None:
        if not item.path and not item.text:
            return self.data
        if not item.path:
            header, text = split_header(self.data)
            return text if item.text == "TEXT" else pick_fields(header, item)
        part = find_part(self.message, item.path)
        if part is None or item.text in ("", "MIME"):
            return None if part is None else part.header if item.text else part.body
        if not part.children or part.type == "multipart":
            return None  # HEADER and TEXT are only for message/rfc822
        inner = part.children[0]
        return inner.body if item.text == "TEXT" else pick_fields(inner.header, item)


def pick_fields(header: bytes, item: Item) -> bytes:
    """Give the header, or the fields of it that are wanted, with its empty line."""
    if item.text == "HEADER":
        return header
    wanted = {field.lower() for field in item.fields}
    kept = []
    for field in re.split(rb"(?<=\n)(?![ \t])", header):
        name, colon, _ = field.partition(b":")
        if colon and (name.strip().lower() in wanted) != item.text.endswith("NOT"):
            kept.append(field)
    return b"".join(kept) + b"\r\n"


def _field_word(field: bytes) -> bytes:
    return field if re.fullmatch(rb"[A-Za-z0-9_-]+", field) else quoted(field)


def date_time(when: datetime) -> bytes:
    """Give a date as INTERNALDATE has it; never in the language of the machine."""
    text = f"{when.day:2d}-{MONTHS[when.month - 1]}-{when.year:04d} {when:%H:%M:%S} {when:%z}"
    return b'"' + text.encode() + b'"'
