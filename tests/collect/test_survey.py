"""Getting to know one port: real servers on loopback, scripted octet by octet."""

from __future__ import annotations

import threading

import pytest

from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.ports import Service
from tests.collect.servers import (
    BYE,
    CAPABILITY_INSIDE,
    CONTEXT,
    EHLO,
    EHLO_INSIDE,
    HASTY,
    HOST,
    LOGOUT,
    PATIENT,
    drop_by_drop,
    imap,
    implicit,
    met,
    pop3,
    smtp,
)
from tests.scripted import Peer, Script, nothing

SMTPS = implicit(b"220 mx.a.test ESMTP\r\n", ehlo=EHLO_INSIDE, quit=BYE)
POP3S = implicit(b"+OK ready\r\n", capa=b"+OK\r\nUSER\r\n.\r\n", quit=b"+OK bye\r\n")
IMAPS = implicit(b"* OK ready\r\n", capability=CAPABILITY_INSIDE, logout=LOGOUT)

WHOLE_TALKS = [
    pytest.param(25, smtp(), ["EHLO probe.test", "STARTTLS", "EHLO probe.test", "QUIT"], id="25"),
    pytest.param(587, smtp(), ["EHLO probe.test", "STARTTLS", "EHLO probe.test", "QUIT"], id="587"),
    pytest.param(465, SMTPS, ["EHLO probe.test", "QUIT"], id="465"),
    pytest.param(110, pop3(), ["CAPA", "STLS", "CAPA", "QUIT"], id="110"),
    pytest.param(995, POP3S, ["CAPA", "QUIT"], id="995"),
    pytest.param(143, imap(), ["m1 CAPABILITY", "m2 STARTTLS", "m3 CAPABILITY", "m4 LOGOUT"], id="143"),
    pytest.param(993, IMAPS, ["m1 CAPABILITY", "m2 LOGOUT"], id="993"),
]


def told(session: Session) -> tuple[Stage, Kind] | None:
    return (session.trouble.stage, session.trouble.kind) if session.trouble else None


def lines(heard: bytes) -> list[str]:
    return heard.decode().splitlines()


def extras(session: Session) -> list[tuple[str, ...]]:
    return [exchange.reply.lines for exchange in session.exchanges if exchange.reply.status == "extra"]


@pytest.mark.parametrize(("port", "script", "commands"), WHOLE_TALKS)
def test_a_healthy_port_is_asked_everything_and_said_goodbye_to(port: int, script: Script, commands: list[str]) -> None:
    session, heard = met(script, port=port)
    assert session.trouble is None
    assert [lines(each) for each in heard] == [commands]
    assert session.tls is not None
    assert session.tls.server_name == HOST
    assert session.tls.trust is not None
    assert session.tls.trust.trusted
    assert session.after_tls is not None
    assert session.after_tls.items
    assert not session.after_tls.has("STARTTLS")
    assert session.leftover == b""
    assert extras(session) == []
    assert {"connect", "greeting", "handshake", "capabilities-tls", "total"} <= set(session.timings)


@pytest.mark.parametrize(("port", "script", "commands"), WHOLE_TALKS)
def test_a_server_that_sends_octet_by_octet_is_understood_the_same(
    port: int, script: Script, commands: list[str]
) -> None:
    whole, _ = met(script, port=port)
    bits, heard = met(drop_by_drop(script), port=port)
    assert [lines(each) for each in heard] == [commands]
    assert bits.trouble is None
    assert (bits.speaks, bits.greeting, bits.before_tls, bits.after_tls) == (
        whole.speaks,
        whole.greeting,
        whole.before_tls,
        whole.after_tls,
    )
    assert [each.reply for each in bits.exchanges] == [each.reply for each in whole.exchanges]


@pytest.mark.parametrize(
    ("port", "script", "leftover"),
    [
        (25, smtp(go_ahead=b"220 go\r\n250-INJECTED\r\n250 AUTH PLAIN\r\n"), b"250-INJECTED\r\n250 AUTH PLAIN\r\n"),
        (110, pop3(go_ahead=b"+OK go\r\n+OK INJECTED\r\n"), b"+OK INJECTED\r\n"),
        (143, imap(go_ahead=b"%t OK go\r\n* 99 EXISTS\r\n"), b"* 99 EXISTS\r\n"),
        (25, smtp(go_ahead=b"220 go\r\nhalf a li"), b"half a li"),
    ],
)
def test_starttls_response_injection_is_kept_and_believed_by_nobody(port: int, script: Script, leftover: bytes) -> None:
    session, _ = met(script, port=port)
    assert session.leftover == leftover
    assert session.trouble is None
    assert session.after_tls is not None
    assert session.after_tls.items
    inside = [line for exchange in session.exchanges if exchange.secure for line in exchange.reply.lines]
    assert not [line for line in inside if "INJECTED" in line or "EXISTS" in line]
    assert extras(session) == []


