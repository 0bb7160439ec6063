"""Findings: what the evidence means."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much a failed check matters; fixed per check."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return list(Severity).index(self)


class Verdict(StrEnum):
    """The five things a check can end with."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"
    BROKEN = "broken"


class Cause(StrEnum):
    """Why a check could not be decided."""

    RATE_LIMITED = "rate-limited"  # 421, too many connections
    GREYLISTED = "greylisted"  # 45x: come back later
    TARPITTED = "tarpitted"  # bytes came, too slowly
    BLOCKED_HERE = "blocked-here"  # this network may not let the connection out
    RESOLVER_FAILED = "resolver-failed"  # SERVFAIL, REFUSED, timeout, resolver unreachable
    NO_ANSWER = "no-answer"  # the server was silent past our limit
    INTERRUPTED = "interrupted"  # the conversation ended before the fact was learnt
    NOT_ASKED = "not-asked"  # the evidence does not hold it


class Judgement(msgspec.Struct, frozen=True):
    """What one check says of one subject.

    *detail* is what was seen, in words; *culprit* names the thing at fault (a record, a certificate, a reply).
    *advice* is what to do in this case, empty where the check's own advice fits.
    """

    verdict: Verdict
    detail: str = ""
    culprit: str = ""
    cause: Cause | None = None
    advice: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A judgement with everything a person or a program needs to act on it.

    *target* is what the user asked about, *where* the subject: a domain, ``host``, ``host [address]:port``. *known*
    tells that the same check failed at the same place in the baseline.
    """

    check: str
    verdict: Verdict
    severity: Severity
    target: str
    where: str
    claim: str
    detail: str
    culprit: str
    cause: Cause | None
    why: str
    advice: str
    source: str
    known: bool = False
