"""Plain words: for troubles, DNS failures, counts and times, and for text that a stranger's server sent."""

from __future__ import annotations

import re

from mailprobe.model.evidence import Answer, Dnssec, Kind, Stage, Status, Trouble
from mailprobe.model.finding import Cause

# Well-formed UTF-8 of two to four octets, read as Latin-1 (RFC 3629 §4).
_UTF8 = re.compile(
    "[\xc2-\xdf][\x80-\xbf]"
    "|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    "|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)

_STAGES = {
    Stage.RESOLVE: "while resolving the name",
    Stage.CONNECT: "while connecting",
    Stage.GREETING: "while waiting for the greeting",
    Stage.CAPABILITIES: "while asking for capabilities",
    Stage.STARTTLS: "while asking for STARTTLS",
    Stage.HANDSHAKE: "in the TLS handshake",
    Stage.CAPABILITIES_TLS: "while asking for capabilities inside TLS",
    Stage.PROBE: "while probing",
    Stage.LOGIN: "while logging in",
    Stage.CAPABILITIES_LOGIN: "while asking for capabilities after the login",
    Stage.MAIL: "at MAIL",
    Stage.RCPT: "at RCPT",
    Stage.DATA: "at DATA",
    Stage.MESSAGE: "at the end of the letter",
    Stage.LIST: "while listing",
    Stage.FETCH: "while fetching",
    Stage.DELETE: "while deleting",
    Stage.WAIT: "while waiting for a letter",
    Stage.QUIT: "while saying goodbye",
}

_KINDS = {
    Kind.REFUSED: "connection refused",
    Kind.UNREACHABLE: "unreachable from here",
    Kind.TIMEOUT: "no answer within our limit",
    Kind.CLOSED: "the server closed the connection",
    Kind.RESET: "the server reset the connection",
    Kind.LIMIT: "the server sent more than any honest one does",
    Kind.GARBAGE: "the server sent something without the protocol's form",
    Kind.REJECTED: "the server refused",
    Kind.TEMPORARY: "the server asked to come back later",
    Kind.TLS_ALERT: "the server ended TLS with an alert",
    Kind.NOT_TLS: "the server answered with something that is no TLS",
    Kind.TLS_FAILED: "TLS failed",
    Kind.LOCAL: "this machine could not",
}

_CAUSES = {
    Cause.RATE_LIMITED: "the server limits how often we may ask",
    Cause.GREYLISTED: "the server greylists: it wants us to come back later",
    Cause.TARPITTED: "the server answers too slowly on purpose",
    Cause.BLOCKED_HERE: "this network may not let the connection out",
    Cause.RESOLVER_FAILED: "the resolver gave no usable answer",
    Cause.NO_ANSWER: "the server stayed silent past our limit",
    Cause.INTERRUPTED: "the conversation ended too early",
    Cause.NOT_ASKED: "it was not asked",
}

_REMEDIES = {
    Cause.RATE_LIMITED: "ask again later",
    Cause.GREYLISTED: "ask again in some minutes: greylisting lets in who comes back",
    Cause.TARPITTED: "ask again with a longer --timeout",
    Cause.BLOCKED_HERE: "ask from another network, or leave the check out with --skip",
    Cause.RESOLVER_FAILED: "ask another resolver with --resolver, and look at the zone's name servers",
    Cause.NO_ANSWER: "ask again, with a longer --timeout",
    Cause.INTERRUPTED: "mend what is reported above first, or ask again",
    Cause.NOT_ASKED: "collect evidence anew: what is at hand does not hold it",
}

# Kinds whose detail is a sentence of our own that tells the kind as well.
_SENTENCES = {Kind.TIMEOUT, Kind.TLS_ALERT, Kind.NOT_TLS}
_NAMES_THE_STAGE = re.compile("connection|handshake")

# RFC 8914 §4 and the codes that IANA registered first, by number.
_EXTENDED_ERRORS = (
    "Other Error",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
)


def clean(text: str) -> str:
    r"""Make text from the wire safe to show on one line.

    Octets that form UTF-8 are shown as that. Whatever a terminal would act on or not show (control
    characters, escape sequences, line ends, direction overrides, odd spaces) becomes ``\x1b`` or ``\u202e``.
    """
    if text.isascii() and text.isprintable():
        return text
    decoded = _UTF8.sub(lambda match: match.group().encode("latin-1").decode("utf-8"), text)
    return "".join(char if char.isprintable() else _escaped(char) for char in decoded)


def _escaped(char: str) -> str:
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Write a count with its noun: ``1 error``, ``3 errors``; *many* is for nouns that do not just take an s."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def milliseconds(ms: float) -> str:
    """Write a duration: ``0.4 ms``, ``12 ms``, ``1.25 s``."""
    if ms < 1:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.2f} s"


def days(count: int) -> str:
    """Write how long a certificate still lasts: ``89 days left``, ``1 day left``, ``3 days ago``."""
    return f"{plural(count, 'day')} left" if count >= 0 else f"{plural(-count, 'day')} ago"


def in_trouble(trouble: Trouble) -> str:
    """Say where and why a conversation stopped, each once: the detail often tells it already."""
    kind, stage, detail = _KINDS[trouble.kind], _STAGES[trouble.stage], clean(trouble.detail)
    if trouble.stage is Stage.RESOLVE and detail:
        return f"no host could be asked: {detail}"
    if trouble.stage is Stage.LOGIN and trouble.kind is Kind.LOCAL and detail:
        return detail
    if detail and trouble.kind in _SENTENCES:
        return detail if _NAMES_THE_STAGE.search(detail) else f"{detail} {stage}"
    if detail.startswith(kind):
        rest = detail.removeprefix(kind)
        return f"{kind} {stage}{rest}" if rest.startswith(":") or not rest else detail
    return f"{kind} {stage}: {detail}" if detail else f"{kind} {stage}"


def because(cause: Cause) -> str:
    """Say why a check could not be decided."""
    return _CAUSES[cause]


def remedy(cause: Cause) -> str:
    """Say what may get a check decided."""
    return _REMEDIES[cause]


def extended_error(option: str) -> str:
    """Write an extended DNS error (RFC 8914) with the name of its code, where it has one."""
    code, _, text = option.partition(" ")
    known = code.isascii() and code.isdigit() and len(code) <= 2 and int(code) < len(_EXTENDED_ERRORS)
    named = f"{code} {_EXTENDED_ERRORS[int(code)]}" if known else code
    return clean(f"extended error {named}: {text}" if text else f"extended error {named}")


def not_answered(answer: Answer) -> str:
    """Say what came of a DNS question instead of records; empty when there were some.

    No two of the negative answers mean the same, so no two read the same.
    """
    match answer.status:
        case Status.ANSWERED:
            return ""
        case Status.NXDOMAIN:
            return "the name does not exist (NXDOMAIN)"
        case Status.NODATA:
            return f"the name exists, but has no {answer.type} record (NODATA)"
        case Status.SERVFAIL if answer.dnssec is Dnssec.BOGUS:
            return "the resolver rejects the answer: DNSSEC validation fails (SERVFAIL)"
        case Status.SERVFAIL:
            return "the resolver failed to find out (SERVFAIL)"
        case Status.REFUSED:
            return "the resolver refuses to answer (REFUSED)"
        case Status.TIMEOUT:
            return f"the resolver did not answer {plural(answer.attempts, 'question')} in time (timeout)"
        case Status.FAILED:
            return f"no usable answer: {clean(answer.detail) or answer.rcode}"