def test_a_reply_that_nobody_asked_for_is_written_down_and_the_talk_goes_on() -> None:
    session, _ = met(smtp(ehlo=EHLO + b"250 OK\r\n"))
    assert extras(session) == [("250 OK",)]
    assert session.trouble is None
    assert session.tls is not None


def test_untagged_data_at_any_time_is_no_extra_reply() -> None:
    session, _ = met(
        imap(capability=b"* CAPABILITY IMAP4rev1 STARTTLS\r\n%t OK done\r\n* OK [ALERT] hear\r\n"), port=143
    )
    assert extras(session) == []
    said = [line for exchange in session.exchanges for line in exchange.reply.lines]
    assert "* OK [ALERT] hear" in said
    assert session.trouble is None


def test_a_tagged_reply_too_many_is_written_down() -> None:
    session, _ = met(imap(capability=b"* CAPABILITY IMAP4rev1 STARTTLS\r\n%t OK done\r\n%t OK again\r\n"), port=143)
    assert extras(session) == [("m1 OK again",)]
    assert session.trouble is None


@pytest.mark.parametrize(
    ("port", "script", "speaks"),
    [(465, smtp(), "smtp"), (995, pop3(), "pop3"), (993, imap(), "imap")],
)
def test_a_port_for_tls_that_greets_in_clear_is_asked_again_in_clear(port: int, script: Script, speaks: str) -> None:
    def in_clear_first(peer: Peer) -> None:
        peer.send({"smtp": b"220 mx.a.test\r\n", "pop3": b"+OK\r\n", "imap": b"* OK hi\r\n"}[speaks])

    session, heard = met(in_clear_first, script, port=port)
    assert len(heard) == 2
    assert session.answered_in_clear
    assert session.speaks == speaks
    assert session.offers_starttls
    assert session.tls is not None
    assert told(session) == (Stage.HANDSHAKE, Kind.NOT_TLS)


def test_a_port_in_clear_that_waits_for_tls_is_recognised() -> None:
    session, heard = met(nothing, lambda peer: peer.start_tls(CONTEXT), limits=HASTY)
    assert len(heard) == 2
    assert (session.speaks, told(session)) == ("tls", (Stage.GREETING, Kind.TIMEOUT))
    assert session.tls is not None
    assert heard[0] == b""


def test_nothing_is_sent_before_the_greeting() -> None:
    early: list[bytes] = []

    def slow(peer: Peer) -> None:
        peer.send(b"220-wait a moment\r\n220-")
        early.append(peer.overhear(0.15))
        smtp(greeting=b"\r\n220 mx.a.test\r\n")(peer)

    session, _ = met(slow)
    assert early == [b""]
    assert session.trouble is None
    assert session.greeting is not None
    assert len(session.greeting.lines) == 3


def test_a_policy_that_refuses_ehlo_is_not_taken_for_an_old_server() -> None:
    session, heard = met(smtp(ehlo=b"550 5.7.1 access denied\r\n"))
    assert lines(heard[0]) == ["EHLO probe.test", "QUIT"]
    assert session.trouble is not None
    assert (session.trouble.stage, session.trouble.kind) == (Stage.CAPABILITIES, Kind.REJECTED)


@pytest.mark.parametrize("refusal", [b"500 what\r\n", b"502 5.5.1 no\r\n", b"504-no\r\n504 no\r\n"])
def test_helo_is_said_where_ehlo_is_not_known(refusal: bytes) -> None:
    session, heard = met(smtp(ehlo=refusal, helo=b"250 mx.a.test\r\n"))
    assert lines(heard[0]) == ["EHLO probe.test", "HELO probe.test", "QUIT"]
    assert session.before_tls is not None
    assert (session.before_tls.source, session.before_tls.items) == ("helo", ())
    assert session.offers_starttls is False
    assert session.trouble is None


def test_a_server_that_knows_neither_is_left_with_a_goodbye() -> None:
    session, heard = met(smtp(ehlo=b"500 no\r\n", helo=b"550 no\r\n"))
    assert lines(heard[0]) == ["EHLO probe.test", "HELO probe.test", "QUIT"]
    assert told(session) == (Stage.CAPABILITIES, Kind.REJECTED)


