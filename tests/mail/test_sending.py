"""One letter over real sockets: what servers of every kind make of it, and what is told of that."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from mailprobe.mail.login import Login
from mailprobe.mail.routes import Server, Socket
from mailprobe.mail.sending import PHASES, Options
from mailprobe.model.conversation import Security
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.sending import Outcome
from mailprobe.net.network import Reach
from mailprobe.protocols.sasl import Credentials
from tests.collect.servers import BYE, CONTEXT, HASTY
from tests.mail.letterbox import BARE, CLEAR, carry, ehlo, letter, only, outcomes, raw, sent, taking
from tests.scripted import Peer, Script, refusing

ALICE = Login(credentials=Credentials("alice", "secret"))


# -- outcomes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hello", [BARE, ehlo("PIPELINING")])
def test_every_recipient_gets_an_outcome_of_its_own(hello: bytes) -> None:
    what = letter("a@b.test", "b@b.test", "c@b.test")
    script = taking(b"250 ok\r\n", b"550 5.1.1 no such user\r\n", b"450 4.2.0 later\r\n", hello=hello)
    done, (heard, *_) = sent(script, what=what)
    assert outcomes(done) == [
        ("a@b.test", Outcome.ACCEPTED, Stage.MESSAGE),
        ("b@b.test", Outcome.REFUSED, Stage.RCPT),
        ("c@b.test", Outcome.DEFERRED, Stage.RCPT),
    ]
    assert done.recipients[0].detail == "2.0.0 queued as 1"
    assert what.octets in heard
    assert heard.endswith(b"\r\n.\r\nQUIT\r\n")
    assert (done.sender, done.message_id, done.size) == ("alice@a.test", what.message_id, len(what.octets))


@pytest.mark.parametrize(
    ("script", "outcome", "stage"),
    [
        (taking(mail=b"550 no\r\n"), Outcome.REFUSED, Stage.MAIL),
        (taking(mail=b"451 later\r\n"), Outcome.DEFERRED, Stage.MAIL),
        (taking(b"251 will forward\r\n"), Outcome.ACCEPTED, Stage.MESSAGE),
        (taking(data=b"554 no\r\n"), Outcome.REFUSED, Stage.DATA),
        (taking(end=b"554 virus\r\n"), Outcome.REFUSED, Stage.MESSAGE),
        (taking(end=b"452 full\r\n"), Outcome.DEFERRED, Stage.MESSAGE),
        (taking(b"421 shutting down\r\n"), Outcome.DEFERRED, Stage.RCPT),
        (taking(greeting=b"554 go away\r\n"), Outcome.NOT_SENT, Stage.GREETING),
        (taking(greeting=b"421 busy\r\n"), Outcome.NOT_SENT, Stage.GREETING),
        (taking(hello=b"550 go away\r\n"), Outcome.NOT_SENT, Stage.CAPABILITIES),
        (taking(greeting=b"HTTP/1.1 400 Bad Request\r\n"), Outcome.NOT_SENT, Stage.GREETING),
        (taking(b"999 what\r\n"), Outcome.NOT_SENT, Stage.RCPT),
    ],
)
def test_the_reply_that_decides_is_told(script: Script, outcome: Outcome, stage: Stage) -> None:
    done, _ = sent(script)
    assert only(done)[:2] == (outcome, stage)


def test_a_letter_that_is_out_and_not_answered_is_uncertain() -> None:
    done, _ = sent(taking(end=b""), limits=HASTY)
    assert only(done)[:2] == (Outcome.UNCERTAIN, Stage.MESSAGE)
    trouble = done.conversations[0].trouble
    assert trouble is not None
    assert trouble.kind is Kind.TIMEOUT


# -- replies that come before what they answer (RFC 5321 §4.1.1.4) ---------------------------------------------

EARLY = b"250 2.0.0 accepted before it was sent\r\n"


@pytest.mark.parametrize("hello", [BARE, ehlo("PIPELINING")])
@pytest.mark.parametrize("end", [b"554 5.7.1 refused\r\n", b"250 2.0.0 queued as 1\r\n"])
def test_what_comes_with_the_go_ahead_is_written_down_and_the_reply_to_the_letter_counts(
    hello: bytes, end: bytes
) -> None:
    done, _ = sent(taking(hello=hello, data=b"354 go\r\n" + EARLY, end=end))
    outcome, stage, detail = only(done)
    assert (outcome is Outcome.ACCEPTED, stage) == (end.startswith(b"2"), Stage.MESSAGE)
    assert detail in end.decode()
    extra = [each for each in done.conversations[0].exchanges if each.reply.status == "extra"]
    assert [each.reply.lines for each in extra] == [(EARLY.decode().strip(),)]


def test_what_comes_with_the_go_ahead_and_nothing_after_the_letter_leaves_it_uncertain() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=BARE, mail=b"250 ok\r\n", rcpt=b"250 ok\r\n")
        peer.send(b"354 go\r\n" + EARLY)

    done, _ = sent(serve, limits=HASTY)
    assert only(done)[:2] == (Outcome.UNCERTAIN, Stage.MESSAGE)


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="this system sends segments as it likes")
def test_inside_tls_a_record_of_its_own_makes_an_early_reply_no_later() -> None:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=BARE, mail=b"250 ok\r\n", rcpt=b"250 ok\r\n")
        peer.send_together(b"354 go\r\n", EARLY)
        while peer.line() != b".\r\n":
            pass
        peer.send(b"554 5.7.1 refused\r\n")
        peer.answer(quit=BYE)

    done, _ = sent(serve, route=Server("127.0.0.1", 465, Security.TLS))
    assert only(done) == (Outcome.REFUSED, Stage.MESSAGE, "5.7.1 refused")


LARGE = b"x" * 76 + b"\r\n"


def test_a_letter_that_the_server_does_not_have_yet_cannot_have_been_accepted() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=BARE, mail=b"250 ok\r\n", rcpt=b"250 ok\r\n")
        peer.send(b"354 go\r\n")
        peer.exactly(1_000)
        peer.send(EARLY)

    done, _ = sent(serve, what=raw(LARGE * 250_000))
    outcome, stage, detail = only(done)
    assert (outcome, stage) == (Outcome.UNCERTAIN, Stage.MESSAGE)
    assert "accepted a letter that it did not have yet: 250 2.0.0 accepted" in detail
    trouble = done.conversations[0].trouble
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE


def test_a_letter_may_be_refused_before_the_server_has_it() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=BARE, mail=b"250 ok\r\n", rcpt=b"250 ok\r\n")
        peer.send(b"354 go\r\n")
        peer.exactly(1_000)
        peer.send(b"552 5.3.4 too big\r\n")

    done, _ = sent(serve, what=raw(LARGE * 250_000), limits=HASTY)
    assert only(done) == (Outcome.REFUSED, Stage.MESSAGE, "5.3.4 too big")


def test_a_refused_connection_is_told_as_that() -> None:
    reach = Reach(route=lambda _address, _port: refusing())
    done = asyncio.run(carry(reach, letter(), CLEAR, None))
    outcome, stage, detail = only(done)
    assert (outcome, stage) == (Outcome.NOT_SENT, Stage.CONNECT)
    assert detail.startswith("4.4.1 ")


def test_a_reset_in_the_middle_is_told_with_its_stage() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=BARE, mail=b"250 ok\r\n")
        peer.reset()

    done, _ = sent(serve)
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.RCPT)
    assert done.conversations[0].exchanges[-1].sent == "RCPT TO:<bob@b.test>"


def test_dots_and_bare_line_ends_arrive_to_the_octet() -> None:
    body = b".\r\n..\r\n.x\r\na\nb\rc\r\n"
    done, (heard, *_) = sent(taking(), what=raw(body))
    assert only(done)[0] is Outcome.ACCEPTED
    assert b"\r\n\r\n..\r\n...\r\n..x\r\na\nb\rc\r\n.\r\n" in heard


# -- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "last"),
    [
        ("connect", b""),
        ("greeting", b"QUIT\r\n"),
        ("ehlo", b"EHLO probe.test\r\nQUIT\r\n"),
        ("mail", b"MAIL FROM:<alice@a.test>\r\nQUIT\r\n"),
        ("rcpt", b"RCPT TO:<bob@b.test>\r\nQUIT\r\n"),
        ("data", b"DATA\r\n"),
        ("message", b".\r\nQUIT\r\n"),
    ],
)
def test_it_goes_no_further_than_asked(phase: str, last: bytes) -> None:
    done, (heard, *_) = sent(taking(), options=Options(stop_after=phase))
    assert heard.endswith(last)
    if phase == "connect":
        assert heard == b""
    if phase == "message":
        assert only(done)[0] is Outcome.ACCEPTED
    else:
        assert only(done)[0] is Outcome.NOT_SENT
        assert only(done)[2] == f"stopped after {phase.upper()}, as asked"
    assert len(done.conversations) == 1


@pytest.mark.parametrize("phase", ["starttls", "tls"])
def test_stopping_around_the_handshake_sends_nothing(phase: str) -> None:
    route = Server("127.0.0.1", 587, Security.STARTTLS)
    done, (heard, *_) = sent(taking(hello=ehlo("STARTTLS"), tls=True), route=route, options=Options(stop_after=phase))
    assert only(done)[2] == f"stopped after {phase.upper()}, as asked"
    assert (done.conversations[0].tls is not None) is (phase == "tls")
    assert (b"QUIT" in heard) is (phase == "tls")
    assert b"MAIL" not in heard


def test_a_phase_that_never_comes_is_told_and_nothing_iscarry() -> None:
    route = Server("127.0.0.1", 25, Security.OPPORTUNISTIC)
    done, (heard, *_) = sent(taking(), route=route, options=Options(stop_after="starttls"))
    assert only(done)[2] == "5.3.3 it never came to STARTTLS"
    assert b"MAIL" not in heard


def test_a_failure_before_the_phase_is_a_failure() -> None:
    done, _ = sent(taking(greeting=b"554 go away\r\n"), options=Options(stop_after="ehlo"))
    assert only(done)[2] == "5.3.2 554 go away"


def test_every_phase_is_known_by_its_stages() -> None:
    assert [*PHASES] == ["connect", "greeting", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "message"]


# -- TLS and login ---------------------------------------------------------------------------------------------


def test_starttls_that_is_not_offered_ends_it_before_the_letter() -> None:
    done, (heard, *_) = sent(taking(), route=Server("127.0.0.1", 587, Security.STARTTLS))
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.STARTTLS)
    assert only(done)[2].startswith("5.7.10 STARTTLS is not offered")
    assert b"MAIL" not in heard


def test_opportunistic_tls_that_fails_is_followed_by_clear() -> None:
    scripts = (taking(hello=ehlo("STARTTLS")), taking(hello=ehlo("STARTTLS")))
    done, heard = sent(*scripts, route=Server("127.0.0.1", 25, Security.OPPORTUNISTIC))
    assert only(done)[0] is Outcome.ACCEPTED
    first, second = done.conversations
    assert first.trouble is not None
    assert first.trouble.stage is Stage.HANDSHAKE
    assert second.tls is None
    assert b"MAIL" not in heard[0]


def test_a_password_is_not_sent_in_clear_nor_tried_elsewhere() -> None:
    done, heard = sent(taking(hello=ehlo("AUTH PLAIN")), options=Options(login=ALICE))
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.LOGIN)
    assert "--insecure-login" in only(done)[2]
    assert b"AUTH" not in b"".join(heard)


def test_a_refused_login_is_told_with_its_reply_and_its_secret_masked() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 mx.a.test\r\n")
        peer.answer(ehlo=ehlo("AUTH PLAIN"), auth=b"535 5.7.8 wrong\r\n", quit=BYE)

    options = Options(login=msgspec.structs.replace(ALICE, insecure=True))
    done, heard = sent(serve, options=options)
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.LOGIN)
    assert done.recipients[0].reply is not None
    assert done.recipients[0].reply.status == "535"
    assert b"AGFsaWNlAHNlY3JldA==" in heard[0]
    assert "AGFsaWNlAHNlY3JldA==" not in str(done)
    assert "secret" not in str(done)


# -- LMTP and sockets ------------------------------------------------------------------------------------------


def lmtp(*ends: bytes) -> Script:
    return taking(hello=ehlo("PIPELINING"), end=b"".join(ends))


def test_lmtp_has_one_reply_for_each_recipient() -> None:
    what = letter("a@b.test", "b@b.test", "c@b.test")
    done, (heard, *_) = sent(
        lmtp(b"250 a ok\r\n", b"452 4.2.2 b full\r\n", b"550 5.2.1 c gone\r\n"),
        what=what,
        route=Server("127.0.0.1", 24, Security.OPPORTUNISTIC, lmtp=True),
    )
    assert [each.outcome for each in done.recipients] == [Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REFUSED]
    assert heard.startswith(b"LHLO probe.test\r\n")


@pytest.mark.parametrize("speaks_lmtp", [False, True])
def test_a_letter_goes_through_a_unix_socket(speaks_lmtp: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve() -> None:
                channel, _ = listener.accept()
                with channel:
                    taking()(UnixPeer(channel))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            reach = Reach(ehlo_name="probe.test")
            done = asyncio.run(carry(reach, letter(), Socket(path, lmtp=speaks_lmtp), None))
            thread.join(10)
    assert only(done)[0] is Outcome.ACCEPTED
    assert done.conversations[0].address == path
    assert done.conversations[0].service == ("lmtp" if speaks_lmtp else "smtp")


class UnixPeer(Peer):
    """A peer without the options of TCP."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.settimeout(10.0)
        self.heard = b""


def test_a_socket_that_is_not_there_is_told() -> None:
    done = asyncio.run(carry(Reach(), letter(), Socket("/nonexistent/socket"), None))
    assert only(done)[:2] == (Outcome.NOT_SENT, Stage.CONNECT)
