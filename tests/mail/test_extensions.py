"""What a letter asks of a server, and what comes of it where that is not offered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mailprobe.mail.compose import Letter
from mailprobe.mail.extensions import Wishes, notify, xtext
from mailprobe.mail.routes import Server
from mailprobe.mail.sending import Options
from mailprobe.model.conversation import Security
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Stage
from mailprobe.model.sending import Outcome
from mailprobe.net.network import Reach
from tests.collect.servers import AUTHORITY, BYE, HOST
from tests.mail.letterbox import carry, ehlo, letter, only, raw, resolver, sent, taking
from tests.scripted import Peer, Scripted

EVERYTHING = ehlo("SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "PIPELINING")


def command(heard: bytes, word: bytes) -> bytes:
    return next(line for line in heard.split(b"\r\n") if line.startswith(word))


@pytest.mark.parametrize(
    ("what", "wishes", "mail", "rcpt"),
    [
        (letter(), Wishes(), b"MAIL FROM:<alice@a.test> SIZE=%d", b"RCPT TO:<bob@b.test>"),
        (raw(b"\xc3\xa9\r\n"), Wishes(), b"MAIL FROM:<alice@a.test> SIZE=%d BODY=8BITMIME", b"RCPT TO:<bob@b.test>"),
        (
            raw(b"", "Subject: é\r\n".encode()),
            Wishes(),
            b"MAIL FROM:<alice@a.test> SIZE=%d BODY=8BITMIME SMTPUTF8",
            b"RCPT TO:<bob@b.test>",
        ),
        (
            letter(),
            Wishes(notify=notify("success,FAILURE", "hdrs", "trip+1 a=b")),
            b"MAIL FROM:<alice@a.test> SIZE=%d RET=HDRS ENVID=trip+2B1+20a+3Db",
            b"RCPT TO:<bob@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@b.test",
        ),
        (
            letter("bob+x@b.test"),
            Wishes(notify=notify("NEVER", None, None)),
            b"MAIL FROM:<alice@a.test> SIZE=%d",
            b"RCPT TO:<bob+x@b.test> NOTIFY=NEVER ORCPT=rfc822;bob+2Bx@b.test",
        ),
        (
            letter("grüße+x@b.test"),
            Wishes(notify=notify("DELAY", None, None)),
            b"MAIL FROM:<alice@a.test> SIZE=%d BODY=8BITMIME SMTPUTF8",
            "RCPT TO:<grüße+x@b.test> NOTIFY=DELAY ORCPT=utf-8;grüße\\x{2B}x@b.test".encode(),
        ),
    ],
)
def test_parameters_say_what_the_letter_needs(what: Letter, wishes: Wishes, mail: bytes, rcpt: bytes) -> None:
    done, (heard, *_) = sent(taking(hello=EVERYTHING), what=what, options=Options(wishes=wishes))
    assert only(done)[0] is Outcome.ACCEPTED
    assert command(heard, b"MAIL") == mail % len(what.octets)
    assert command(heard, b"RCPT") == rcpt


def test_a_server_that_offers_nothing_gets_no_parameters() -> None:
    _, (heard, *_) = sent(taking())
    assert command(heard, b"MAIL") == b"MAIL FROM:<alice@a.test>"


@pytest.mark.parametrize(
    ("what", "wishes", "detail"),
    [
        (raw(b"\xe9\r\n"), Wishes(), "5.6.3 the letter has octets beyond ASCII"),
        (letter("grüße@b.test"), Wishes(), "5.6.7 an address or a header is beyond ASCII"),
        (letter(), Wishes(notify=notify("NEVER", None, None)), "5.3.3 delivery reports are asked for"),
        (letter(), Wishes(chunking=True), "5.3.3 BDAT is asked for"),
        (letter(), Wishes(requiretls=True), "5.7.30 the server does not offer REQUIRETLS"),
    ],
)
def test_what_is_not_offered_is_not_asked_for(what: Letter, wishes: Wishes, detail: str) -> None:
    done, (heard, *_) = sent(taking(), what=what, options=Options(wishes=wishes))
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.MAIL)
    assert only(done)[2].startswith(detail)
    assert b"MAIL" not in heard


def test_octets_beyond_ascii_go_anyway_where_the_user_says_so() -> None:
    done, (heard, *_) = sent(taking(), what=raw(b"\xe9\r\n"), options=Options(wishes=Wishes(anyway=True)))
    assert only(done)[0] is Outcome.ACCEPTED
    assert b"\xe9" in heard


def test_requiretls_goes_nowhere_in_clear() -> None:
    done, _ = sent(taking(hello=ehlo("REQUIRETLS")), options=Options(wishes=Wishes(requiretls=True)))
    assert only(done)[0] is Outcome.NOT_SENT
    assert only(done)[2].startswith("5.7.30 REQUIRETLS wants TLS")


@pytest.mark.parametrize(("host", "outcome"), [(HOST, Outcome.ACCEPTED), ("mx.other.test", Outcome.NOT_SENT)])
def test_requiretls_goes_to_whom_the_certificate_names(host: str, outcome: Outcome, tmp_path: Path) -> None:
    script = taking(hello=ehlo("STARTTLS", "REQUIRETLS"), tls=True)
    route = Server(host, 587, Security.STARTTLS)
    with Scripted(script) as there, resolver() as names:
        reach = Reach(resolver=names, route=there.route, ehlo_name="probe.test", ca_file=AUTHORITY.write(tmp_path))
        done = asyncio.run(carry(reach, letter(), route, Options(wishes=Wishes(requiretls=True))))
    assert only(done)[0] is outcome
    assert (b"REQUIRETLS\r\n" in there.heard[0]) is (outcome is Outcome.ACCEPTED)


def test_bdat_carries_the_letter_unchanged() -> None:
    what = raw(b".\r\na\nb\0\r\n")

    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        line = peer.answer(ehlo=EVERYTHING, mail=b"250 ok\r\n", rcpt=b"250 ok\r\n")
        assert line == b"BDAT %d LAST\r\n" % len(what.octets)
        assert peer.exactly(len(what.octets)) == what.octets
        peer.send(b"250 ok\r\n")
        peer.answer(quit=BYE)

    done, (heard, *_) = sent(serve, what=what, options=Options(wishes=Wishes(chunking=True)))
    assert only(done)[0] is Outcome.ACCEPTED
    assert b"BODY=BINARYMIME" in command(heard, b"MAIL")


@pytest.mark.parametrize("pipelining", [True, False])
def test_the_envelope_goes_out_at_once_unless_that_is_left_out(pipelining: bool) -> None:
    together: list[bool] = []

    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        assert peer.answer(ehlo=EVERYTHING).startswith(b"MAIL")
        together.append(bool(peer.overhear(0.2)))
        peer.line() if together[0] else None
        peer.send(b"250 ok\r\n" * (2 if together[0] else 1))
        peer.answer(rcpt=b"250 ok\r\n", data=b"554 enough\r\n", quit=BYE)

    done, _ = sent(serve, options=Options(pipelining=pipelining))
    assert together == [pipelining]
    assert only(done)[:2] == (Outcome.REFUSED, Stage.DATA)


@pytest.mark.parametrize(
    ("when", "ret", "envid", "said"),
    [
        ("ALWAYS", None, None, "SUCCESS, FAILURE, DELAY, or NEVER"),
        ("NEVER,DELAY", None, None, "NEVER excludes"),
        ("", None, None, "SUCCESS, FAILURE, DELAY, or NEVER"),
        (None, "BODY", None, "FULL"),
        (None, None, "a\r\nRSET", "printable ASCII"),
        (None, None, "é", "printable ASCII"),
        (None, None, "", "printable ASCII"),
        (None, None, "=" * 34, "longer than 100"),
    ],
)
def test_wishes_for_reports_are_checked(when: str | None, ret: str | None, envid: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        notify(when, ret, envid)


def test_xtext_leaves_one_word() -> None:
    assert xtext("a+b=c d~!") == "a+2Bb+3Dc+20d~!"
