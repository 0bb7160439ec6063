"""What is said of STARTTLS: offered, working, and safe against those who sit in between."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Injection, Kind, Session, Stage, Trouble
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    CLEAR_PORTS,
    TLS_PORTS,
    Case,
    aside,
    busy,
    fails,
    listing,
    names,
    passes,
    refused,
    reply,
    session,
    silent,
    trouble,
    undecided,
)

USER_CLEAR_PORTS = (587, 110, 143)
KEYWORD = {25: "STARTTLS", 587: "STARTTLS", 110: "STLS", 143: "STARTTLS"}


def without(port: int) -> Session:
    return session(port, offers_starttls=False, tls=None, after_tls=None, injection=None, nameless=None)


def broken(kind: Kind, detail: str = "what happened", stage: Stage = Stage.STARTTLS) -> Session:
    """STARTTLS is offered, and there it ended."""
    return session(25, tls=None, after_tls=None, injection=None, nameless=None, trouble=trouble(stage, kind, detail))


def injected(
    executed: bool | None, kept_state: bool | None = None, port: int = 25, stopped: Trouble | None = None
) -> Session:
    found = Injection(executed=executed, reply="500 unknown command", kept_state=kept_state, trouble=stopped)
    return session(port, injection=found)


PREAUTH = session(143, greeting=reply("* PREAUTH hi"), offers_starttls=None, tls=None, after_tls=None)
INJECTED = session(25, leftover=b"250-INJECTED\r\n\xff")
ANYWHERE = ("starttls-works", "starttls-response-injection", "starttls-command-injection")

CASES: list[Case] = [
    *(passes("starttls-offered", session(port)) for port in USER_CLEAR_PORTS),
    *(fails("starttls-offered", without(port), KEYWORD[port]) for port in USER_CLEAR_PORTS),
    *(undecided("starttls-offered", silent(port), Cause.NO_ANSWER) for port in USER_CLEAR_PORTS),
    *(undecided("starttls-offered", busy(port), Cause.RATE_LIMITED) for port in USER_CLEAR_PORTS),
    *(aside("starttls-offered", session(port)) for port in (25, *TLS_PORTS)),
    aside("starttls-offered", PREAUTH, "PREAUTH"),
    aside("starttls-offered", refused(587)),
    passes("relay-starttls-offered", session(25)),
    fails("relay-starttls-offered", without(25), "STARTTLS"),
    undecided("relay-starttls-offered", silent(25), Cause.NO_ANSWER),
    undecided("relay-starttls-offered", busy(25), Cause.RATE_LIMITED),
    *(aside("relay-starttls-offered", session(port)) for port in (*USER_CLEAR_PORTS, *TLS_PORTS)),
    aside("relay-starttls-offered", refused(25)),
    *(passes(check, session(port)) for check in ANYWHERE for port in CLEAR_PORTS),
    *(aside(check, session(port)) for check in ANYWHERE for port in TLS_PORTS),
    fails("starttls-works", broken(Kind.REJECTED, "502 no"), "502 no"),
    fails("starttls-works", broken(Kind.CLOSED, "the server closed the connection"), None),
    fails("starttls-works", broken(Kind.NOT_TLS, "no TLS", Stage.HANDSHAKE), "no TLS", "handshake"),
    fails("starttls-works", broken(Kind.TLS_ALERT, "alert", Stage.HANDSHAKE), "alert"),
    undecided("starttls-works", broken(Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("starttls-works", broken(Kind.TIMEOUT, stage=Stage.HANDSHAKE), Cause.NO_ANSWER),
    undecided("starttls-works", broken(Kind.TEMPORARY, "421 too many"), Cause.RATE_LIMITED),
    aside("starttls-works", without(25), "not offered"),
    fails("starttls-response-injection", INJECTED, None, "15 octets followed the go-ahead in clear"),
    undecided("starttls-response-injection", broken(Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("starttls-response-injection", silent(25), Cause.NO_ANSWER),
    aside("starttls-response-injection", without(25)),
    aside("starttls-response-injection", refused(25)),
    fails("starttls-command-injection", injected(True), "500 unknown command"),
    fails("starttls-command-injection", injected(True, port=143), "500 unknown command"),
    undecided("starttls-command-injection", injected(None), Cause.INTERRUPTED),
    undecided(
        "starttls-command-injection",
        injected(None, stopped=trouble(Stage.GREETING, Kind.TEMPORARY, "421 too many")),
        Cause.RATE_LIMITED,
    ),
    undecided(
        "starttls-command-injection", injected(None, stopped=trouble(Stage.PROBE, Kind.TIMEOUT)), Cause.NO_ANSWER
    ),
    aside("starttls-command-injection", session(25, injection=None), "not asked"),
    aside("starttls-command-injection", without(25)),
    aside("starttls-command-injection", refused(25)),
    passes("starttls-state-discarded", injected(False, kept_state=False)),
    fails("starttls-state-discarded", injected(False, kept_state=True), "500 unknown command"),
    aside("starttls-state-discarded", injected(False, kept_state=None)),
    aside("starttls-state-discarded", injected(False, kept_state=True, port=587)),
    aside("starttls-state-discarded", refused(25)),
    *(passes("starttls-masked", session(port)) for port in (25, 587)),
    fails("starttls-masked", listing(25, "SIZE 1", "XXXXXXXA", inside=False), "XXXXXXXA"),
    fails("starttls-masked", listing(25, "********", inside=False), "********"),
    fails("starttls-masked", session(25, greeting=reply("220 ****************0*")), "****************0*"),
    passes("starttls-masked", session(25, greeting=reply("220 *** mx.a.test ***"))),
    passes("starttls-masked", listing(25, "XCLIENT", "X-EXPS", inside=False)),
    undecided("starttls-masked", silent(25), Cause.NO_ANSWER),
    *(aside("starttls-masked", session(port)) for port in (465, 143, 110)),
    aside("starttls-masked", refused(25)),
    *(passes("starttls-not-repeated", session(port)) for port in CLEAR_PORTS),
    *(fails("starttls-not-repeated", listing(port, KEYWORD[port]), KEYWORD[port]) for port in CLEAR_PORTS),
    undecided("starttls-not-repeated", silent(25), Cause.NO_ANSWER),
    aside("starttls-not-repeated", without(25)),
    aside("starttls-not-repeated", refused(25)),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
