"""Facts that need a connection of their own, asked of servers on loopback that do it right and wrong."""

from __future__ import annotations

import ssl

import pytest

from mailprobe.collect.probes import Second, probe_legacy, probe_nameless, probe_starttls
from mailprobe.collect.survey import Door
from mailprobe.model.evidence import Injection, Kind, Legacy, Stage, Tls, Trouble
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network
from tests.certificates import server_context
from tests.collect.servers import (
    BYE,
    CERTIFICATE,
    CONTEXT,
    EHLO,
    HASTY,
    LOGOUT,
    PATIENT,
    imap,
    implicit,
    on_network,
    pop3,
    smtp,
)
from tests.scripted import Peer, Script

NO_PIPELINING = EHLO.replace(b"250-PIPELINING\r\n", b"")


def probed(script: Script, port: int, limits: Limits = PATIENT) -> tuple[Second, bytes]:
    """Probe STARTTLS; give what was learnt and what the server heard in clear."""

    async def act(network: Network, door: Door) -> Second:
        return await probe_starttls(network, door, Deadline(limits.target_s))

    second, heard = on_network(act, script, port=port, limits=limits)
    assert len(heard) == 1
    return second, heard[0]


def injection(script: Script, port: int, limits: Limits = PATIENT) -> Injection:
    found = probed(script, port, limits)[0].injection
    assert found is not None
    return found


def smtp_inside(*inside: bytes, ehlo: bytes = EHLO, close: bool = False) -> Script:
    """An SMTP server that sends the first of these inside TLS at once, and each other when it hears a line.

    With *close* the connection ends after the last one.
    """

    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test ESMTP\r\n")
        assert peer.answer(ehlo=ehlo, mail=b"250 ok\r\n").startswith(b"STARTTLS")
        peer.send(b"220 go\r\n")
        injected = peer.line()
        assert injected == b"XMAILPROBE\r\n"
        peer.start_tls(CONTEXT)
        first, *others = inside
        peer.send(first)
        for reply in others:
            peer.line()
            peer.send(reply)
        if close:
            peer.finish()

    return serve


UNKNOWN = b"500 unknown command\r\n"
EXECUTED_587 = smtp_inside(UNKNOWN, BYE)
DISCARDED_587 = smtp_inside(b"", BYE)
EXECUTED_25 = smtp_inside(UNKNOWN, b"250 ok\r\n", BYE)
DISCARDED_25 = smtp_inside(b"", b"250 ok\r\n")


def pop3_inside(*inside: bytes) -> Script:
    def serve(peer: Peer) -> None:
        peer.send(b"+OK ready\r\n")
        assert peer.line() == b"STLS\r\n"
        peer.send(b"+OK go\r\n")
        assert peer.line() == b"XMAILPROBE\r\n"
        peer.start_tls(CONTEXT)
        first, *others = inside
        peer.send(first)
        for reply in others:
            peer.line()
            peer.send(reply)

    return serve


