"""Header fields as octets (RFC 5322 §2.2), folded, and encoded where they hold more than ASCII.

Written out here because `email` in Python 3.11 loses or adds spaces between encoded words and folds without regard to
quotes; the tests hold every field to what `email` reads out of it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from mailprobe.mail.addresses import Mailbox, refuse_controls
from mailprobe.model.errors import UsageError

LINE_USUAL = 78  # RFC 5322 §2.1.1
LINE_LIMIT = 998
_WORD_LIMIT = 75  # RFC 2047 §2
_FRAME = len("=?utf-8?q??=")
_SEGMENT = 50  # characters of a parameter's value in one piece (RFC 2231 §3)

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+\-.^_`{|}~]+")
# What an encoded word may hold as it is, in any place where one is allowed (RFC 2047 §5 (3)).
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


def field_name(text: str) -> str:
    """Return the name of a field unchanged.

    Raises:
        UsageError: it is none.
    """
    if not _FIELD_NAME.fullmatch(text):
        raise UsageError(f"{text[:60]!r} is no name of a header field; write for example 'X-Test: yes'")
    return text


def text_field(name: str, text: str, *, utf8: bool = False) -> bytes:
    """Write a field of free text, such as Subject; with *utf8* as it is (RFC 6532), else in encoded words.

    Raises:
        UsageError: see `mailprobe.mail.addresses.refuse_controls`.
    """
    refuse_controls(text, name)
    if (utf8 or text.isascii()) and _survives_folding(text):
        folded = _folded(f"{name}: {text}")
        if max(len(line) for line in folded.split(b"\r\n")) <= LINE_LIMIT:
            return folded + b"\r\n"
    words = _encoded_words(text, LINE_USUAL - len(name) - 2)
    return b"%b: %b\r\n" % (name.encode(), b"\r\n ".join(words))


def address_field(name: str, boxes: Iterable[Mailbox], *, utf8: bool = False) -> bytes:
    """Write a field of addresses, such as To."""
    lines = [f"{name}:".encode()]
    written = [_address(box, utf8=utf8) for box in boxes]
    for number, octets in enumerate(written):
        comma = b"," if number < len(written) - 1 else b""
        first, *rest = octets.split(b"\r\n ")
        if len(lines[-1]) + len(first) + 2 > LINE_USUAL and number:
            lines.append(b"")
        lines[-1] += b" " + first
        lines += [b" " + line for line in rest]
        lines[-1] += comma
    return b"\r\n".join(lines) + b"\r\n"


def parameter_field(name: str, value: str, parameters: dict[str, str], *, utf8: bool = False) -> bytes:
    """Write a field with parameters, such as Content-Type; beyond ASCII as RFC 2231 says."""
    lines = [f"{name}: {value}".encode()]
    for key, text in parameters.items():
        refuse_controls(text, f"{name}, {key}")
        for piece in _parameter(key, text, utf8=utf8):
            lines[-1] += b";"
            if len(lines[-1]) + len(piece) + 2 > LINE_USUAL:
                lines.append(b"")
            lines[-1] += b" " + piece
    return b"\r\n".join(lines) + b"\r\n"


def _survives_folding(text: str) -> bool:
    """Tell whether readers get the text back: none looks like an encoded word, no space is at an end."""
    return _is_taken_as_it_is(text) and text == text.strip(" \t")


def _is_taken_as_it_is(text: str) -> bool:
    """Tell whether no reader decodes it; many look for encoded words in quotes and in parameters, too."""
    return "=?" not in text


def _folded(line: str) -> bytes:
    """Fold before spaces, which stay in place as the first octets of the next line (RFC 5322 §2.2.3)."""
    name, *pieces = (piece.encode() for piece in re.findall(r"[ \t]*[^ \t]+", line))
    lines = [name + b"".join(pieces[:1])]  # nothing is gained by a first line with the name alone
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) > LINE_USUAL:
            lines.append(b"")
        lines[-1] += piece
    return b"\r\n".join(lines)


def _encoded_words(text: str, first_room: int) -> list[bytes]:
    """Write a text as encoded words (RFC 2047), each of whole characters; the spaces between them do not count."""
    words: list[bytes] = []
    octets = text.encode()
    by_letters = sum(1 if octet in _PLAIN or octet == 0x20 else 3 for octet in octets) <= len(octets) * 4 // 3 + 3
    cost = _cost_of_letters if by_letters else _cost_of_base64
    room = min(_WORD_LIMIT, max(first_room, 30)) - _FRAME
    piece = b""
    for character in text:
        longer = piece + character.encode()
        if piece and cost(longer) > room:
            words.append(_encoded_word(piece, by_letters=by_letters))
            longer = character.encode()
            room = _WORD_LIMIT - _FRAME
        piece = longer
    return [*words, _encoded_word(piece, by_letters=by_letters)]


def _cost_of_letters(octets: bytes) -> int:
    return sum(1 if octet in _PLAIN or octet == 0x20 else 3 for octet in octets)


def _cost_of_base64(octets: bytes) -> int:
    return -(-len(octets) // 3) * 4


def _encoded_word(octets: bytes, *, by_letters: bool) -> bytes:
    if not by_letters:
        return b"=?utf-8?b?%b?=" % binascii.b2a_base64(octets, newline=False)
    letters = b"".join(
        bytes((octet,)) if octet in _PLAIN else b"_" if octet == 0x20 else b"=%02X" % octet for octet in octets
    )
    return b"=?utf-8?q?%b?=" % letters


def _address(box: Mailbox, *, utf8: bool) -> bytes:
    address = box.address.encode()
    if not box.name:
        return address
    if (utf8 or box.name.isascii()) and _is_taken_as_it_is(box.name):
        escaped = re.sub(r'(["\\])', r"\\\1", box.name)
        name = (box.name if _PHRASE.fullmatch(box.name) else f'"{escaped}"').encode()
        if len(name) + len(address) < LINE_LIMIT - 100:
            return b"%b <%b>" % (name, address)
    return b"%b <%b>" % (b"\r\n ".join(_encoded_words(box.name, 60)), address)


def _parameter(key: str, text: str, *, utf8: bool) -> Iterator[bytes]:
    if (utf8 or text.isascii()) and len(text) <= _SEGMENT and _is_taken_as_it_is(text):
        escaped = re.sub(r'(["\\])', r"\\\1", text)
        yield (f"{key}={text}" if _TOKEN.fullmatch(text) else f'{key}="{escaped}"').encode()
        return
    encoded = [quote(character, safe="") for character in text]
    pieces = [""]
    for number, character in enumerate(encoded):
        if pieces[-1] and len(pieces[-1]) + len(character) > _SEGMENT:
            pieces.append("")
        pieces[-1] += character if number or pieces[-1] else f"utf-8''{character}"
    if len(pieces) == 1:
        yield f"{key}*={pieces[0]}".encode()
        return
    for number, piece in enumerate(pieces):
        yield f"{key}*{number}*={piece}".encode()
