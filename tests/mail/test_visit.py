"""Visits: TLS as the place wants it or not at all, nothing kept across it, and a goodbye that is waited for."""

from __future__ import annotations

import msgspec
import pytest

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Security
from mailprobe.model.evidence import Kind, Stage
from tests.collect.servers import CONTEXT, EHLO, HASTY, imap, implicit, pop3, smtp
from tests.mail.visits import ALICE, begin, logging_in, stopped, visiting
from tests.scripted import Peer, Script, nothing

AUTH = b"250-mx.a.test\r\n250 AUTH PLAIN\r\n"
POSITIVE = {"ehlo": AUTH, "auth": b"235 in\r\n", "quit": b"221 bye\r\n"}


async def recorded(visit: Visit) -> Conversation:
    await visit.begin()
    await visit.end()
    return visit.record()


def keywords(told: Conversation) -> tuple[list[str] | None, list[str] | None]:
    before, after = (
        [item.keyword for item in found.items] if found is not None else None
        for found in (told.before_tls, told.after_tls)
    )
    return before, after


def test_starttls_is_asked_for_and_the_capabilities_are_asked_again() -> None:
    told, (heard,) = visiting(recorded, smtp())
    assert keywords(told) == (["PIPELINING", "SIZE", "STARTTLS"], ["SIZE"])
    assert told.tls is not None
    assert told.tls.server_name == "mx.a.test"
    assert (told.trouble, told.leftover, told.service, told.host) == (None, b"", "smtp", "mx.a.test")
    assert [exchange.sent for exchange in told.exchanges] == [
        "",
        "EHLO probe.test",
        "STARTTLS",
        "EHLO probe.test",
        "QUIT",
    ]
    assert told.exchanges[-1].reply.lines == ("221 bye",)
    assert set(told.timings) == {
        "connect",
        "greeting",
        "capabilities",
        "starttls",
        "handshake",
        "capabilities-tls",
        "quit",
    }
    assert heard.endswith(b"QUIT\r\n")


@pytest.mark.parametrize(("port", "script"), [(110, pop3()), (143, imap())])
def test_pop3_and_imap_do_the_same(port: int, script: Script) -> None:
    told, _ = visiting(recorded, script, port=port)
    before, after = keywords(told)
    assert before is not None
    assert after is not None
    assert {"STLS", "STARTTLS"} & set(before)
    assert not {"STLS", "STARTTLS"} & set(after)
    assert told.exchanges[-1].stage is Stage.QUIT
    assert told.exchanges[-1].reply.lines != ()


def test_tls_from_the_start_has_no_capabilities_before_it() -> None:
    script = implicit(b"220 mx.a.test\r\n", ehlo=b"250 mx.a.test\r\n", quit=b"221 bye\r\n")
    told, _ = visiting(recorded, script, port=465)
    assert keywords(told) == (None, [])
    assert all(exchange.secure for exchange in told.exchanges)


# -- TLS that is required --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "stage", "kind", "words"),
    [
        (smtp(ehlo=b"250-mx\r\n250 AUTH PLAIN\r\n"), Stage.STARTTLS, Kind.REJECTED, "STARTTLS is not offered"),
        (smtp(ehlo=b"502 what\r\n", helo=b"250 mx\r\n"), Stage.STARTTLS, Kind.REJECTED, "STARTTLS is not offered"),
        (smtp(go_ahead=b"454 later\r\n"), Stage.STARTTLS, Kind.TEMPORARY, "454 later"),
        (smtp(go_ahead=b"220 go\r\n250 STARTTLS\r\n"), Stage.STARTTLS, Kind.GARBAGE, "14 octets in clear"),
        (smtp(greeting=b"421 busy\r\n"), Stage.GREETING, Kind.TEMPORARY, "421 busy"),
    ],
)
def test_nothing_goes_on_in_clear_where_tls_is_required(script: Script, stage: Stage, kind: Kind, words: str) -> None:
    trouble, heard = stopped(logging_in(), script)
    assert (trouble.stage, trouble.kind) == (stage, kind)
    assert words in trouble.detail
    assert b"AUTH" not in heard


