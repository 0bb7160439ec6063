"""The server's own certificate, which most certificate checks begin with."""

from __future__ import annotations

from mailprobe.checks.registry import not_applicable
from mailprobe.checks.undecided import conversation_undecided
from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Session
from mailprobe.model.finding import Judgement
from mailprobe.model.ports import Role, Service
from mailprobe.records.certificate import Certificate, read


def leaf_of(session: Session) -> Certificate | Judgement:
    """Give the server's own certificate, or the judgement that there is none to judge."""
    if session.tls is None:
        return conversation_undecided(session)
    if not session.tls.chain:
        return not_applicable("the suite is anonymous: no certificate was sent")
    try:
        return read(session.tls.chain[0])
    except RecordError:
        return not_applicable("the certificate cannot be read")  # certificate-readable tells why


def leaf_for(session: Session, *, relay: bool) -> Certificate | Judgement:
    """Give the certificate for a check that weighs differently on port 25.

    Mail users' programs verify, so faults on their ports are errors. Between servers TLS is opportunistic (RFC 7435):
    most senders do not verify, and the same faults on port 25 are warnings, under ids of their own.
    """
    if (Service(session.service).role is Role.RELAY) != relay:
        return not_applicable("another check speaks of this port")
    return leaf_of(session)
