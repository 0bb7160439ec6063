from __future__ import annotations

import pytest

from mailprobe.model.evidence import Exchange, Kind, Reply, Stage
from mailprobe.output.transcript import transcript
from tests.output.samples import HOSTILE, assert_harmless, seen, session, tls, trouble


def said(stage: Stage, sent: str, *lines: str, secure: bool = False) -> Exchange:
    reply = Reply(status=lines[0][:3] if lines else "", lines=lines, quirks=())
    return Exchange(stage=stage, secure=secure, sent=sent, reply=reply, ms=2.0)


GREETING = said(Stage.GREETING, "", "220 mx.a.test")
STARTTLS = said(Stage.STARTTLS, "STARTTLS", "220 go ahead")


def test_octets_behind_the_go_ahead_stand_where_they_came() -> None:
    made = session(
        25,
        "smtp",
        exchanges=(
            GREETING,
            STARTTLS,
            said(Stage.CAPABILITIES_TLS, "EHLO a.test", "250 mx.a.test", secure=True),
            said(Stage.QUIT, "QUIT", secure=True),
        ),
        leftover=b"250-injected\r\n250 \x1bX\r\n",
        tls=tls(),
        timings={"connect": 1.0, "handshake": 8.0},
    )
    assert transcript([seen(made)]) == (
        "mx.a.test [192.0.2.1]:25\n"
        "  ===  connected in 1 ms\n"
        "  <-   220 mx.a.test  (2 ms)\n"
        "  ->   STARTTLS\n"
        "  <-   220 go ahead  (2 ms)\n"
        "  <!   250-injected  (in clear behind the go-ahead)\n"
        "  <!   250 \\x1bX  (in clear behind the go-ahead)\n"
        "  ===  TLS handshake: TLSv1.3, TLS_AES_256_GCM_SHA384, 8 ms\n"
        "  ~>   EHLO a.test\n"
        "  <~   250 mx.a.test  (2 ms)\n"
        "  ~>   QUIT\n"
    )


def test_octets_behind_the_go_ahead_are_shown_when_the_handshake_fails() -> None:
    failed = trouble(Stage.HANDSHAKE, Kind.TLS_FAILED)
    made = session(25, "smtp", exchanges=(GREETING, STARTTLS), leftover=b"250 x", trouble=failed)
    assert transcript([seen(made)]).endswith(
        "  <!   250 x  (in clear behind the go-ahead)\n  ***  TLS failed in the TLS handshake\n"
    )


def test_a_connection_that_came_to_nothing_has_a_block() -> None:
    reset = trouble(Stage.GREETING, Kind.RESET)
    made = session(25, "smtp", trouble=reset, timings={"connect": 1.0})
    assert transcript([seen(made)]) == (
        "mx.a.test [192.0.2.1]:25\n"
        "  ===  connected in 1 ms\n"
        "  ***  the server reset the connection while waiting for the greeting\n"
    )


def test_a_port_that_waits_for_tls_is_told_in_order() -> None:
    silent = trouble(Stage.GREETING, Kind.TIMEOUT, "silence after our limit of 5 s")
    made = session(143, "imap", speaks="tls", tls=tls(), trouble=silent, timings={"connect": 1.0})
    assert transcript([seen(made)]) == (
        "mx.a.test [192.0.2.1]:143\n"
        "  ===  connected in 1 ms\n"
        "  ***  silence after our limit of 5 s while waiting for the greeting\n"
        "  ===  TLS handshake: TLSv1.3, TLS_AES_256_GCM_SHA384\n"
    )


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.TIMEOUT, Kind.UNREACHABLE])
def test_a_port_that_took_no_connection_has_no_block(kind: Kind) -> None:
    made = session(25, "smtp", trouble=trouble(Stage.CONNECT, kind), timings={"connect": 1.0})
    assert transcript([seen(made)]) == ""


def test_hostile_conversations_are_harmless() -> None:
    made = session(
        25,
        "smtp",
        host=HOSTILE,
        exchanges=(said(Stage.GREETING, HOSTILE, HOSTILE),),
        leftover=HOSTILE.encode("utf-8"),
        trouble=trouble(Stage.PROBE, Kind.GARBAGE, HOSTILE),
    )
    assert_harmless(transcript([seen(made)]))
