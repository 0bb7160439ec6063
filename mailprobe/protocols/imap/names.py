"""Mailbox names as IMAP writes them: a modified UTF-7 (RFC 3501 §5.1.3)."""

from __future__ import annotations

import base64
import binascii
import re
from unicodedata import category

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")
_NEEDS_SHIFT = re.compile(r"[^\x20-\x7e]+|&")


def encode_name(name: str) -> str:
    """Write a mailbox name as it goes over the wire."""
    return _NEEDS_SHIFT.sub(lambda match: _shifted(match[0]), name)


def decode_name(text: str) -> str:
    """Read a mailbox name from the wire; what is no modified UTF-7 stays as it is."""
    return _SHIFTED.sub(lambda match: _unshifted(match), text)


def is_name(text: str) -> bool:
    """Tell whether this is modified UTF-7 as it has to be: without controls, and nothing shifted without need."""
    if "&" not in text:
        return text.isprintable()
    name = decode_name(text)
    return encode_name(name) == text and all(category(character) != "Cc" for character in name)


def _shifted(text: str) -> str:
    if text == "&":
        return "&-"
    octets = text.encode("utf-16-be", "surrogatepass")
    return f"&{base64.b64encode(octets).decode('ascii').rstrip('=').replace('/', ',')}-"


def _unshifted(match: re.Match[str]) -> str:
    word = match[1].replace(",", "/")
    if not word:
        return "&"
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4)).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
