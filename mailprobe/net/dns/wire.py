"""DNS messages of every kind. The one file that knows dnspython's messages."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Record
from mailprobe.net.dns.plain import PAYLOAD, Parts


def query(name: str, type_name: str, *, edns: bool, checking_disabled: bool) -> bytes:
    """Write a query that asks for recursion and for the AD flag (RFC 6840 §5.7).

    Raises:
        UsageError: the type is unknown, or the name cannot be put on the wire.
    """
    flags = dns.flags.RD | dns.flags.AD | (dns.flags.CD if checking_disabled else 0)
    try:
        message = dns.message.make_query(
            dns.name.from_text(name), type_name, use_edns=0 if edns else -1, payload=PAYLOAD, flags=flags
        )
    except dns.rdatatype.UnknownRdatatype:
        raise UsageError(f"{type_name!r} is no DNS record type; write for example A, MX, TXT or TYPE65") from None
    except (dns.exception.DNSException, ValueError) as error:
        raise UsageError(f"{name!r} cannot be asked of the DNS: {error}") from None
    return message.to_wire()


def read(wire: bytes) -> Parts:
    """Take a message apart.

    Raises:
        ValueError: the octets are none.
    """
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=False)
    except dns.exception.DNSException as error:
        raise ValueError(f"no DNS message: {error}") from None
    rcode = message.rcode()
    return Parts(
        flags=int(message.flags),
        flag_words=tuple(dns.flags.to_text(message.flags).lower().split()),
        rcode=int(rcode),
        rcode_word=dns.rcode.to_text(rcode),
        question=tuple((rrset.name.to_text().lower(), _type(rrset)) for rrset in message.question),
        records=tuple(_records(message.answer)),
        authority=tuple(_records(message.authority)),
        extended_errors=tuple(_extended_error(option) for option in message.extended_errors()),
    )


def _type(rrset: dns.rrset.RRset) -> str:
    return dns.rdatatype.to_text(rrset.rdtype)


def _records(section: list[dns.rrset.RRset]) -> list[Record]:
    return [
        Record(name=rrset.name.to_text(), type=_type(rrset), ttl=rrset.ttl, data=rdata.to_text())
        for rrset in section
        for rdata in rrset
    ]


def _extended_error(option: object) -> str:
    code = getattr(option, "code", 0)
    text = getattr(option, "text", None)
    return f"{int(code)} {text}" if text else f"{int(code)}"