def imap_inside(first: bytes, goodbye: bytes = LOGOUT) -> Script:
    def serve(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        assert peer.line() == b"m1 STARTTLS\r\n"
        peer.send(b"m1 OK go\r\n")
        assert peer.line() == b"x1 NOOP\r\n"
        peer.start_tls(CONTEXT)
        peer.send(first)
        peer.answer(logout=goodbye)

    return serve


@pytest.mark.parametrize(
    ("port", "script", "reply"),
    [
        (25, EXECUTED_25, "500 unknown command"),
        (587, EXECUTED_587, "500 unknown command"),
        (25, smtp_inside(UNKNOWN, b"250 ok\r\n", BYE, ehlo=NO_PIPELINING), "500 unknown command"),
        (25, smtp_inside(b"503 bad sequence\r\n", b"250 ok\r\n", BYE), "503 bad sequence"),
        (25, smtp_inside(b"530 TLS first\r\n", b"250 ok\r\n", BYE), "530 TLS first"),
        (25, smtp_inside(b"550 go away\r\n", b"250 ok\r\n", BYE), "550 go away"),
        (110, pop3_inside(b"-ERR unknown\r\n", b"+OK bye\r\n"), "-ERR unknown"),
        (143, imap_inside(b"x1 OK done\r\n"), "x1 OK done"),
        (143, imap_inside(b"x1 BAD what\r\n"), "x1 BAD what"),
    ],
)
def test_starttls_command_injection_is_seen(port: int, script: Script, reply: str) -> None:
    forgotten = False if port == 25 else None  # the reply to MAIL came after the one to the injected command
    assert injection(script, port) == Injection(executed=True, reply=reply, kept_state=forgotten, trouble=None)


@pytest.mark.parametrize(
    ("port", "script", "kept"),
    [
        (25, DISCARDED_25, False),
        (25, smtp_inside(b"", b"503 5.5.1 send HELO/EHLO first\r\n", BYE), False),
        (25, smtp_inside(b"", b"503 5.5.1 send HELO/EHLO first\r\n", close=True), False),
        (25, smtp_inside(b"", b"503 Bad sequence of commands\r\n", BYE), None),
        (25, smtp_inside(b"", b"503 5.5.1 Command not allowed at this point\r\n", BYE), None),
        (25, smtp_inside(b"", UNKNOWN, BYE), None),
        (25, smtp_inside(b"", b"250 ok\r\n", ehlo=NO_PIPELINING), False),
        (587, DISCARDED_587, None),
        (110, pop3_inside(b"", b"+OK bye\r\n"), None),
        (143, imap_inside(b""), None),
    ],
)
def test_a_server_that_empties_its_buffer_runs_nothing(port: int, script: Script, kept: bool | None) -> None:
    found = injection(script, port)
    assert (found.executed, found.kept_state, found.trouble) == (False, kept, None)


@pytest.mark.parametrize("ehlo", [EHLO, NO_PIPELINING])
def test_a_transaction_that_survives_tls_is_seen(ehlo: bytes) -> None:
    found = injection(smtp_inside(b"", b"503 5.5.1 nested MAIL command\r\n", BYE, ehlo=ehlo), 25)
    assert (found.executed, found.kept_state) == (False, True)
    assert found.reply == "503 5.5.1 nested MAIL command"


def test_a_reply_that_asks_us_to_come_back_says_nothing_of_the_transaction() -> None:
    found = injection(smtp_inside(b"", b"451 greylisted\r\n", BYE), 25)
    assert (found.executed, found.kept_state) == (False, None)


@pytest.mark.parametrize(
    ("port", "script", "kind"),
    [
        (25, smtp_inside(b"", b"421 too busy\r\n"), Kind.TEMPORARY),
        (587, smtp_inside(b"", b"421 too busy\r\n"), Kind.TEMPORARY),
        (25, smtp_inside(b"", close=True), Kind.CLOSED),
        (25, smtp(greeting=b"421 too many\r\n"), Kind.TEMPORARY),
        (110, pop3(greeting=b"-ERR [IN-USE] later\r\n"), Kind.TEMPORARY),
        (143, imap(greeting=b"* BYE [UNAVAILABLE] later\r\n"), Kind.TEMPORARY),
        (25, smtp(ehlo=b"421 too many\r\n"), Kind.TEMPORARY),
        (25, lambda peer: peer.finish(), Kind.CLOSED),
    ],
)
def test_what_could_not_be_learnt_is_unknown_with_its_cause(port: int, script: Script, kind: Kind) -> None:
    found = injection(script, port)
    assert found.executed is None
    assert found.trouble is not None
    assert found.trouble.kind is kind


def test_silence_inside_tls_is_unknown() -> None:
    found = injection(smtp_inside(b""), 587, limits=HASTY)
    assert found.executed is None
    assert found.trouble is not None
    assert (found.trouble.stage, found.trouble.kind) == (Stage.PROBE, Kind.TIMEOUT)


def test_a_refusal_that_nothing_follows_does_not_tell() -> None:
    found = injection(smtp_inside(b"", UNKNOWN, close=True), 587)
    assert (found.executed, found.reply, found.trouble) == (None, "500 unknown command", None)


@pytest.mark.parametrize(
    ("port", "script"),
    [
        (25, smtp(go_ahead=b"502 no\r\n", mail=b"550 no\r\n")),
        (587, smtp(go_ahead=b"502 no\r\n")),
        (110, pop3(go_ahead=b"-ERR no\r\n")),
        (143, imap(go_ahead=b"%t BAD no\r\n")),
    ],
)
def test_where_starttls_is_refused_nothing_was_injected(port: int, script: Script) -> None:
    found = injection(script, port)
    assert (found.executed, found.trouble) == (False, None)


def test_starttls_refused_in_a_transaction_says_nothing_of_injection() -> None:
    """OpenSMTPD refuses so; whether it would run what comes behind STARTTLS must be asked without a transaction."""
    second, _ = probed(smtp(go_ahead=b"503 not now\r\n", mail=b"250 ok\r\n"), 25)
    assert second.refused_in_transaction
    assert second.injection is not None
    assert second.injection.executed is None


def test_a_handshake_that_breaks_on_the_injected_octets_ran_nothing() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test ESMTP\r\n")
        peer.answer(ehlo=EHLO, mail=b"250 ok\r\n")
        peer.send(b"220 go\r\n")
        peer.start_tls(CONTEXT)  # which meets the injected octets

    found = injection(serve, 587)
    assert (found.executed, found.trouble) == (False, None)


def test_a_server_without_starttls_is_left_with_a_goodbye() -> None:
    second, heard = probed(smtp(ehlo=b"250 mx.a.test\r\n"), 25)
    assert second.injection is None
    assert heard == b"EHLO probe.test\r\nQUIT\r\n"


@pytest.mark.parametrize(
    "greeting", [b"* PREAUTH welcome\r\n", b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome\r\n"]
)
def test_nothing_is_injected_after_preauth(greeting: bytes) -> None:
    second, heard = probed(imap(greeting=greeting), 143)
    assert second.injection is None
    assert heard == b"m1 LOGOUT\r\n"


def test_turned_away_is_told_from_learnt_nothing() -> None:
    assert probed(smtp(greeting=b"421 too many\r\n"), 25)[0].turned_away
    assert not probed(smtp(ehlo=b"421 too many\r\n"), 25)[0].turned_away


def test_the_handshake_of_the_probe_sends_no_name() -> None:
    second, _ = probed(DISCARDED_587, 587)
    assert second.nameless is not None
    assert second.nameless.server_name is None
    assert second.nameless.chain == CERTIFICATE.chain


# -- handshakes without a name, and old ones --------------------------------------------------------------------


def nameless(script: Script, port: int) -> tuple[Tls | None, Trouble | None, bytes]:
    async def act(network: Network, door: Door) -> tuple[Tls | None, Trouble | None]:
        return await probe_nameless(network, door, Deadline(20.0))

    (tls, trouble), (heard,) = on_network(act, script, port=port)
    return tls, trouble, heard


def needs_name() -> ssl.SSLContext:
    context = server_context(CERTIFICATE)
    context.sni_callback = lambda _tls, name, _context: (
        ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name is None else None
    )
    return context


@pytest.mark.parametrize(
    ("port", "script", "goodbye"),
    [
        (25, smtp(), b"QUIT"),
        (110, pop3(), b"QUIT"),
        (143, imap(), b"LOGOUT"),
        (465, implicit(b"220 mx.a.test\r\n", quit=BYE), b"QUIT"),
        (993, implicit(b"* OK\r\n", logout=LOGOUT), b"LOGOUT"),
    ],
)
def test_a_handshake_without_a_name_gives_the_usual_certificate_and_parts(
    port: int, script: Script, goodbye: bytes
) -> None:
    tls, trouble, heard = nameless(script, port)
    assert trouble is None
    assert tls is not None
    assert (tls.server_name, len(tls.chain)) == (None, 2)
    assert heard.rstrip().endswith(goodbye)


def test_a_server_that_needs_a_name_says_so() -> None:
    tls, trouble, _ = nameless(lambda peer: peer.start_tls(needs_name()), 465)
    assert tls is None
    assert trouble is not None
    assert (trouble.stage, trouble.kind) == (Stage.HANDSHAKE, Kind.TLS_ALERT)
    assert trouble.detail == "the server sent the TLS alert 'unrecognized name'"


def legacy(script: Script, port: int = 465) -> Legacy:
    async def act(network: Network, door: Door) -> Legacy:
        return await probe_legacy(network, door, Deadline(20.0))

    return on_network(act, script, port=port)[0]


def test_a_modern_server_refuses_old_versions() -> None:
    found = legacy(implicit(b"220 mx.a.test\r\n", quit=BYE))
    assert (found.version, found.refused) == (None, True)


@pytest.mark.parametrize(
    ("script", "refused"),
    [
        (lambda peer: (peer.exactly(5), peer.reset()), True),
        (lambda peer: (peer.exactly(5), peer.finish()), True),
        (lambda peer: peer.send(b"421 busy\r\n"), False),
    ],
)
def test_only_a_server_that_said_no_has_refused(script: Script, refused: bool) -> None:
    found = legacy(script)
    assert (found.version, found.refused) == (None, refused)
    assert found.trouble is not None


def test_a_port_in_clear_is_asked_for_old_versions_behind_starttls() -> None:
    found = legacy(smtp(), port=25)
    assert (found.version, found.refused) == (None, True)
    away = legacy(smtp(greeting=b"421 busy\r\n"), port=25)
    assert (away.refused, away.trouble is not None) == (False, True)
