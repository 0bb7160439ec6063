"""Names that no resolver is asked about: ``localhost`` and all below it (RFC 6761 §6.3)."""

from __future__ import annotations

from mailprobe.model.evidence import Answer, Dnssec, Record, Status
from mailprobe.model.names import absolute
from mailprobe.net.dns.question import Question

_LOOPBACK = {"A": "127.0.0.1", "AAAA": "::1"}


def local_answer(question: Question) -> Answer | None:
    """Answer a question about this very machine; None for any other name."""
    if question.name.rpartition(".")[2] != "localhost":
        return None
    data = _LOOPBACK.get(question.type)
    found = (Record(name=absolute(question.name), type=question.type, ttl=0, data=data),) if data else ()
    return Answer(
        name=question.name,
        type=question.type,
        status=Status.ANSWERED if found else Status.NODATA,
        rcode="NOERROR",
        flags=(),
        records=found,
        authority=(),
        extended_errors=(),
        dnssec=Dnssec.UNKNOWN,
        server="RFC 6761",
        transport="none",
        attempts=0,
        ms=0.0,
        detail="",
    )
