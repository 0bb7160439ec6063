"""DNS messages as a lookup needs them: a question to octets, octets to an answer.

The usual types are read by `plain`; what that does not know goes to `wire`, and only then dnspython is imported:
its import takes longer than all the rest of an MX lookup.
"""

from __future__ import annotations

import msgspec

from mailprobe.model.evidence import Answer, Dnssec, Record, Status
from mailprobe.net.dns import plain

FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 1, 2, 3, 4, 5, 16  # RFC 1035 §4.1.1, RFC 6891 §9

_STATUS = {NXDOMAIN: Status.NXDOMAIN, SERVFAIL: Status.SERVFAIL, REFUSED: Status.REFUSED}
_NO_EDNS = {FORMERR, NOTIMP, BADVERS}  # RFC 6891 §7
_MAY_LACK_QUESTION = {FORMERR, SERVFAIL, NOTIMP, REFUSED}
_TRUNCATED, _AUTHENTIC = 0x0200, 0x0020


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
        if self.rcode:
            return _STATUS.get(self.rcode, Status.FAILED)
        wanted = self.question[0][1] if self.question else None
        types = {record.type for record in self.records}
        return Status.ANSWERED if wanted in types or (types and wanted == "ANY") else Status.NODATA

    def answer(self, name: str, type_name: str, *, trusted: bool) -> Answer:
        """Write the reply down; the fields of the way here (server, transport, attempts, ms) are left empty."""
        status = self.status
        secure = trusted and bool(self.flags & _AUTHENTIC)
        return Answer(
            name=name,
            type=type_name,
            status=status,
            rcode=self.rcode_word,
            flags=self.flag_words,
            records=self.records,
            authority=self.authority,
            extended_errors=self.extended_errors,
            dnssec=Dnssec.SECURE if secure else Dnssec.UNKNOWN,
            server="",
            transport="",
            attempts=0,
            ms=0.0,
            detail="" if status is not Status.FAILED else f"the resolver answered {self.rcode_word}",
        )


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
