"""What is said of a host's addresses, reverse names, and whether they answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mailprobe.model.evidence import Address, Answer, Host, Kind, Session, Stage, Status
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    ADDRESS,
    HOST,
    Case,
    answer,
    aside,
    bare_host,
    busy,
    failed,
    fails,
    host,
    host_target,
    names,
    passes,
    refused,
    scene,
    session,
    silent,
    stopped,
    undecided,
)

PTR = "25.99.88.192.in-addr.arpa"
OTHER = "192.88.99.26"


def address(reverse: Answer | None, *forward: Answer, sessions: tuple[Session, ...] = (session(25),)) -> Address:
    return Address(address=ADDRESS, reverse=reverse, forward=forward, sessions=sessions)


def reverse(*names_given: str, **changes: Any) -> Answer:
    return answer(PTR, "PTR", *names_given, **changes)


def elsewhere(found: Session, at: str = OTHER) -> Session:
    return msgspec.structs.replace(found, address=at)


NAMED = address(reverse("mx.a.test."), answer(HOST, "A", ADDRESS))
NO_PTR = address(reverse())
DEAF = address(reverse(), sessions=(refused(25), session(143)))
FILTERED = stopped(25, Stage.CONNECT, Kind.TIMEOUT, "no connection within 8.0 s")
UNREACHABLE = stopped(25, Stage.CONNECT, Kind.UNREACHABLE, "no route")
NOT_ALLOWED = stopped(25, Stage.CONNECT, Kind.LOCAL, "no permission")
ASKED = scene(host_target(asked="mx.a.test:25"))
HOST_ASKED = scene(host_target())
GREETED = msgspec.structs.replace(host(session(25)), greeted_as=(answer(HOST, "A", ADDRESS), answer(HOST, "AAAA")))


def greeted_as(*answers: Answer) -> Host:
    return msgspec.structs.replace(host(session(25)), greeted_as=answers)


CASES: list[Case] = [
    passes("ptr-present", NAMED, "PTR mx.a.test."),
    fails("ptr-present", NO_PTR, ADDRESS),
    fails("ptr-present", address(reverse(status=Status.NXDOMAIN)), ADDRESS),
    undecided("ptr-present", address(failed(PTR, "PTR")), Cause.RESOLVER_FAILED, "SERVFAIL"),
    undecided("ptr-present", address(failed(PTR, "PTR", Status.TIMEOUT)), Cause.RESOLVER_FAILED),
    aside("ptr-present", address(None), "not asked"),
    aside("ptr-present", DEAF, "no mail on port 25"),
    passes("ptr-confirmed", NAMED),
    passes(
        "ptr-confirmed", address(reverse("x.test.", "mx.a.test."), answer("x.test", "A"), answer(HOST, "A", ADDRESS))
    ),
    fails("ptr-confirmed", address(reverse("x.test."), answer("x.test", "A", OTHER)), "x.test.", OTHER),
    fails(
        "ptr-confirmed", address(reverse("x.test."), failed("x.test", "A", Status.NXDOMAIN)), "x.test.", "no address"
    ),
    undecided("ptr-confirmed", address(reverse("x.test."), failed("x.test", "A")), Cause.RESOLVER_FAILED),
    aside("ptr-confirmed", NO_PTR),
    aside("ptr-confirmed", address(None)),
    aside("ptr-confirmed", msgspec.structs.replace(NAMED, sessions=(refused(25),))),
    passes("exchanger-reachable", session(25)),
    passes("exchanger-reachable", busy(25)),
    passes("exchanger-reachable", silent(25)),
    fails("exchanger-reachable", refused(25), f"{ADDRESS}:25", "connection refused"),
    undecided("exchanger-reachable", FILTERED, Cause.BLOCKED_HERE, "does not answer"),
    undecided("exchanger-reachable", UNREACHABLE, Cause.BLOCKED_HERE, "no route"),
    undecided("exchanger-reachable", NOT_ALLOWED, Cause.BLOCKED_HERE, "no permission"),
    aside("exchanger-reachable", refused(587)),
    aside("exchanger-reachable", refused(25), scene=HOST_ASKED),
    passes("port-reachable", session(25), scene=ASKED),
    fails("port-reachable", refused(25), f"{ADDRESS}:25", scene=ASKED),
    undecided("port-reachable", FILTERED, Cause.BLOCKED_HERE, scene=ASKED),
    undecided("port-reachable", UNREACHABLE, Cause.BLOCKED_HERE, scene=ASKED),
    aside("port-reachable", refused(25)),
    aside("port-reachable", refused(25), scene=HOST_ASKED),
    passes("host-serves-mail", host(session(25), refused(110)), "1 of 2 ports answer"),
    fails("host-serves-mail", host(refused(25), refused(110)), HOST),
    undecided("host-serves-mail", host(FILTERED, refused(110)), Cause.BLOCKED_HERE),
    undecided("host-serves-mail", bare_host(HOST, answers=(failed(HOST, "A"),)), Cause.RESOLVER_FAILED),
    aside("host-serves-mail", bare_host(HOST)),
    passes("address-families-agree", host(session(25), elsewhere(session(25), "2001:db8::1"))),
    passes("address-families-agree", host(session(25), elsewhere(UNREACHABLE, "2001:db8::1"))),
    passes("address-families-agree", host(refused(25), elsewhere(refused(25)))),
    fails("address-families-agree", host(session(25), elsewhere(refused(25))), OTHER, f"open on {ADDRESS}"),
    fails("address-families-agree", host(FILTERED, elsewhere(session(25))), ADDRESS, "port 25"),
    aside("address-families-agree", host(session(25))),
    passes("helo-resolves", GREETED),
    fails("helo-resolves", greeted_as(answer(HOST, "A"), answer(HOST, "AAAA")), HOST),
    fails(
        "helo-resolves",
        greeted_as(answer(HOST, "A", ADDRESS), answer(HOST, "AAAA"), answer("b.test", "A"), answer("b.test", "AAAA")),
        "b.test",
    ),
    undecided("helo-resolves", greeted_as(failed(HOST, "A"), answer(HOST, "AAAA")), Cause.RESOLVER_FAILED),
    aside("helo-resolves", host(session(25))),
    passes("helo-ptr-match", NAMED, scene=scene(of=GREETED)),
    passes("helo-ptr-match", address(reverse("MX.A.test.")), scene=scene(of=GREETED)),
    fails(
        "helo-ptr-match",
        address(reverse("x.test.")),
        None,
        "greets as mx.a.test, reverse name x.test",
        scene(of=GREETED),
    ),
    aside("helo-ptr-match", NO_PTR, scene=scene(of=GREETED)),
    aside("helo-ptr-match", NAMED, scene=scene(of=host(session(25)))),
    aside("helo-ptr-match", NAMED),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
