"""What is said of POP3 and IMAP."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    Case,
    aside,
    busy,
    exchange,
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

IMAP, POP3, SMTP = (143, 993), (110, 995), (25, 587, 465)


def greeted(port: int, line: str) -> Session:
    return session(port, greeting=reply(line))


def said(*lines: str, secure: bool = False) -> Session:
    """An IMAP session in which these lines came with the reply to STARTTLS."""
    odd = exchange("m2 STARTTLS", *lines, "m2 OK go", stage=Stage.STARTTLS, secure=secure, status="OK")
    return session(143, exchanges=(*session(143).exchanges, odd))


CAPA_REFUSED = session(
    110,
    before_tls=None,
    exchanges=(exchange("", "+OK ready", stage=Stage.GREETING), exchange("CAPA", "-ERR what")),
)
CAPA_UNANSWERED = session(
    110,
    before_tls=None,
    after_tls=None,
    tls=None,
    exchanges=(exchange("", "+OK ready", stage=Stage.GREETING), exchange("CAPA", status="")),
    trouble=trouble(Stage.CAPABILITIES, Kind.TIMEOUT),
)
NO_LIST = session(143, before_tls=None, after_tls=None, tls=None, trouble=trouble(Stage.CAPABILITIES, Kind.CLOSED))
REFERRAL = "* OK [REFERRAL imap://other.test/] go there"

CASES: list[Case] = [
    *(passes(check, session(port)) for check in ("imap-preauth", "imap-revision", "imap-referral") for port in IMAP),
    *(
        aside(check, session(port))
        for check in ("imap-preauth", "imap-revision", "imap-referral", "imap-login-before-tls")
        for port in (*SMTP, *POP3)
    ),
    *(
        undecided(check, silent(143), Cause.NO_ANSWER)
        for check in (
            "imap-preauth",
            "imap-revision",
            "imap-referral",
            "imap-login-before-tls",
            "imap-untagged-before-tls",
        )
    ),
    *(aside(check, refused(143)) for check in ("imap-preauth", "imap-revision", "imap-untagged-before-tls")),
    fails("imap-preauth", greeted(143, "* PREAUTH welcome"), "PREAUTH"),
    fails("imap-preauth", greeted(993, "* PREAUTH welcome"), "PREAUTH"),
    passes("imap-revision", listing(143, "IMAP4REV2"), "IMAP4REV2"),
    fails("imap-revision", listing(143, "IMAP4", "STARTTLS"), None, "neither"),
    fails("imap-revision", listing(143, "X", tls=None, inside=False), None, "neither"),
    undecided("imap-revision", NO_LIST, Cause.INTERRUPTED),
    passes("imap-login-before-tls", session(143)),
    fails(
        "imap-login-before-tls", listing(143, "IMAP4REV1", "STARTTLS", inside=False), None, "LOGINDISABLED is missing"
    ),
    fails("imap-login-before-tls", listing(143, "LOGINDISABLED", "AUTH PLAIN", inside=False), "PLAIN"),
    passes("imap-login-before-tls", listing(143, "LOGINDISABLED", "AUTH GSSAPI", inside=False)),
    aside("imap-login-before-tls", session(993)),
    undecided("imap-login-before-tls", NO_LIST, Cause.INTERRUPTED),
    passes("pop3-login-before-tls", session(110)),
    fails("pop3-login-before-tls", listing(110, "USER", "STLS", inside=False), "USER"),
    fails("pop3-login-before-tls", listing(110, "SASL PLAIN LOGIN", inside=False), "LOGIN, PLAIN"),
    passes("pop3-login-before-tls", listing(110, "SASL SCRAM-SHA-256", inside=False)),
    *(aside("pop3-login-before-tls", session(port)) for port in (995, 143, 25)),
    undecided("pop3-login-before-tls", silent(110), Cause.NO_ANSWER),
    *(passes("login-after-tls", session(port)) for port in (*IMAP, *POP3)),
    fails("login-after-tls", listing(993, "IMAP4REV1", "LOGINDISABLED"), "LOGINDISABLED"),
    passes("login-after-tls", listing(993, "IMAP4REV1", "LOGINDISABLED", "AUTH SCRAM-SHA-256")),
    fails("login-after-tls", listing(995, "UIDL"), None, "neither USER nor SASL"),
    passes("login-after-tls", listing(995, "UIDL", greeting=reply("+OK <1.2@mx.a.test>"))),
    undecided(
        "login-after-tls",
        session(993, after_tls=None, trouble=trouble(Stage.CAPABILITIES_TLS, Kind.TIMEOUT)),
        Cause.NO_ANSWER,
    ),
    *(aside("login-after-tls", session(port)) for port in SMTP),
    aside("login-after-tls", session(143, tls=None, after_tls=None)),
    passes("imap-untagged-before-tls", session(143)),
    fails("imap-untagged-before-tls", said("* 99 EXISTS"), "* 99 EXISTS"),
    fails("imap-untagged-before-tls", said('* LIST () "/" INBOX'), '* LIST () "/" INBOX'),
    fails("imap-untagged-before-tls", said("* OK [ALERT] call us"), "* OK [ALERT] call us"),
    fails("imap-untagged-before-tls", said("* 1 fetch (FLAGS ())"), "* 1 fetch (FLAGS ())"),
    passes("imap-untagged-before-tls", said("* CAPABILITY IMAP4rev1", "* OK still here")),
    passes("imap-untagged-before-tls", said("* 99 EXISTS", secure=True)),
    *(aside("imap-untagged-before-tls", session(port)) for port in (993, 110, 25)),
    fails("imap-referral", greeted(143, REFERRAL), "imap://other.test/"),
    passes("imap-referral", greeted(143, "* OK [CAPABILITY IMAP4rev1] hi")),
    *(passes("pop3-capa", session(port)) for port in POP3),
    fails("pop3-capa", CAPA_REFUSED, None, "-ERR what"),
    undecided("pop3-capa", CAPA_UNANSWERED, Cause.NO_ANSWER),
    undecided("pop3-capa", silent(110), Cause.NO_ANSWER),
    undecided("pop3-capa", busy(110), Cause.RATE_LIMITED),
    aside("pop3-capa", refused(110)),
    aside("pop3-capa", session(143)),
    *(passes("pop3-apop", session(port)) for port in POP3),
    fails("pop3-apop", greeted(110, "+OK ready <1896.69@mx.a.test>"), "<1896.69@mx.a.test>"),
    undecided("pop3-apop", silent(110), Cause.NO_ANSWER),
    aside("pop3-apop", refused(110)),
    aside("pop3-apop", session(25)),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
