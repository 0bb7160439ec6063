"""SASLprep (RFC 4013): names and passwords that look alike become the same octets."""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0  # stringprep (RFC 3454) is tied to this version of Unicode

from mailprobe.protocols.sasl.exchange import SaslError

_PROHIBITED = (  # RFC 4013 §2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """Prepare a name or password; code points that Unicode 3.2 did not know are let through (RFC 3454 §7).

    Raises:
        SaslError: it holds what may not be in one, mixes directions of writing, or nothing is left of it.
    """
    if text.isascii() and text.isprintable() and text:
        return text
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared:
        raise SaslError("nothing is left of a name or password")
    if any(prohibited(character) for character in prepared for prohibited in _PROHIBITED):
        raise SaslError("a name or password holds a character that may not be in one")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    if not any(map(stringprep.in_table_d1, text)):
        return
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not ends or any(map(stringprep.in_table_d2, text)):  # RFC 3454 §6
        raise SaslError("a name or password mixes directions of writing")
