"""What is said of the handshake."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Kind, Legacy, Session, Stage
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    CLEAR_PORTS,
    PORTS,
    TLS_PORTS,
    Case,
    aside,
    busy,
    fails,
    names,
    passes,
    refused,
    session,
    silent,
    stopped,
    tls,
    trouble,
    undecided,
)


def spoke(version: str, cipher: str) -> Session:
    return session(25, tls=tls(version=version, cipher=cipher))


def old(version: str | None, refused_by_server: bool = False, kind: Kind | None = None) -> Session:
    found = trouble(Stage.HANDSHAKE, kind) if kind else None
    return session(465, legacy=Legacy(version=version, refused=refused_by_server, trouble=found))


CASES: list[Case] = [
    *(passes("tls-handshake", session(port), "TLSv1.3") for port in TLS_PORTS),
    *(aside("tls-handshake", session(port)) for port in CLEAR_PORTS),
    fails("tls-handshake", stopped(465, Stage.HANDSHAKE, Kind.TLS_ALERT, "handshake failure"), "handshake failure"),
    fails("tls-handshake", stopped(993, Stage.HANDSHAKE, Kind.RESET, "reset"), "reset"),
    *(undecided("tls-handshake", silent(port), Cause.NO_ANSWER) for port in TLS_PORTS),
    aside("tls-handshake", session(465, tls=None, answered_in_clear=True)),
    aside("tls-handshake", refused(465)),
    *(passes(check, session(port)) for check in ("tls-version", "tls-cipher", "tls-forward-secrecy") for port in PORTS),
    *(undecided(check, silent(25), Cause.NO_ANSWER) for check in ("tls-version", "tls-cipher", "tls-forward-secrecy")),
    *(undecided(check, busy(25), Cause.RATE_LIMITED) for check in ("tls-version", "tls-cipher", "tls-forward-secrecy")),
    *(aside(check, refused(25)) for check in ("tls-version", "tls-cipher", "tls-forward-secrecy")),
    *(
        aside(check, session(25, tls=None, after_tls=None, offers_starttls=False))
        for check in ("tls-version", "tls-cipher", "tls-forward-secrecy")
    ),
    passes("tls-version", spoke("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384")),
    *(fails("tls-version", spoke(version, "AES256-SHA"), version) for version in ("SSLv3", "TLSv1", "TLSv1.1")),
    passes("tls-legacy", old(None, refused_by_server=True, kind=Kind.TLS_ALERT)),
    fails("tls-legacy", old("TLSv1.1"), "TLSv1.1"),
    undecided("tls-legacy", old(None, kind=Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("tls-legacy", old(None, kind=Kind.TEMPORARY), Cause.RATE_LIMITED),
    aside("tls-legacy", old(None, kind=Kind.TLS_FAILED), "local OpenSSL"),
    aside("tls-legacy", session(465), "not asked"),
    *(
        fails("tls-cipher", spoke("TLSv1.2", cipher), cipher)
        for cipher in (
            "NULL-SHA256",
            "ECDHE-RSA-NULL-SHA",
            "ADH-AES256-SHA",
            "AECDH-AES256-SHA",
            "RC4-SHA",
            "DES-CBC3-SHA",
            "EXP-RC2-CBC-MD5",
        )
    ),
    passes("tls-cipher", spoke("TLSv1.2", "AES128-GCM-SHA256")),
    passes("tls-cipher", spoke("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")),
    fails("tls-forward-secrecy", spoke("TLSv1.2", "AES128-GCM-SHA256"), "AES128-GCM-SHA256"),
    passes("tls-forward-secrecy", spoke("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")),
    passes("tls-forward-secrecy", spoke("TLSv1.2", "DHE-RSA-AES128-SHA")),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
