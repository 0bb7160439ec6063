"""DNS messages as a lookup needs them: a question to octets, octets to an answer.

The usual types are read by `plain`; what that does not know goes to `wire`, and only then dnspython is imported:
its import takes longer than all the rest of an MX lookup.
"""

from __future__ import annotations

import msgspec

from mailprobe.model.evidence import Answer, Dnssec, Record, Status
from mailprobe.net.dns import plain
from mailprobe.net.dns.chain import Chain, follow

FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 1, 2, 3, 4, 5, 16  # RFC 1035 §4.1.1, RFC 6891 §9

_STATUS = {NXDOMAIN: Status.NXDOMAIN, SERVFAIL: Status.SERVFAIL, REFUSED: Status.REFUSED}
_NO_EDNS = {FORMERR, NOTIMP, BADVERS}  # RFC 6891 §7
_MAY_LACK_QUESTION = {FORMERR, SERVFAIL, NOTIMP, REFUSED}
_AUTHORITATIVE, _TRUNCATED, _RECURSES, _AUTHENTIC = 0x0400, 0x0200, 0x0080, 0x0020


class Response(msgspec.Struct, frozen=True):
    """A reply as received.

    *question* holds ``(name, type)`` pairs, names in lower case with the final dot; *rcode* is the extended code
    (RFC 6891 §6.1.3); *flags* the bits of the header's third and fourth octet.
    """

    flags: int
    flag_words: tuple[str, ...]
    rcode: int
    rcode_word: str
    question: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]
    authority: tuple[Record, ...]
    extended_errors: tuple[str, ...]

    @property
    def truncated(self) -> bool:
        """True when the rest must be fetched over TCP (RFC 7766 §5)."""
        return bool(self.flags & _TRUNCATED)

    @property
    def refuses_edns(self) -> bool:
        """True when the server cannot take EDNS and should be asked again without (RFC 6891 §7)."""
        return self.rcode in _NO_EDNS

    @property
    def status(self) -> Status:
        """What came of the question."""
        return self._judged()[0]

    def answer(self, name: str, type_name: str, *, trusted: bool) -> Answer:
        """Write the reply down; the fields of the way here (server, transport, attempts, ms) are left empty."""
        status, detail = self._judged()
        secure = trusted and bool(self.flags & _AUTHENTIC)
        return Answer(
            name=name,
            type=type_name,
            status=status,
            rcode=self.rcode_word,
            flags=self.flag_words,
            records=self._chain.own(self.records),
            authority=self.authority,
            extended_errors=self.extended_errors,
            dnssec=Dnssec.SECURE if secure else Dnssec.UNKNOWN,
            server="",
            transport="",
            attempts=0,
            ms=0.0,
            detail=detail,
        )

    @property
    def _chain(self) -> Chain:
        return follow(*self.question[0], self.records) if self.question else Chain((), ends=True)

    def _judged(self) -> tuple[Status, str]:
        """Give the status, and the words for a failure."""
        if self.rcode:
            status = _STATUS.get(self.rcode, Status.FAILED)
            return status, f"the resolver answered {self.rcode_word}" if status is Status.FAILED else ""
        chain = self._chain
        if not chain.ends:
            return Status.FAILED, "the alias chain does not end"
        types = {record.type for record in chain.own(self.records)}
        wanted = self.question[0][1] if self.question else ""
        if wanted in types or (types and wanted == "ANY"):
            return Status.ANSWERED, ""
        if self._denies(led_on=len(chain.names) > 1):
            return Status.NODATA, ""
        if len(chain.names) > 1:
            return Status.FAILED, "the alias leads elsewhere, and the server did not follow it"
        return Status.FAILED, "the server gave a referral: it does not resolve for us"

    def _denies(self, *, led_on: bool) -> bool:
        """Tell a denial from a referral: it has an SOA record, or at least no NS record (RFC 2308 §2.2).

        Many forwarders strip the SOA record, of what an alias leads to as well; without one, a server is believed
        that recurses, or that has authority over the name in question, which says nothing of an alias's target.
        """
        authority = {record.type for record in self.authority}
        if "SOA" in authority:
            return True
        if "NS" in authority:
            return False
        return bool(self.flags & (_RECURSES if led_on else _RECURSES | _AUTHORITATIVE))


class Query:
    """One question ready to send."""

    def __init__(self, name: str, type_name: str, *, edns: bool = True, checking_disabled: bool = False) -> None:
        """Make the message.

        Raises:
            UsageError: the type is unknown, or the name cannot be put on the wire.
        """
        wire = plain.query(name, type_name, edns=edns, checking_disabled=checking_disabled)
        if wire is None:
            from mailprobe.net.dns import wire as full

            wire = full.query(name, type_name, edns=edns, checking_disabled=checking_disabled)
        self.wire = wire
        self._question = read(wire).question

    def matches(self, wire: bytes) -> bool:
        """Tell whether octets are the reply to this question, and not a stray or forged one (RFC 5452 §9.1)."""
        if len(wire) < 12 or wire[:2] != self.wire[:2] or not wire[2] & 0x80 or wire[2] & 0x78:
            return False
        try:
            response = read(wire)
        except ValueError:
            return False
        if not response.question and response.rcode in _MAY_LACK_QUESTION:
            return True
        return response.question == self._question


def read(wire: bytes) -> Response:
    """Read a message.

    Raises:
        ValueError: the octets are none.
    """
    parts = plain.read(wire)
    if parts is None:
        from mailprobe.net.dns import wire as full

        parts = full.read(wire)
    return Response(*parts)
