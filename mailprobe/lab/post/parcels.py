"""From a letter in the queue to the parcel that SMTP carries: who it is for, and what the server can be told of it."""

from __future__ import annotations

import msgspec

from mailprobe.lab.post.hand import Hand
from mailprobe.lab.post.queue_table import Recipient
from mailprobe.model.evidence import Capabilities
from mailprobe.protocols.smtp.transaction import Addressee, Parcel


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """One letter to recipients in one domain, with one envelope sender. *repeated*: a connection lost it before."""

    hand: Hand
    sender: str
    recipients: tuple[Recipient, ...]
    repeated: bool = False


def unfit(errand: Errand, capabilities: Capabilities, tls: str) -> str:
    """Say why a server cannot be given the letter, as a reply of our own; empty when it can."""
    envelope = errand.hand.letter.envelope
    texts = (errand.sender, *(each.address for each in errand.recipients))
    if not all(text.isascii() for text in texts) and not capabilities.has("SMTPUTF8"):
        return "553 5.6.7 the next server cannot take addresses in UTF-8"
    if envelope.requiretls and not (tls and capabilities.has("REQUIRETLS")):
        return "550 5.7.30 the next server cannot promise TLS all the way (REQUIRETLS)"
    return ""


def parcel_of(errand: Errand, capabilities: Capabilities) -> Parcel:
    """Make the parcel, with the parameters that the server knows."""
    letter = errand.hand.letter
    return Parcel(
        sender=errand.sender,
        sender_parameters=tuple(_sender_parameters(errand, capabilities)),
        recipients=tuple(
            Addressee(each.address, _recipient_parameters(each) if capabilities.has("DSN") else ())
            for each in errand.recipients
        ),
        data=letter.data,
    )


def _sender_parameters(errand: Errand, capabilities: Capabilities) -> list[str]:
    envelope, data = errand.hand.letter.envelope, errand.hand.letter.data
    wanted = [("SIZE", f"SIZE={len(data)}")]
    if not data.isascii():
        wanted.append(("8BITMIME", "BODY=8BITMIME"))
    if envelope.smtputf8:
        wanted.append(("SMTPUTF8", "SMTPUTF8"))
    if envelope.requiretls:
        wanted.append(("REQUIRETLS", "REQUIRETLS"))
    if envelope.ret:
        wanted.append(("DSN", f"RET={envelope.ret}"))
    if envelope.envid:
        wanted.append(("DSN", f"ENVID={xtext(envelope.envid)}"))
    return [text for keyword, text in wanted if capabilities.has(keyword)]


def _recipient_parameters(recipient: Recipient) -> tuple[str, ...]:
    notify = (f"NOTIFY={recipient.notify}",) if recipient.notify else ()
    kind, semicolon, address = recipient.orcpt.partition(";")
    orcpt = f"ORCPT={kind};{xtext(address)}" if semicolon else f"ORCPT=rfc822;{xtext(kind)}"
    return (*notify, orcpt) if recipient.orcpt else notify


def xtext(text: str) -> str:
    """Encode what may hold any character for a parameter (RFC 3461 §4)."""
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}" for octet in octets)
