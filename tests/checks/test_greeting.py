"""What is said of a server's first words."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    ADDRESS,
    PORTS,
    TLS_PORTS,
    USER_PORTS,
    Case,
    aside,
    busy,
    exchange,
    fails,
    names,
    passes,
    refused,
    reply,
    session,
    silent,
    stopped,
    undecided,
)


def greeted(port: int, *lines: str, kind: Kind | None = None) -> Session:
    """A session that was greeted with these lines, and ended there when *kind* says so."""
    greeting = reply(*lines)
    if kind is None:
        return session(port, greeting=greeting)
    return stopped(
        port,
        Stage.GREETING,
        kind,
        lines[-1],
        speaks=session(port).speaks,
        greeting=greeting,
        exchanges=(exchange("", *lines, stage=Stage.GREETING),),
        timings={"greeting": 10.0},
    )


def other(port: int, speaks: str, line: str) -> Session:
    """A port at which something else answered."""
    return stopped(
        port,
        Stage.GREETING,
        Kind.GARBAGE,
        f"{line!r} is no reply",
        speaks=speaks,
        exchanges=(exchange("", line, stage=Stage.GREETING, status=""),),
        timings={"greeting": 1.0},
    )


CLOSED = stopped(25, Stage.GREETING, Kind.CLOSED, "the server closed the connection")
RESET = stopped(25, Stage.GREETING, Kind.RESET, "the server reset the connection")
TARPIT = stopped(25, Stage.GREETING, Kind.TIMEOUT, "not complete", speaks="smtp", timings={"greeting": 22_000.0})
IN_CLEAR = session(465, answered_in_clear=True, tls=None, after_tls=None, offers_starttls=True)
IN_CLEAR_ONLY = session(993, answered_in_clear=True, tls=None, after_tls=None, offers_starttls=False)
TLS_FIRST = stopped(25, Stage.GREETING, Kind.TIMEOUT, "silence", speaks="tls")
HTTP = other(25, "http", "HTTP/1.1 400 Bad Request")

CASES: list[Case] = [
    *(passes("greeting-sent", session(port)) for port in PORTS),
    passes("greeting-sent", HTTP),
    passes("greeting-sent", busy(25)),
    fails("greeting-sent", CLOSED, f"{ADDRESS}:25", "closed the connection before any greeting"),
    fails("greeting-sent", RESET, f"{ADDRESS}:25", "reset"),
    undecided("greeting-sent", silent(25), Cause.NO_ANSWER),
    aside("greeting-sent", refused(25)),
    aside("greeting-sent", silent(465)),
    *(passes("greeting-prompt", session(port), "after 20 ms") for port in PORTS),
    passes("greeting-prompt", session(25, timings={"greeting": 5_000.0})),
    fails("greeting-prompt", session(25, timings={"greeting": 5_001.0}), None, "took 5.0 s"),
    fails("greeting-prompt", TARPIT, None, "not complete after 22.0 s"),
    undecided("greeting-prompt", silent(25), Cause.NO_ANSWER),
    undecided("greeting-prompt", CLOSED, Cause.INTERRUPTED),
    aside("greeting-prompt", refused(25)),
    *(passes("greeting-welcoming", session(port)) for port in PORTS),
    fails("greeting-welcoming", greeted(25, "554 no service", kind=Kind.REJECTED), "554 no service"),
    fails("greeting-welcoming", greeted(110, "-ERR go away", kind=Kind.REJECTED), "-ERR go away"),
    fails("greeting-welcoming", greeted(143, "* BYE go away", kind=Kind.REJECTED), "* BYE go away"),
    *(undecided("greeting-welcoming", busy(port), Cause.RATE_LIMITED) for port in PORTS),
    undecided("greeting-welcoming", greeted(25, "450 greylisted", kind=Kind.TEMPORARY), Cause.GREYLISTED),
    undecided("greeting-welcoming", silent(25), Cause.NO_ANSWER),
    undecided("greeting-welcoming", CLOSED, Cause.INTERRUPTED),
    aside("greeting-welcoming", refused(25)),
    *(passes("port-protocol", session(port)) for port in PORTS),
    passes("port-protocol", busy(25)),
    fails("port-protocol", HTTP, f"{ADDRESS}:25", "port 25 speaks HTTP, not SMTP: 'HTTP/1.1 400 Bad Request'"),
    fails("port-protocol", other(143, "ssh", "SSH-2.0-x"), f"{ADDRESS}:143", "speaks SSH, not IMAP"),
    fails("port-protocol", session(110, speaks="imap"), f"{ADDRESS}:110", "speaks IMAP, not POP3"),
    fails("port-protocol", other(25, "other", "hello"), f"{ADDRESS}:25", "something unknown"),
    undecided("port-protocol", silent(25), Cause.NO_ANSWER),
    undecided("port-protocol", CLOSED, Cause.INTERRUPTED),
    aside("port-protocol", refused(25)),
    *(passes("port-tls-mode", session(port)) for port in PORTS),
    fails("port-tls-mode", IN_CLEAR, f"{ADDRESS}:465", "STARTTLS is served where TLS is expected"),
    fails("port-tls-mode", IN_CLEAR_ONLY, f"{ADDRESS}:993", "and offers no TLS"),
    fails("port-tls-mode", TLS_FIRST, f"{ADDRESS}:25", "starts TLS at once"),
    *(undecided("port-tls-mode", silent(port), Cause.NO_ANSWER) for port in (25, *TLS_PORTS)),
    aside("port-tls-mode", refused(25)),
    *(passes("helo-fqdn", session(port)) for port in (25, 587, 465)),
    passes("helo-fqdn", greeted(25, "220 [192.88.99.25] hi")),
    passes("helo-fqdn", greeted(25, "220-Welcome", "220 mx.a.test hi")),
    passes("helo-fqdn", greeted(25, "220 mx.a.test. hi")),
    fails("helo-fqdn", greeted(25, "220 mailserver ESMTP"), "mailserver"),
    fails("helo-fqdn", greeted(25, "220 localhost.localdomain ESMTP"), "localhost.localdomain"),
    fails("helo-fqdn", greeted(25, "220 MX.Local ESMTP"), "MX.Local"),
    fails("helo-fqdn", greeted(25, "220 192.88.99.25 ESMTP"), "192.88.99.25"),
    fails("helo-fqdn", greeted(25, "220"), "", "'nobody'"),
    undecided("helo-fqdn", busy(25), Cause.RATE_LIMITED),
    undecided("helo-fqdn", silent(25), Cause.NO_ANSWER),
    *(aside("helo-fqdn", session(port)) for port in USER_PORTS if port not in (587, 465)),
    aside("helo-fqdn", greeted(25, "554 mx no", kind=Kind.REJECTED)),
    aside("helo-fqdn", refused(25)),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()


def test_a_greeting_that_came_in_bits_is_no_other_protocol() -> None:
    begun = stopped(25, Stage.GREETING, Kind.TIMEOUT, "not complete", timings={"greeting": 22_000.0})
    undecided("port-protocol", begun, Cause.NO_ANSWER).hold()
