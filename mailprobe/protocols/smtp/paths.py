"""The argument of MAIL and RCPT: a path and its parameters (RFC 5321 §4.1.2)."""

from __future__ import annotations

import re

import msgspec

from mailprobe.model.names import address_family

LOCAL_PART_LIMIT = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_LIMIT = 255  # RFC 5321 §4.5.3.1.2

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^"<>\s])*)>')
_SOURCE_ROUTE = re.compile(r"^@[^:]*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^=\s]+))?\Z")
_LOCAL_PART = re.compile(r"""("(?:[^"\\]|\\.)*"|[^\s"(),:;<>@\[\\\]]+)\Z""")
_DOMAIN = re.compile(r"(?:[^\s.@\[\]]+(?:\.[^\s.@\[\]]+)*|\[[0-9A-Za-z:.]+\])\Z")


def is_address_literal(text: str) -> bool:
    """Tell whether this is an address in brackets, ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` (RFC 5321 §4.1.3)."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    inner = text[1:-1]
    if inner[:5].upper() == "IPV6:":
        return address_family(inner[5:]) == 6
    return address_family(inner) == 4


class PathError(ValueError):
    """The argument has not the form that the RFC asks for; *enhanced* is the fitting code (RFC 3463)."""

    def __init__(self, text: str, enhanced: str) -> None:
        super().__init__(text)
        self.enhanced = enhanced


class Path(msgspec.Struct, frozen=True):
    """An address without its brackets and source route, and the parameters with upper-case names."""

    address: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def domain(self) -> str:
        """What stands behind the last ``@``, in lower case; empty when there is none."""
        return self.address.rpartition("@")[2].lower() if "@" in self.address else ""


def parse_path(argument: bytes, word: str) -> Path:
    """Read ``FROM:<a@b.test> SIZE=10``; *word* is ``FROM`` or ``TO``. The empty path is read too.

    Raises:
        PathError: it has another form.
    """
    text = argument.decode("utf-8", "surrogateescape")
    head, colon, rest = text.partition(":")
    if not colon or head.strip().upper() != word:
        raise PathError(f"{word}:<address> expected", "5.5.4")
    match = _PATH.match(rest.lstrip(" "))
    if match is None:
        raise PathError("address in angle brackets expected", "5.1.7" if word == "FROM" else "5.1.3")
    parameters = tuple(_parse_parameter(item) for item in rest.lstrip(" ")[match.end() :].split())
    return Path(_checked(_SOURCE_ROUTE.sub("", match[1]), word), parameters)


def _parse_parameter(item: str) -> tuple[str, str]:
    match = _PARAMETER.match(item)
    if match is None:
        raise PathError("malformed parameter", "5.5.4")
    return match[1].upper(), match[2] or ""


def _checked(address: str, word: str) -> str:
    if not address or (word == "TO" and address.lower() == "postmaster"):  # RFC 5321 §4.1.1.3
        return address
    local, _, domain = address.rpartition("@")
    enhanced = "5.1.7" if word == "FROM" else "5.1.3"
    literal_fits = not domain.startswith("[") or is_address_literal(domain)
    if not (_LOCAL_PART.match(local) and _DOMAIN.match(domain) and literal_fits) or _UNPRINTABLE.search(address):
        raise PathError("malformed address", enhanced)
    if len(local) > LOCAL_PART_LIMIT or len(domain) > DOMAIN_LIMIT:
        raise PathError("address too long", enhanced)
    return address
