"""DNS messages: a question to octets, octets to an answer. The one file that knows dnspython's messages."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Answer, Dnssec, Record, Status

PAYLOAD = 1_232  # octets that pass without fragments: the DNS flag day figure of 2020

_STATUS = {
    dns.rcode.NXDOMAIN: Status.NXDOMAIN,
    dns.rcode.SERVFAIL: Status.SERVFAIL,
    dns.rcode.REFUSED: Status.REFUSED,
}
_NO_EDNS = {dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS}  # RFC 6891 §7


class Query:
    """One question ready to send."""

    def __init__(self, name: str, type_name: str, *, edns: bool = True, checking_disabled: bool = False) -> None:
        """Make the message.

        Raises:
            UsageError: the type is unknown, or the name cannot be put on the wire.
        """
        flags = dns.flags.RD | dns.flags.AD | (dns.flags.CD if checking_disabled else 0)
        try:
            self._message = dns.message.make_query(
                dns.name.from_text(name), type_name, use_edns=0 if edns else -1, payload=PAYLOAD, flags=flags
            )
        except dns.rdatatype.UnknownRdatatype:
            raise UsageError(f"{type_name!r} is no DNS record type; write for example A, MX, TXT or TYPE65") from None
        except (dns.exception.DNSException, ValueError) as error:
            raise UsageError(f"{name!r} cannot be asked of the DNS: {error}") from None
        self.edns = edns
        self.wire = self._message.to_wire()

    def matches(self, wire: bytes) -> bool:
        """Tell whether octets are the reply to this question, and not a stray or forged one (RFC 5452 §9.1)."""
        if len(wire) < 12 or wire[:2] != self.wire[:2] or not wire[2] & 0x80:
            return False
        try:
            return self._message.is_response(_parse(wire))
        except (dns.exception.DNSException, ValueError):
            return False


class Response:
    """A reply as received."""

    def __init__(self, wire: bytes) -> None:
        self._message = _parse(wire)

    @property
    def truncated(self) -> bool:
        """True when the rest must be fetched over TCP (RFC 7766 §5)."""
        return bool(self._message.flags & dns.flags.TC)

    @property
    def refuses_edns(self) -> bool:
        """True when the server cannot take EDNS and should be asked again without (RFC 6891 §7)."""
        return self._message.rcode() in _NO_EDNS

    @property
    def status(self) -> Status:
        """What came of the question."""
        rcode = self._message.rcode()
        if rcode != dns.rcode.NOERROR:
            return _STATUS.get(rcode, Status.FAILED)
        wanted = self._message.question[0].rdtype if self._message.question else None
        types = {rrset.rdtype for rrset in self._message.answer}
        return Status.ANSWERED if wanted in types or (types and wanted == dns.rdatatype.ANY) else Status.NODATA

    def answer(self, name: str, type_name: str, *, trusted: bool) -> Answer:
        """Write the reply down; the fields of the way here (server, transport, attempts, ms) are left empty."""
        message = self._message
        status = self.status
        secure = trusted and bool(message.flags & dns.flags.AD)
        return Answer(
            name=name,
            type=type_name,
            status=status,
            rcode=dns.rcode.to_text(message.rcode()),
            flags=tuple(dns.flags.to_text(message.flags).lower().split()),
            records=tuple(_records(message.answer)),
            authority=tuple(_records(message.authority)),
            extended_errors=tuple(_extended_error(option) for option in message.extended_errors()),
            dnssec=Dnssec.SECURE if secure else Dnssec.UNKNOWN,
            server="",
            transport="",
            attempts=0,
            ms=0.0,
            detail="" if status is not Status.FAILED else f"the resolver answered {dns.rcode.to_text(message.rcode())}",
        )


def _parse(wire: bytes) -> dns.message.Message:
    return dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=False)


def _records(section: list[dns.rrset.RRset]) -> list[Record]:
    return [
        Record(
            name=rrset.name.to_text(),
            type=dns.rdatatype.to_text(rrset.rdtype),
            ttl=rrset.ttl,
            data=rdata.to_text(),
        )
        for rrset in section
        for rdata in rrset
    ]


def _extended_error(option: object) -> str:
    code = getattr(option, "code", 0)
    text = getattr(option, "text", None)
    return f"{int(code)} {text}" if text else f"{int(code)}"