@pytest.mark.parametrize(
    ("port", "script", "kind", "goodbye"),
    [
        (25, smtp(greeting=b"421 too many\r\n"), Kind.TEMPORARY, "QUIT"),
        (25, smtp(greeting=b"554 no service\r\n"), Kind.REJECTED, "QUIT"),
        (110, pop3(greeting=b"-ERR [SYS/TEMP] later\r\n"), Kind.TEMPORARY, "QUIT"),
        (110, pop3(greeting=b"-ERR [IN-USE] later\r\n"), Kind.TEMPORARY, "QUIT"),
        (110, pop3(greeting=b"-ERR go away\r\n"), Kind.REJECTED, "QUIT"),
        (143, imap(greeting=b"* BYE [UNAVAILABLE] later\r\n"), Kind.TEMPORARY, "m1 LOGOUT"),
        (143, imap(greeting=b"* BYE go away\r\n"), Kind.REJECTED, "m1 LOGOUT"),
    ],
)
def test_a_greeting_that_sends_us_away_is_taken_at_its_word(
    port: int, script: Script, kind: Kind, goodbye: str
) -> None:
    session, heard = met(script, port=port)
    assert told(session) == (Stage.GREETING, kind)
    assert session.greeting is not None
    assert [lines(each) for each in heard] == [[goodbye]]


@pytest.mark.parametrize(
    ("port", "script", "kind", "goodbye"),
    [
        (25, smtp(go_ahead=b"454 not now\r\n"), Kind.TEMPORARY, "QUIT"),
        (25, smtp(go_ahead=b"502 no\r\n"), Kind.REJECTED, "QUIT"),
        (25, smtp(go_ahead=b"250 fine\r\n"), Kind.REJECTED, "QUIT"),
        (110, pop3(go_ahead=b"-ERR no\r\n"), Kind.REJECTED, "QUIT"),
        (143, imap(go_ahead=b"%t NO no\r\n"), Kind.REJECTED, "m3 LOGOUT"),
        (143, imap(go_ahead=b"%t BAD no\r\n"), Kind.REJECTED, "m3 LOGOUT"),
    ],
)
def test_starttls_that_is_refused_ends_with_a_goodbye(port: int, script: Script, kind: Kind, goodbye: str) -> None:
    session, heard = met(script, port=port)
    assert told(session) == (Stage.STARTTLS, kind)
    assert session.offers_starttls
    assert session.tls is None
    assert lines(heard[0])[-1] == goodbye


@pytest.mark.parametrize(
    ("port", "script"),
    [
        (25, smtp(ehlo=EHLO_INSIDE)),
        (110, pop3(capa=b"+OK\r\nUSER\r\n.\r\n")),
        (143, imap(capability=CAPABILITY_INSIDE)),
    ],
)
def test_starttls_that_is_not_offered_is_not_tried(port: int, script: Script) -> None:
    session, heard = met(script, port=port)
    assert session.offers_starttls is False
    assert session.trouble is None
    assert b"TLS" not in heard[0]
    assert lines(heard[0])[-1] in {"QUIT", "m2 LOGOUT"}


def test_stls_is_tried_where_no_list_tells() -> None:
    session, heard = met(pop3(capa=b"-ERR what\r\n"), port=110)
    assert "STLS" in lines(heard[0])
    assert session.offers_starttls
    assert session.before_tls is None
    refused, _ = met(pop3(capa=b"-ERR what\r\n", go_ahead=b"-ERR no\r\n"), port=110)
    assert refused.offers_starttls is False
    assert refused.trouble is None


