"""What is said of the form of replies, and of conversations that break off."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Exchange, Kind, Session, Stage
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    PORTS,
    Case,
    aside,
    busy,
    exchange,
    fails,
    names,
    passes,
    refused,
    session,
    silent,
    stopped,
    trouble,
    undecided,
)


def quirky(quirk: str, port: int = 25) -> Session:
    return session(port, exchanges=(exchange("", "220 mx", stage=Stage.GREETING, quirks=(quirk,)),))


def after_greeting(kind: Kind, stage: Stage = Stage.CAPABILITIES, detail: str = "what happened") -> Session:
    """A session that was greeted and stopped later."""
    return session(25, trouble=trouble(stage, kind, detail), after_tls=None, tls=None)


def extra(line: str = "250 OK") -> Exchange:
    return exchange("", line, stage=Stage.STARTTLS, status="extra")


QUIRKS = ["bare-lf", "bare-cr", "nul", "mixed-codes", "bare-code", "continuation-unasked"]
ENDLESS = stopped(
    25,
    Stage.GREETING,
    Kind.LIMIT,
    "a line of more than 16384 octets",
    speaks="smtp",
    exchanges=(exchange("", "220-x", stage=Stage.GREETING, status=""),),
)
ENDLESS_LATER = after_greeting(Kind.LIMIT, detail="a reply of more than 1000 lines without an end")
HTTP = stopped(
    25, Stage.GREETING, Kind.GARBAGE, "no reply", speaks="http", exchanges=(exchange("", "HTTP/1.1 400", status=""),)
)

CASES: list[Case] = [
    *(passes("reply-form", session(port)) for port in PORTS),
    passes("reply-form", quirky("lower-case-status", 110)),
    *(fails("reply-form", quirky(quirk), "220 mx", "greeting") for quirk in QUIRKS),
    fails("reply-form", quirky("a-new-quirk"), "220 mx", "a-new-quirk"),
    fails("reply-form", after_greeting(Kind.GARBAGE, detail="'x' is no SMTP reply line"), "'x' is no SMTP reply line"),
    undecided("reply-form", silent(25), Cause.NO_ANSWER),
    aside("reply-form", HTTP, "speaks http"),
    aside("reply-form", refused(25)),
    *(passes("reply-bounded", session(port)) for port in PORTS),
    passes("reply-bounded", busy(25)),
    fails("reply-bounded", ENDLESS, None, "16384 octets"),
    fails("reply-bounded", ENDLESS_LATER, None, "1000 lines"),
    undecided("reply-bounded", silent(25), Cause.NO_ANSWER),
    aside("reply-bounded", refused(25)),
    *(passes("reply-extra", session(port)) for port in PORTS),
    fails("reply-extra", session(25, exchanges=(*session(25).exchanges, extra())), "250 OK", "starttls"),
    undecided("reply-extra", silent(25), Cause.NO_ANSWER),
    aside("reply-extra", refused(25)),
    *(passes("dialogue-complete", session(port)) for port in PORTS),
    fails("dialogue-complete", after_greeting(Kind.CLOSED), None, "capabilities: what happened"),
    fails("dialogue-complete", after_greeting(Kind.RESET, Stage.CAPABILITIES_TLS), None, "capabilities-tls"),
    undecided("dialogue-complete", after_greeting(Kind.TEMPORARY, detail="421 later"), Cause.RATE_LIMITED),
    undecided("dialogue-complete", after_greeting(Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("dialogue-complete", silent(25), Cause.NO_ANSWER),
    undecided("dialogue-complete", after_greeting(Kind.REJECTED), Cause.INTERRUPTED),
    aside("dialogue-complete", after_greeting(Kind.TLS_ALERT, Stage.HANDSHAKE)),
    aside("dialogue-complete", busy(25)),
    aside("dialogue-complete", refused(25)),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
