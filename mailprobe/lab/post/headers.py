"""The header fields that a post office reads and writes, as octets: a letter is never parsed and put together anew.

Fields are put in front; what came stays as it came, to the octet.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from mailprobe.protocols.mailstore import Envelope

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 §3.6.8, and the obsolete space of §4.5
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_DELIVERED_TO = re.compile(rb"^delivered-to[ \t]*:[ \t]*([^\r\n]{1,512})", re.IGNORECASE | re.MULTILINE)
_SUBJECT = re.compile(rb"^subject[ \t]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)
_ORIGINATORS = {
    name: re.compile(rb"^" + name + rb"[ \t]*:", re.IGNORECASE | re.MULTILINE)
    for name in (b"From", b"Date", b"Message-ID")
}
_HARMLESS = re.compile(r"[^A-Za-z0-9.:\[\]_\u0080-\U0010ffff-]")


def header(data: bytes) -> bytes:
    """Give the header of a letter, without the empty line; all of it where no empty line comes."""
    if data[:1] in (b"\r", b"\n") or not _FIELD.match(data):
        return b""
    end = _HEADER_END.search(data)
    return data if end is None else data[: end.start()]


def subject(data: bytes) -> str:
    """Give the subject as it stands there."""
    found = _SUBJECT.search(header(data))
    return found[1].decode("utf-8", "replace").strip() if found else ""


def hops(data: bytes) -> int:
    """Count the Received fields (RFC 5321 §6.3)."""
    return len(_RECEIVED.findall(header(data)))


def was_delivered_to(data: bytes, address: str) -> bool:
    """Tell whether the letter has been delivered to that address before, in any case."""
    wanted = address.lower().encode("utf-8", "surrogateescape")
    return any(found.strip().lower() == wanted for found in _DELIVERED_TO.findall(header(data)))


def received(envelope: Envelope, queue_id: str, at: datetime) -> bytes:
    """Write the Received field of a hop (RFC 5321 §4.4); ``for`` only where it gives no other recipient away."""
    client = _HARMLESS.sub("?", envelope.client_name)[:255] or "unknown"
    literal = f" ([{'IPv6:' if ':' in envelope.client_address else ''}{envelope.client_address}])"
    tls = f"\r\n\t(using {envelope.tls})" if envelope.tls else ""
    sole = envelope.recipients[0] if len(envelope.recipients) == 1 else ""
    addressee = f"\r\n\tfor <{sole}>" if sole and sole.isprintable() else ""
    text = (
        f"Received: from {client}{literal if envelope.client_address else ''}{tls}\r\n"
        f"\tby {envelope.server_name} (mailprobe lab) with {envelope.protocol}\r\n"
        f"\tid {queue_id}{addressee};\r\n"
        f"\t{format_datetime(at)}\r\n"
    )
    return text.encode("utf-8", "surrogateescape")


def missing(data: bytes, envelope: Envelope, queue_id: str, at: datetime) -> bytes:
    """Write what a submitted letter lacks: From, Date and Message-ID (RFC 6409 §8.1 to §8.3)."""
    found = header(data)
    texts = {
        b"From": f"From: <{envelope.sender}>\r\n" if envelope.sender.isprintable() and envelope.sender else "",
        b"Date": f"Date: {format_datetime(at)}\r\n",
        b"Message-ID": f"Message-ID: <{queue_id}.{int(at.timestamp())}@{envelope.server_name}>\r\n",
    }
    lacking = "".join(text for name, text in texts.items() if not _ORIGINATORS[name].search(found))
    return lacking.encode("utf-8", "surrogateescape")


def with_fields(fields: bytes, data: bytes) -> bytes:
    """Put fields in front of a letter; where it has no header, an empty line keeps them apart from its text."""
    if not fields or data[:2] == b"\r\n" or data[:1] == b"\n" or _FIELD.match(data):
        return fields + data
    return fields + b"\r\n" + data


def delivery_fields(sender: str, recipient: str) -> bytes:
    """Write what local delivery puts in front: the envelope, which SMTP forgets (RFC 5321 §4.4)."""
    return f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode("utf-8", "surrogateescape")
