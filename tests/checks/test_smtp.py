"""What is said of EHLO and what it lists, in each role."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    CLEAR_PORTS,
    PORTS,
    TLS_PORTS,
    Case,
    aside,
    busy,
    caps,
    exchange,
    fails,
    listing,
    names,
    passes,
    refused,
    session,
    silent,
    trouble,
    undecided,
)

SMTP_PORTS = (25, 587, 465)
ACCESS_PORTS = (110, 995, 143, 993)
BASIC = ("PIPELINING", "SIZE 10240000", "8BITMIME", "ENHANCEDSTATUSCODES")
HELO_ONLY = session(
    25,
    exchanges=(
        exchange("EHLO [192.0.2.1]", "502 what"),
        exchange("HELO [192.0.2.1]", "250 mx.a.test"),
    ),
    before_tls=caps("helo"),
    after_tls=None,
    tls=None,
    offers_starttls=False,
)
LISTS = (
    "ehlo-name",
    "ehlo-keywords",
    "smtp-extension-pairs",
    "smtp-size-useful",
    "smtp-basic-extensions",
)
INTERRUPTED = session(25, before_tls=None, after_tls=None, tls=None, trouble=trouble(Stage.CAPABILITIES, Kind.CLOSED))


def first_line(text: str) -> Session:
    return session(25, exchanges=(exchange("EHLO [192.0.2.1]", f"250-{text}", "250 SIZE 10240000"),))


def no_clear_list(port: int, kind: Kind, detail: str = "what happened") -> Session:
    return session(port, before_tls=None, after_tls=None, tls=None, trouble=trouble(Stage.CAPABILITIES, kind, detail))


def no_inner_list(port: int, kind: Kind | None, stage: Stage = Stage.CAPABILITIES_TLS) -> Session:
    return session(port, after_tls=None, trouble=trouble(stage, kind) if kind else None)


CASES: list[Case] = [
    *(passes(check, session(port)) for check in (*LISTS, "ehlo-accepted") for port in SMTP_PORTS),
    *(aside(check, session(port)) for check in (*LISTS, "ehlo-accepted") for port in ACCESS_PORTS),
    *(aside(check, HELO_ONLY, "HELO only") for check in LISTS),
    *(undecided(check, silent(25), Cause.NO_ANSWER) for check in (*LISTS, "ehlo-accepted")),
    *(undecided(check, busy(25), Cause.RATE_LIMITED) for check in (*LISTS, "ehlo-accepted")),
    *(undecided(check, INTERRUPTED, Cause.INTERRUPTED) for check in LISTS),
    *(aside(check, refused(25)) for check in (*LISTS, "ehlo-accepted")),
    fails("ehlo-accepted", HELO_ONLY, "502 what"),
    fails("ehlo-name", first_line("STARTTLS"), "STARTTLS"),
    fails("ehlo-name", first_line("8bitmime"), "8bitmime"),
    fails("ehlo-name", first_line(""), ""),
    passes("ehlo-name", first_line("mx.a.test Hello you")),
    fails("ehlo-keywords", listing(25, *BASIC, "X_Y"), "X_Y"),
    fails("ehlo-keywords", listing(25, *BASIC, "-X"), "-X"),
    *(fails("ehlo-keywords", listing(25, f"SIZE {size}"), "SIZE") for size in ("many", "\xb2", "9" * 21, "9" * 5000)),
    passes("ehlo-keywords", listing(25, "SIZE " + "9" * 20)),
    passes("ehlo-keywords", listing(25, "SIZE", "AUTH= PLAIN", "X-NOISE")),
    fails("smtp-extension-pairs", listing(25, "SMTPUTF8"), "SMTPUTF8", "without 8BITMIME"),
    fails("smtp-extension-pairs", listing(25, "BINARYMIME"), "BINARYMIME", "without CHUNKING"),
    passes("smtp-extension-pairs", listing(25, "SMTPUTF8", "8BITMIME", "BINARYMIME", "CHUNKING")),
    fails("smtp-size-useful", listing(25, "SIZE 65535"), "SIZE 65535"),
    passes("smtp-size-useful", listing(25, "SIZE 65536")),
    aside("smtp-size-useful", listing(25, "SIZE 0")),
    aside("smtp-size-useful", listing(25, "SIZE")),
    *(aside("smtp-size-useful", listing(25, f"SIZE {size}")) for size in ("lots", "\xb2", "9" * 21, "9" * 5000)),
    passes("smtp-size-useful", listing(25, "SIZE " + "9" * 20)),
    aside("smtp-size-useful", listing(25)),
    fails("smtp-basic-extensions", listing(25, "SIZE 1", "8BITMIME"), "PIPELINING, ENHANCEDSTATUSCODES"),
    passes("relay-auth-offered", session(25)),
    fails("relay-auth-offered", listing(25, *BASIC, "AUTH PLAIN"), "AUTH", "AUTH PLAIN is offered"),
    fails("relay-auth-offered", listing(25, *BASIC, "AUTH= PLAIN"), "AUTH"),
    *(aside("relay-auth-offered", session(port)) for port in PORTS if port != 25),
    undecided("relay-auth-offered", silent(25), Cause.NO_ANSWER),
    aside("relay-auth-offered", refused(25)),
    *(passes("submission-auth-offered", session(port)) for port in (587, 465)),
    passes("submission-auth-offered", listing(587, *BASIC, "AUTH= LOGIN")),
    fails("submission-auth-offered", listing(587, *BASIC), None, "no AUTH"),
    fails("submission-auth-offered", listing(465, *BASIC, "AUTH"), None),
    aside("submission-auth-offered", session(587, tls=None, after_tls=None, offers_starttls=False)),
    *(aside("submission-auth-offered", session(port)) for port in (25, *ACCESS_PORTS)),
    *(undecided("submission-auth-offered", silent(port), Cause.NO_ANSWER) for port in (587, 465)),
    aside("submission-auth-offered", refused(587)),
    *(passes("auth-usable", session(port)) for port in (587, 465)),
    fails("auth-usable", listing(587, "AUTH"), "AUTH"),
    fails("auth-usable", listing(587, "AUTH= LOGIN"), "AUTH="),
    passes("auth-usable", listing(587, "AUTH LOGIN", "AUTH= LOGIN")),
    aside("auth-usable", session(25), "no AUTH"),
    aside("auth-usable", session(143)),
    undecided("auth-usable", silent(587), Cause.NO_ANSWER),
    *(passes("auth-digest-md5", session(port)) for port in (587, 465, 110, 995, 143, 993)),
    fails("auth-digest-md5", listing(587, "AUTH PLAIN CRAM-MD5"), "CRAM-MD5"),
    fails("auth-digest-md5", listing(995, "SASL DIGEST-MD5 CRAM-MD5"), "CRAM-MD5, DIGEST-MD5"),
    fails("auth-digest-md5", listing(993, "AUTH cram-md5"), "CRAM-MD5"),
    aside("auth-digest-md5", session(25), "no mechanism"),
    undecided("auth-digest-md5", silent(587), Cause.NO_ANSWER),
    aside("auth-digest-md5", refused(587)),
    *(passes("auth-before-tls", session(port)) for port in (25, 587)),
    passes("auth-before-tls", listing(587, *BASIC, "AUTH GSSAPI", inside=False)),
    fails("auth-before-tls", listing(587, *BASIC, "AUTH PLAIN", inside=False), "AUTH PLAIN"),
    fails("auth-before-tls", listing(25, *BASIC, "AUTH= LOGIN", inside=False), "AUTH LOGIN"),
    *(aside("auth-before-tls", session(port)) for port in (*TLS_PORTS, 110, 143)),
    undecided("auth-before-tls", silent(587), Cause.NO_ANSWER),
    undecided("auth-before-tls", no_clear_list(587, Kind.TEMPORARY, "451 greylisted"), Cause.GREYLISTED),
    aside("auth-before-tls", refused(587)),
    *(passes("capabilities-refreshed", session(port)) for port in PORTS),
    *(fails("capabilities-refreshed", no_inner_list(port, Kind.REJECTED), None, "no capabilities") for port in PORTS),
    fails("capabilities-refreshed", listing(25), None),
    fails("capabilities-refreshed", no_inner_list(143, None), None),
    undecided("capabilities-refreshed", no_inner_list(25, Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("capabilities-refreshed", no_inner_list(25, Kind.TEMPORARY), Cause.RATE_LIMITED),
    *(undecided("capabilities-refreshed", silent(port), Cause.NO_ANSWER) for port in PORTS),
    aside("capabilities-refreshed", session(110, before_tls=None, after_tls=None), "in clear either"),
    aside("capabilities-refreshed", session(995, after_tls=None), "no CAPA"),
    *(aside("capabilities-refreshed", refused(port)) for port in CLEAR_PORTS),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