@pytest.mark.parametrize(
    "greeting", [b"* PREAUTH welcome\r\n", b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome\r\n"]
)
def test_starttls_is_never_sent_after_preauth(greeting: bytes) -> None:
    session, heard = met(imap(greeting=greeting), port=143)
    assert b"STARTTLS" not in heard[0]
    assert lines(heard[0])[-1].endswith("LOGOUT")
    assert session.greeting is not None
    assert (session.greeting.status, session.trouble) == ("PREAUTH", None)


def test_the_capabilities_in_a_greeting_spare_the_question_and_count_in_clear_only() -> None:
    session, heard = met(imap(greeting=b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), port=143)
    assert lines(heard[0]) == ["m1 STARTTLS", "m2 CAPABILITY", "m3 LOGOUT"]
    assert session.before_tls is not None
    assert session.before_tls.source == "greeting"
    assert session.after_tls is not None
    assert session.after_tls.source == "asked"


def _endless_line(peer: Peer) -> None:
    while True:
        peer.send(b"220" + b"x" * 8_000)


def _endless_reply(peer: Peer) -> None:
    while True:
        peer.send(b"220-x\r\n" * 500)


def _half(peer: Peer) -> None:
    peer.send(b"220-half\r\n22")


def _finish_at_once(peer: Peer) -> None:
    peer.finish()


def _reset_at_ehlo(peer: Peer) -> None:
    peer.send(b"220 mx.a.test\r\n")
    peer.line()
    peer.reset()


def _close_in_handshake(peer: Peer) -> None:
    peer.send(b"220 mx.a.test\r\n")
    peer.answer(ehlo=EHLO)
    peer.send(b"220 go\r\n")
    peer.exactly(5)
    peer.finish()


def _clear_in_handshake(peer: Peer) -> None:
    peer.send(b"220 mx.a.test\r\n")
    peer.answer(ehlo=EHLO)
    peer.send(b"220 go\r\n")
    peer.exactly(5)
    peer.send(b"454 sorry, no TLS\r\n")


def _silent_at_starttls(peer: Peer) -> None:
    peer.send(b"220 mx.a.test\r\n")
    peer.answer(ehlo=EHLO)


def _garbage_at_ehlo(peer: Peer) -> None:
    peer.send(b"220 mx.a.test\r\n")
    peer.line()
    peer.send(b"\xff\x00 what\r\n")


@pytest.mark.parametrize(
    ("script", "stage", "kind", "speaks"),
    [
        (nothing, Stage.GREETING, Kind.TIMEOUT, None),
        (_half, Stage.GREETING, Kind.TIMEOUT, "smtp"),
        (_finish_at_once, Stage.GREETING, Kind.CLOSED, None),
        (_endless_line, Stage.GREETING, Kind.LIMIT, "other"),
        (_endless_reply, Stage.GREETING, Kind.LIMIT, "smtp"),
        (lambda peer: peer.send(b"SSH-2.0-x\r\n"), Stage.GREETING, Kind.GARBAGE, "ssh"),
        (lambda peer: peer.send(b"HTTP/1.1 400 x\r\n\r\n"), Stage.GREETING, Kind.GARBAGE, "http"),
        (lambda peer: peer.send(b"* OK ready\r\n"), Stage.GREETING, Kind.GARBAGE, "imap"),
        (_reset_at_ehlo, Stage.CAPABILITIES, Kind.RESET, "smtp"),
        (_garbage_at_ehlo, Stage.CAPABILITIES, Kind.GARBAGE, "smtp"),
        (_silent_at_starttls, Stage.STARTTLS, Kind.TIMEOUT, "smtp"),
        (_close_in_handshake, Stage.HANDSHAKE, Kind.CLOSED, "smtp"),
        (_clear_in_handshake, Stage.HANDSHAKE, Kind.NOT_TLS, "smtp"),
        (smtp(inside={"ehlo": b"503 no\r\n", "helo": b"503 no\r\n"}), Stage.CAPABILITIES_TLS, Kind.REJECTED, "smtp"),
        (smtp(inside={"ehlo": b"421 busy\r\n"}), Stage.CAPABILITIES_TLS, Kind.TEMPORARY, "smtp"),
    ],
)
def test_where_and_why_a_conversation_stopped_is_written_down(
    script: Script, stage: Stage, kind: Kind, speaks: str | None
) -> None:
    session, _ = met(script, limits=HASTY if kind is Kind.TIMEOUT else PATIENT)
    assert (told(session), session.speaks) == ((stage, kind), speaks)


def test_a_drip_feed_ends_at_the_limit_of_its_phase_with_what_came() -> None:
    gone = threading.Event()

    def drip(peer: Peer) -> None:
        peer.send(b"220-mx.a.test\r\n220-")
        while not gone.wait(0.005):
            peer.send(b"x")

    session, _ = met(drip, limits=HASTY)
    gone.set()
    assert told(session) == (Stage.GREETING, Kind.TIMEOUT)
    assert session.exchanges[0].reply.lines == ("220-mx.a.test",)
    assert session.trouble is not None
    assert "not complete" in session.trouble.detail


def test_what_was_learnt_before_a_trouble_is_kept() -> None:
    session, _ = met(_clear_in_handshake)
    assert session.before_tls is not None
    assert session.before_tls.has("STARTTLS")
    assert [exchange.sent for exchange in session.exchanges] == ["", "EHLO probe.test", "STARTTLS"]


@pytest.mark.parametrize(
    ("script", "speaks"),
    [
        (smtp(), "smtp"),
        (pop3(), "pop3"),
        (imap(), "imap"),
        (lambda peer: peer.send(b"SSH-2.0-x\r\n"), "ssh"),
        (lambda peer: peer.send(b'"IMPLEMENTATION" "x"\r\nOK\r\n'), "sieve"),
        (lambda peer: peer.send(b"hello\r\n"), "other"),
    ],
)
def test_a_port_of_no_known_service_is_met_without_prejudice(script: Script, speaks: str) -> None:
    session, _ = met(script, port=4190, service=Service.UNKNOWN)
    assert (session.speaks, session.trouble) == (speaks, None)
    assert session.greeting is not None
    assert (session.tls is not None) is (speaks in {"smtp", "pop3", "imap"})
