"""Small hand-made evidence for the tests of the formats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mailprobe.model.evidence import (
    Answer,
    Dnssec,
    Domain,
    Exchange,
    Host,
    Kind,
    Record,
    Reply,
    Session,
    Stage,
    Status,
    Target,
    Tls,
    Trouble,
)
from mailprobe.model.finding import Cause, Finding, Severity, Verdict
from mailprobe.model.view import CertificateView, Report, SessionView

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

# What a hostile server may send: escape, line ends, NUL, C1, a direction override, and every format's own marks.
HOSTILE = '\x1b]0;x\x07\x1b[31m|\'a\'=1\r\n::error::b\x00\x9bc\u202ed"e"]]><f>&{g="h"} 100%,\\ \xc3\xa9'


def answer(name: str, type_name: str, *data: str, **changes: Any) -> Answer:
    made = Answer(
        name=name,
        type=type_name,
        status=Status.ANSWERED if data else Status.NODATA,
        rcode="NOERROR",
        flags=("qr", "rd", "ra"),
        records=tuple(Record(name=f"{name}.", type=type_name, ttl=300, data=each) for each in data),
        authority=(),
        extended_errors=(),
        dnssec=Dnssec.UNKNOWN,
        server="127.0.0.1:53",
        transport="udp",
        attempts=1,
        ms=12.0,
        detail="",
    )
    return msgspec.structs.replace(made, **changes)


def host(name: str, *addresses: str, **changes: Any) -> Host:
    four = [address for address in addresses if ":" not in address]
    six = [address for address in addresses if ":" in address]
    answers = changes.pop("answers", (answer(name, "A", *four), answer(name, "AAAA", *six)))
    return Host(name=name, answers=answers, addresses=(), greeted_as=(), **changes)


def target(asked: str, mx: Answer | None = None, *hosts: Host, **changes: Any) -> Target:
    domain = Domain(name=asked, mx=mx, implicit=changes.pop("implicit", ())) if mx else None
    return Target(asked=asked, domain=domain, hosts=hosts, trouble=changes.pop("trouble", None))


def tls(cipher: str = "TLS_AES_256_GCM_SHA384", version: str = "TLSv1.3") -> Tls:
    return Tls(version=version, cipher=cipher, bits=256, server_name=None, chain=(), trust=None)


def session(port: int, service: str, **changes: Any) -> Session:
    made = Session(
        host="mx.a.test",
        address="192.0.2.1",
        port=port,
        service=service,
        speaks=None,
        answered_in_clear=False,
        greeting=None,
        exchanges=(),
        before_tls=None,
        after_tls=None,
        offers_starttls=None,
        leftover=b"",
        tls=None,
        injection=None,
        nameless=None,
        nameless_trouble=None,
        legacy=None,
        timings={},
        trouble=None,
    )
    return msgspec.structs.replace(made, **changes)


def trouble(stage: Stage, kind: Kind, detail: str = "") -> Trouble:
    return Trouble(stage=stage, kind=kind, detail=detail)


def clear(*, status: str = "220") -> tuple[Exchange, ...]:
    reply = Reply(status=status, lines=(status,), quirks=())
    return (Exchange(stage=Stage.GREETING, secure=False, sent="", reply=reply, ms=1.0),)


def certificate(verdict: str = "ok", days_left: int | None = 89, subject: str = "mx.a.test") -> CertificateView:
    return CertificateView(
        verdict=verdict, days_left=days_left, subject=subject, not_after=datetime(2026, 5, 29, 12, 0, tzinfo=UTC)
    )


def starttls(port: int, service: str, speaks: str, ms: float = 21.0) -> SessionView:
    made = session(
        port,
        service,
        speaks=speaks,
        exchanges=clear(),
        offers_starttls=True,
        tls=tls(),
        timings={"connect": 1.0, "greeting": ms - 1.0},
    )
    return SessionView(target="a.test", session=made, certificate=certificate())


def implicit(port: int, service: str, speaks: str, verdict: str = "ok", days_left: int = 89) -> SessionView:
    made = session(port, service, speaks=speaks, tls=tls(), timings={"connect": 1.5, "handshake": 8.0})
    return SessionView(target="a.test", session=made, certificate=certificate(verdict, days_left))


def seen(made: Session) -> SessionView:
    return SessionView(target="a.test", session=made, certificate=None)


def seven() -> tuple[SessionView, ...]:
    refused = trouble(Stage.CONNECT, Kind.REFUSED)
    silent = trouble(Stage.CONNECT, Kind.TIMEOUT, "no connection within 8.0 s")
    reset = trouble(Stage.HANDSHAKE, Kind.RESET, "after the ClientHello")
    return (
        starttls(25, "smtp", "smtp"),
        starttls(587, "submission", "smtp"),
        seen(
            session(
                465,
                "submissions",
                speaks="smtp",
                answered_in_clear=True,
                exchanges=clear(),
                offers_starttls=True,
                timings={"connect": 2.0},
            )
        ),
        seen(session(110, "pop3", trouble=refused, timings={"connect": 0.4})),
        implicit(995, "pop3s", "pop3", "expired", -3),
        seen(session(143, "imap", trouble=silent, timings={"connect": 5000.0})),
        seen(session(993, "imaps", speaks="tls", trouble=reset, timings={"connect": 0.6, "handshake": 1.0})),
    )


def finding(check: str, verdict: Verdict = Verdict.FAIL, **changes: Any) -> Finding:
    made = Finding(
        check=check,
        verdict=verdict,
        severity=Severity.ERROR,
        target="a.test",
        where="mx.a.test [192.0.2.1]:25",
        claim="The server offers STARTTLS",
        detail="the EHLO reply lists no STARTTLS",
        culprit="",
        cause=None,
        why="Without it passwords and letters travel in clear.",
        advice="Set a certificate and a key, and switch TLS on.",
        source="RFC 3207 §4",
    )
    return msgspec.structs.replace(made, **changes)


def everything() -> tuple[Finding, ...]:
    return (
        finding("ehlo-name", Verdict.OK),
        finding("pop3-apop", severity=Severity.INFO, where="mx.a.test [192.0.2.1]:110", detail="an APOP stamp is sent"),
        finding("starttls-offered", where="mx.a.test [192.0.2.1]:587"),
        finding("starttls-offered", where="mx.a.test [192.0.2.1]:143"),
        finding("starttls-offered", where="mx.a.test [2001:db8::1]:143"),
        finding("tls-version", Verdict.UNKNOWN, cause=Cause.RATE_LIMITED, detail="421 4.7.0 too many connections"),
        finding("tls-cipher", Verdict.UNKNOWN, cause=Cause.RATE_LIMITED, detail="421 4.7.0 too many connections"),
        finding("ptr-present", severity=Severity.WARNING, where="192.0.2.1", detail="no PTR record"),
        finding("imap-preauth", Verdict.NOT_APPLICABLE),
        finding("mx-ttl", Verdict.BROKEN, severity=Severity.INFO, detail="ValueError: x"),
    )


def report(*findings: Finding, **changes: Any) -> Report:
    made = Report(
        mailprobe="0.1.0",
        collected_at=NOW,
        targets=(target("a.test"),),
        findings=findings,
        sessions=seven(),
    )
    return msgspec.structs.replace(made, **changes)


def hostile() -> Report:
    """Hold the hostile text in every place where a server or a user could put it."""
    nasty = finding(
        "starttls-offered",
        target=HOSTILE,
        where=HOSTILE,
        detail=HOSTILE,
        culprit=HOSTILE,
        claim=HOSTILE,
        advice=HOSTILE,
    )
    open_one = msgspec.structs.replace(nasty, check="tls-version", verdict=Verdict.UNKNOWN, cause=Cause.NO_ANSWER)
    badly = session(
        25,
        "smtp",
        host=HOSTILE,
        speaks="smtp",
        tls=tls(cipher=HOSTILE, version=HOSTILE),
        timings={"connect": 1.0},
        trouble=trouble(Stage.QUIT, Kind.GARBAGE, HOSTILE),
    )
    view = SessionView(target=HOSTILE, session=badly, certificate=certificate(HOSTILE, 1, HOSTILE))
    stopped = trouble(Stage.RESOLVE, Kind.GARBAGE, HOSTILE)
    return report(nasty, open_one, targets=(target(HOSTILE, trouble=stopped),), sessions=(view,))


def assert_harmless(text: str) -> None:
    """Hold that a terminal has nothing to act on: line ends are the only unprintable characters."""
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