@pytest.mark.parametrize(
    ("script", "port", "words"),
    [
        (pop3(capa=b"+OK\r\nUSER\r\n.\r\n"), 110, "STARTTLS is not offered"),
        (pop3(capa=b"-ERR what\r\n", go_ahead=b"-ERR what\r\n"), 110, "-ERR what"),
        (imap(capability=b"* CAPABILITY IMAP4rev1\r\n%t OK done\r\n"), 143, "STARTTLS is not offered"),
        (imap(greeting=b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"), 143, "logged in before TLS"),
        (imap(go_ahead=b"%t OK go\r\n* CAPABILITY AUTH=PLAIN\r\n"), 143, "response injection"),
    ],
)
def test_the_same_goes_for_pop3_and_imap(script: Script, port: int, words: str) -> None:
    trouble, heard = stopped(logging_in(), script, port=port)
    assert words in trouble.detail
    assert b"secret" not in heard
    assert b"USER" not in heard


def test_the_server_is_told_goodbye_where_it_said_no_and_not_where_somebody_is_in_between() -> None:
    _, refused = stopped(begin, smtp(ehlo=b"250 mx\r\n"))
    assert refused.endswith(b"QUIT\r\n")
    _, injected = stopped(begin, smtp(go_ahead=b"220 go\r\n250 x\r\n"))
    assert injected.endswith(b"STARTTLS\r\n")


# -- TLS that is not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [smtp(ehlo=b"250 mx\r\n"), smtp(go_ahead=b"454 later\r\n")])
def test_opportunistic_tls_goes_on_in_clear(script: Script) -> None:
    told, _ = visiting(recorded, script, security=Security.OPPORTUNISTIC)
    assert (told.tls, told.after_tls, told.trouble) == (None, None, None)
    assert told.before_tls is not None


def test_opportunistic_tls_is_used_where_it_is_offered() -> None:
    told, _ = visiting(recorded, smtp(), security=Security.OPPORTUNISTIC)
    assert told.tls is not None


def test_nobody_logs_in_where_octets_were_injected_even_if_told_to() -> None:
    def script(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=EHLO)
        peer.send(b"220 go\r\n250-AUTH PLAIN\r\n")
        peer.start_tls(CONTEXT)
        peer.answer(**POSITIVE)

    trouble, heard = stopped(logging_in(ALICE), script, security=Security.OPPORTUNISTIC)
    assert "injection" in trouble.detail
    assert b"AUTH" not in heard


def test_clear_means_never() -> None:
    told, (heard,) = visiting(recorded, smtp(), security=Security.CLEAR)
    assert told.tls is None
    assert b"STARTTLS" not in heard


# -- goodbye ---------------------------------------------------------------------------------------------------


def test_a_server_that_leaves_without_a_word_is_no_trouble_but_pop3_may_not_have_deleted() -> None:
    def leave(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"+OK ready\r\n")
        peer.answer(capa=b"+OK\r\n.\r\n")
        peer.close()

    told, _ = visiting(recorded, leave, port=995)
    assert told.trouble is not None
    assert (told.trouble.stage, told.trouble.kind) == (Stage.QUIT, Kind.CLOSED)

    def hang_up(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=b"250 mx.a.test\r\n")
        peer.close()

    told, _ = visiting(recorded, hang_up, port=465)
    assert told.trouble is None


def test_a_server_that_never_greets_is_left_without_a_goodbye() -> None:
    async def silent(visit: Visit) -> Conversation:
        with pytest.raises(Stopped):
            await visit.begin()
        await visit.end()
        return visit.record()

    told, (heard,) = visiting(silent, nothing, limits=HASTY)
    assert heard == b""
    assert told.trouble is not None
    assert (told.trouble.stage, told.trouble.kind) == (Stage.GREETING, Kind.TIMEOUT)


def test_who_is_logged_in_already_does_not_say_the_password() -> None:
    greeting = b"* PREAUTH [CAPABILITY IMAP4rev1 IDLE] hi\r\n"
    visit, (heard,) = visiting(logging_in(), implicit(greeting), port=993)
    assert visit.login is not None
    assert (visit.login.mechanism, visit.login.succeeded) == ("PREAUTH", True)
    assert heard == b"m1 LOGOUT\r\n"


@pytest.mark.parametrize("security", [Security.CLEAR, Security.OPPORTUNISTIC])
def test_being_logged_in_by_whoever_answers_in_clear_is_no_login_unless_told_to(security: Security) -> None:
    script = imap(greeting=b"* PREAUTH [CAPABILITY IMAP4rev1 IDLE STARTTLS] hi\r\n")
    trouble, heard = stopped(logging_in(), script, port=143, security=security)
    assert (trouble.stage, trouble.kind) == (Stage.LOGIN, Kind.LOCAL)
    assert "PREAUTH" in trouble.detail
    assert "the connection is not encrypted; say --insecure-login" in trouble.detail
    assert heard == b"m1 LOGOUT\r\n"
    insecure = msgspec.structs.replace(ALICE, insecure=True)
    visit, _ = visiting(logging_in(insecure), script, port=143, security=security)
    assert visit.login is not None
    assert visit.login.mechanism == "PREAUTH"


def test_a_certificate_for_somebody_else_makes_no_login_of_preauth() -> None:
    trouble, _ = stopped(logging_in(), implicit(b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n"), port=993, host="b.test")
    assert trouble.kind is Kind.LOCAL
    assert "the certificate is not for b.test" in trouble.detail
