"""Trace fields (RFC 5321 §4.4): the road of a letter as its servers wrote it down, in the forms that they really use.

A Received field is words and comments. Six words open a clause (``from by via with id for``), everything up to the
next one belongs to it. What a server puts into comments is its own affair: addresses, names and TLS are looked for in
all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import islice

import msgspec

from mailprobe.records.header import Field, fields

HOPS_LIMIT = 200  # RFC 5321 §6.3 asks for at least 100 before a loop is suspected
FIELD_LIMIT = 8_192  # octets of one field that are looked at
_NESTING = 20

_CLAUSES = frozenset({"from", "by", "via", "with", "id", "for"})
# RFC 3848, RFC 6531 §4.3 and the registry of mail transmission types; S is TLS, A a login
_PROTOCOL = re.compile(r"(?:UTF8)?(?:E?SMTP|LMTP)(S?)A?|(?:MMS)", re.IGNORECASE)
_SPOKE_TLS = re.compile(r"\b(?:TLS|SSL)[ _]?v?[1-3]\b|\bversion=(?:TLS|SSL)|\btls_|\bTLS: ?TLS", re.IGNORECASE)
_TLS_VERSION = re.compile(r"\b(TLS|SSL)[ _]?v?([1-3](?:[._][0-3])?)\b", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\[([^\[\]\s]{2,60})\]")
_HELO = re.compile(r"\b(?:helo|ehlo)[= ]\s*([^\s()]+)", re.IGNORECASE)
_NAME = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)+[A-Za-z0-9-]*[A-Za-z]\.?")
_DATE = re.compile(r"(?:[A-Za-z]{3},\s*)?[0-9]{1,2}\s+[A-Za-z]{3}\s+[0-9]{2,4}\s+[0-9:]{4,8}\b.*")
_NOBODY = frozenset({"unknown", "helo", "ehlo"})


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """What one Received field tells. What it does not tell is empty.

    *by* took the letter from a client that called itself *helo*, whose address is *address* and whose address has the
    name *reverse_name*. *protocol* is as given (``ESMTPS``, ``Microsoft SMTP Server``). *tls* is None where the field
    does not say; *tls_version* such as ``TLSv1.3``. *recipient* is the address of the ``for`` clause. *at* is by the
    clock of *by*, None without a date that can be read. *delay_s* counts from the hop before it that has a date:
    below 0 when their clocks disagree, None for the first. *text* is the whole field, unfolded.
    """

    helo: str
    reverse_name: str
    address: str
    by: str
    via: str
    protocol: str
    tls: bool | None
    tls_version: str
    queue_id: str
    recipient: str
    at: datetime | None
    delay_s: float | None
    text: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """All that servers wrote on top of a letter.

    *hops* come in the order of the road. *return_path* is the envelope sender without brackets, None where no server
    wrote it down. *authentication_results* (RFC 8601) are as they stand, from the top.
    """

    hops: tuple[Hop, ...]
    return_path: str | None
    delivered_to: tuple[str, ...]
    authentication_results: tuple[str, ...]


def trace(octets: bytes) -> Trace:
    """Read the trace fields of a letter, or of its header alone."""
    found = list(fields(octets))
    paths = [field.value for field in found if field.has_name("Return-Path")]
    return Trace(
        hops=_timed(_received(found)),
        return_path=paths[0].strip("<> \t") if paths else None,
        delivered_to=tuple(field.value for field in found if field.has_name("Delivered-To")),
        authentication_results=tuple(field.value for field in found if field.has_name("Authentication-Results")),
    )


def hops(octets: bytes) -> tuple[Hop, ...]:
    """Read the Received fields of a letter, or of its header alone, in the order of the road: the oldest first."""
    return _timed(_received(fields(octets)))


def _received(found: Iterator[Field] | list[Field]) -> list[Hop]:
    texts = (field.value for field in found if field.has_name("Received"))
    return [received(text) for text in islice(texts, HOPS_LIMIT)][::-1]


def _timed(found: list[Hop]) -> tuple[Hop, ...]:
    timed = []
    before: datetime | None = None
    for hop in found:
        delay = (hop.at - before).total_seconds() if hop.at is not None and before is not None else None
        timed.append(msgspec.structs.replace(hop, delay_s=delay))
        before = hop.at or before
    return tuple(timed)


def received(text: str) -> Hop:
    """Read one Received field, unfolded. Whatever it is, it gives a hop, at worst one that tells nothing."""
    clauses: dict[str, list[str]] = {name: [] for name in _CLAUSES}
    comments: dict[str, list[str]] = {name: [] for name in ("", *_CLAUSES)}
    shown = text[:FIELD_LIMIT]
    path, date = _without_date(shown)
    current = ""
    for token in _tokens(path):
        if token.startswith("("):
            comments[current].append(token[1:].removesuffix(")"))
        elif token.lower() in _CLAUSES and not (current and not clauses[current]) and not clauses[token.lower()]:
            current = token.lower()
        elif current:
            clauses[current].append(token)
    return _hop(shown, clauses, comments, date)


def _hop(text: str, clauses: dict[str, list[str]], comments: dict[str, list[str]], date: str) -> Hop:
    helo, reverse_name, address = _client(clauses["from"], comments["from"])
    asides = [comment for each in comments.values() for comment in each]
    protocol, spoken = _protocol(clauses["with"])
    tls, version = _tls(protocol, [*asides, *spoken])
    return Hop(
        helo=helo,
        reverse_name=reverse_name,
        address=address,
        by=_first(clauses["by"]).rstrip("."),
        via=" ".join(clauses["via"]),
        protocol=protocol,
        tls=tls,
        tls_version=version,
        queue_id=_first(clauses["id"]),
        recipient=_first(clauses["for"]).strip("<>"),
        at=_moment(date),
        delay_s=None,
        text=text,
    )


def _first(words: list[str]) -> str:
    return words[0].rstrip(",") if words else ""


def _tokens(text: str) -> Iterator[str]:
    """Split into words and comments; a comment, with those inside it, is one token that keeps its parentheses."""
    at = 0
    while at < len(text):
        character = text[at]
        if character in " \t\r\n;":
            at += 1
            continue
        end = _comment_end(text, at) if character == "(" else _word_end(text, at)
        yield text[at:end]
        at = end


def _comment_end(text: str, at: int) -> int:
    depth = 0
    for position in range(at, len(text)):
        character = text[position]
        if character == "(" and depth < _NESTING:
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position + 1
    return len(text)


def _word_end(text: str, at: int) -> int:
    quoted = False
    for position in range(at, len(text)):
        character = text[position]
        if character == '"':
            quoted = not quoted
        elif not quoted and (character in " \t\r\n;" or (character == "(" and position > at)):
            return position
    return len(text)


def _without_date(text: str) -> tuple[str, str]:
    """Part the clauses from the date; it stands behind the last semicolon, or, with some, just at the end."""
    path, semicolon, date = text.rpartition(";")
    if semicolon and _DATE.search(date):
        return path, date.strip()
    found = list(_DATE.finditer(text))
    if found:
        return text[: found[-1].start()], found[-1][0]
    return text, ""


def _moment(text: str) -> datetime | None:
    """Read a date (RFC 5322 §3.3); one that does not know its zone (``-0000``) is UTC all the same."""
    match = _DATE.search(text)
    if match is None:
        return None
    try:
        moment = parsedate_to_datetime(match[0])
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _client(words: list[str], comments: list[str]) -> tuple[str, str, str]:
    """Give how the client called itself, the name of its address, and its address."""
    word = _first(words)
    said = " ".join(comments)
    literal = _address_of(word.strip("[]"))
    helo = _HELO.search(said)
    address = _address(word, comments) or literal
    if helo is not None:  # Exim and qmail: the word is the name that they looked up themselves
        name = "" if literal or word.lower() in _NOBODY else word.rstrip(".")
        return helo[1].rstrip("."), name, address
    names = [match[0].rstrip(".") for comment in comments for match in _NAME.finditer(_before_brackets(comment))]
    return word.rstrip("."), _reverse_name(names, comments), address


def _before_brackets(comment: str) -> str:
    """Give the part of a comment in which a name may stand: ``mx.a.test [192.0.2.1]``, with Sendmail after an @."""
    head = comment.partition("[")[0] if "[" in comment else comment
    return head.rpartition("@")[2]


def _reverse_name(names: list[str], comments: list[str]) -> str:
    if not names:
        return ""
    first = comments[0].split() if comments else []
    # Only a comment that is about the client begins with the name: "(mx.a.test [192.0.2.1])", "(mx.a.test. [...])".
    leads = bool(first) and (first[0].rpartition("@")[2].rstrip(".") == names[0])
    return names[0] if leads else ""


def _address(word: str, comments: list[str]) -> str:
    for text in (*comments, word):
        for match in _IN_BRACKETS.finditer(text):
            if address := _address_of(match[1]):
                return address
    for comment in comments:  # Exchange and qmail leave the brackets out
        for piece in comment.split():
            if address := _address_of(piece.strip(",;")):
                return address
    return ""


def _address_of(text: str) -> str:
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _protocol(words: list[str]) -> tuple[str, list[str]]:
    """Give the protocol and what else the clause holds: Exim writes ``esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384``."""
    if not words:
        return "", []
    if _PROTOCOL.fullmatch(words[0]):
        return words[0], words[1:]
    return " ".join(words), []


def _tls(protocol: str, asides: list[str]) -> tuple[bool | None, str]:
    asides = [_NAME.sub("", _HELO.sub("", text)) for text in asides]  # a host may well be called tls1.a.test
    spoken = next((match for text in asides if (match := _TLS_VERSION.search(text))), None)
    version = ""
    if spoken is not None:
        number = spoken[2].replace("_", ".")
        version = f"{spoken[1].upper()}v{number}"
    standard = _PROTOCOL.fullmatch(protocol)
    if version or any(_SPOKE_TLS.search(text) for text in asides):
        return True, version
    return (bool(standard[1]) if standard is not None else None), ""
