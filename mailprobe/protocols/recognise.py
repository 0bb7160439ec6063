"""Tells from its first octets what a port speaks."""

from __future__ import annotations

import re

_SIGNS = (
    (re.compile(rb"SSH-"), "ssh"),
    (re.compile(rb"HTTP/|<!doctype|<html|<\?xml", re.IGNORECASE), "http"),
    (re.compile(rb"[2-5][0-9]{2}[ -][^\r\n]*\bLMTP\b", re.IGNORECASE), "lmtp"),
    (re.compile(rb"220[ -][^\r\n]*(\bFTPd?\b|FileZilla|vsFTPd)", re.IGNORECASE), "ftp"),
    (re.compile(rb"[2-5][0-9]{2}([ -]|\r?\n)"), "smtp"),
    (re.compile(rb"(\+OK|-ERR)\b", re.IGNORECASE), "pop3"),
    (re.compile(rb"\* (OK|PREAUTH|BYE)\b", re.IGNORECASE), "imap"),
    (re.compile(rb'"(IMPLEMENTATION|SIEVE|SASL|VERSION)"', re.IGNORECASE), "sieve"),  # RFC 5804 §1.7
    (re.compile(rb"[\x14-\x18]\x03[\x00-\x04]"), "tls"),  # RFC 8446 §5.1: content type, version
)


_ENOUGH = 4  # octets: as many as a status of SMTP, POP3 or IMAP has with its separator


def recognise(octets: bytes) -> str | None:
    """Name the protocol that begins with *octets*: ``smtp``, ``pop3``, ``imap``, ``sieve``, ``lmtp``, ``ftp``,
    ``http``, ``ssh``, ``tls``, or ``other``; None when there are too few octets to tell, as from a server that
    sends them one by one.
    """
    found = next((name for sign, name in _SIGNS if sign.match(octets)), None)
    if found is None and (len(octets) >= _ENOUGH or b"\n" in octets):
        return "other"
    return found
