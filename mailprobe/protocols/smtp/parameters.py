"""What stands behind the address in MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531),
AUTH (RFC 4954), REQUIRETLS (RFC 8689), and the wishes for delivery reports (RFC 3461)."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection

import msgspec

from mailprobe.protocols.mailstore import Asked
from mailprobe.protocols.smtp.paths import Path, PathError, parse_path

ENVID_LIMIT = 100  # RFC 3461 §4.4
ORCPT_LIMIT = 500  # RFC 3461 §4.2

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 §4
_CODED = re.compile(r"\+([0-9A-F]{2})")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_UTF8_CODED = re.compile(r"\\x\{([0-9A-F]{2,6})\}|\+([0-9A-F]{2})")  # RFC 6533 §3, and xtext for good measure
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*")
_BODIES = ("7BIT", "8BITMIME", "BINARYMIME")


class Sender(msgspec.Struct, frozen=True):
    """What MAIL said. *size* is as declared, 0 when it was not."""

    address: str
    size: int = 0
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    requiretls: bool = False


class Recipient(msgspec.Struct, frozen=True):
    """What RCPT said; *domain* in lower case, empty for ``<postmaster>``."""

    address: str
    domain: str
    asked: Asked


_NOTHING_ASKED = Asked()


def read_sender(argument: bytes, bodies: Collection[str] = _BODIES, requiretls: bool = True) -> Sender:
    """Read the argument of MAIL; *bodies* and *requiretls* tell what is offered.

    Raises:
        PathError: it is malformed, or asks for what is not offered.
    """
    path = parse_path(argument, "FROM")
    if not path.parameters:
        return Sender(path.address)
    given = _once(path)
    known = _MAIL_PARAMETERS if requiretls else _MAIL_PARAMETERS - {"REQUIRETLS"}
    _refuse_unknown(given, known)
    _xtext(given.get("AUTH", "").replace("<>", ""), "AUTH")
    return Sender(
        path.address,
        size=_size(given.get("SIZE", "0")),
        body=_one_of(given.get("BODY", "7BIT"), bodies, "BODY"),
        smtputf8=_flag(given, "SMTPUTF8"),
        ret=_one_of(given["RET"], ("FULL", "HDRS"), "RET") if "RET" in given else "",
        envid=_envid(given["ENVID"]) if "ENVID" in given else "",
        requiretls=_flag(given, "REQUIRETLS"),
    )


def read_recipient(argument: bytes) -> Recipient:
    """Read the argument of RCPT.

    Raises:
        PathError: it is malformed, or asks for what is not known.
    """
    path = parse_path(argument, "TO")
    if not path.address:
        raise PathError("The recipient is empty", "5.1.3")
    if not path.parameters:
        return Recipient(path.address, path.domain, _NOTHING_ASKED)
    given = _once(path)
    _refuse_unknown(given, _RCPT_PARAMETERS)
    notify = given.get("NOTIFY")
    if notify is not None and not _NOTIFY.fullmatch(notify.upper()):
        raise PathError("NOTIFY takes NEVER, or SUCCESS, FAILURE and DELAY", "5.5.4")
    asked = Asked(notify, _orcpt(given["ORCPT"]) if "ORCPT" in given else "")
    return Recipient(path.address, path.domain, asked)


_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "REQUIRETLS"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})


def _once(path: Path) -> dict[str, str]:
    given = dict(path.parameters)
    if len(given) < len(path.parameters):
        raise PathError("A parameter was given twice", "5.5.4")
    return given


def _refuse_unknown(given: dict[str, str], known: frozenset[str]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise PathError(f"Parameter not recognized: {unknown[:40]}", "5.5.1")


def _size(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):  # RFC 1870 §5
        raise PathError("SIZE takes a number", "5.5.4")
    return int(value)


def _one_of(value: str, words: Collection[str], name: str) -> str:
    if value.upper() not in words:
        raise PathError(f"{name} takes {' or '.join(words)}", "5.5.4")
    return value.upper()


def _flag(given: dict[str, str], name: str) -> bool:
    if given.get(name):
        raise PathError(f"{name} takes no value", "5.5.4")
    return name in given


def _envid(value: str) -> str:
    decoded = _xtext(value, "ENVID")
    if not 0 < len(value) <= ENVID_LIMIT:
        raise PathError(f"ENVID takes at most {ENVID_LIMIT} characters", "5.5.4")
    return decoded


def _orcpt(value: str) -> str:
    """Read ``rfc822;bob+40b.test`` as ``rfc822;bob@b.test``."""
    kind, semicolon, address = value.partition(";")
    if not semicolon or not address or not _ADDRESS_TYPE.fullmatch(kind) or len(value) > ORCPT_LIMIT:
        raise PathError("ORCPT takes a type, a semicolon and an address", "5.5.4")
    if kind.lower() == "utf-8":
        return f"{kind};{_utf8_address(address)}"
    octets = _octets(address, "ORCPT")
    if kind.lower() == "rfc822" and not octets.isascii():
        return f"utf-8;{_utf8(octets)}"
    return f"{kind};{_xtext(address, 'ORCPT')}"


def _utf8(octets: bytes) -> str:
    """Read an address beyond ASCII as Postfix writes it: as xtext, octet by octet, where RFC 6533 §3 has ``utf-8``."""
    try:
        return _printable(octets.decode("utf-8"), "ORCPT")
    except UnicodeDecodeError:
        raise PathError("ORCPT holds what cannot be printed", "5.5.4") from None


def _utf8_address(value: str) -> str:
    """Read an address of type ``utf-8``: as it is, or with ``\\x{E4}`` for what is not ASCII (RFC 6533 §3)."""
    return _printable(_UTF8_CODED.sub(_character, value), "ORCPT")


def _character(match: re.Match[str]) -> str:
    point = int(match[1] or match[2], 16)
    if point > sys.maxunicode:
        raise PathError("ORCPT holds what is no character", "5.5.4")
    return chr(point)


def _xtext(value: str, name: str) -> str:
    return _printable(_octets(value, name).decode("latin-1"), name, ascii_only=True)


def _octets(value: str, name: str) -> bytes:
    if not _XTEXT.fullmatch(value):
        raise PathError(f"{name} is not xtext", "5.5.4")
    return _CODED.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")


def _printable(text: str, name: str, ascii_only: bool = False) -> str:
    """Make sure that a text can go into a header of a report without becoming a second one."""
    if not text.isprintable() or (ascii_only and not text.isascii()):
        raise PathError(f"{name} holds what cannot be printed", "5.5.4")
    return text
