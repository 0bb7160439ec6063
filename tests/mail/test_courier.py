"""A courier carries letter after letter over one connection, and knows what became of each however it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.courier import Courier, Outcomes, Starttls
from mailprobe.mail.login import Login
from mailprobe.model.conversation import Place, Security
from mailprobe.model.evidence import Kind, Stage, Trouble
from mailprobe.model.ports import Service
from mailprobe.model.sending import Outcome
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from mailprobe.protocols.smtp.transaction import Parcel
from tests.certificates import Authority, server_context
from tests.mail.sink import (
    BYE,
    EHLO,
    GO,
    GREETING,
    HASTY,
    OK,
    PATIENT,
    PLAIN_EHLO,
    envelope,
    letter,
    on_network,
    parcel,
    sink,
)
from tests.scripted import Peer, Script, refusing

CONTEXT = server_context(Authority().server("mx.b.test"))
Carried = list[list[tuple[Outcome, Stage]]]


async def opened(
    network: Network,
    starttls: Starttls = "never",
    *,
    implicit_tls: bool = False,
    lmtp: bool = False,
    login: Login | None = None,
) -> Courier:
    return await Courier.open(
        network,
        "192.0.2.1",
        25,
        host="mx.b.test",
        starttls=starttls,
        implicit_tls=implicit_tls,
        lmtp=lmtp,
        login=login,
        deadline=Deadline(20.0),
    )


def summed_up(outcomes: Outcomes) -> list[tuple[Outcome, Stage]]:
    return [(each.outcome, each.stage) for each in outcomes]


def carried(
    parcels: Iterable[Parcel], *scripts: Script, limits: Limits = PATIENT, lmtp: bool = False
) -> tuple[Carried, Trouble | None, list[bytes]]:
    """Carry parcels over one connection and give the outcomes, what was wrong at the end, and what was heard."""

    async def act(network: Network) -> tuple[Carried, Trouble | None]:
        courier = await opened(network, lmtp=lmtp)
        results = [summed_up(outcomes) async for outcomes in courier.carry_all(parcels)]
        trouble = courier.trouble
        await courier.quit()
        return results, trouble

    (results, trouble), heard = on_network(act, *scripts, limits=limits)
    return results, trouble, heard


ACCEPTED = [(Outcome.ACCEPTED, Stage.MESSAGE)]
NOT_SENT = [(Outcome.NOT_SENT, Stage.MAIL)]


# -- the road of many letters ------------------------------------------------------------------------------------


def one_round_trip_each(peer: Peer, letters: int = 4) -> None:
    """Read a letter and the envelope behind it, and only then answer both."""
    peer.send(GREETING)
    peer.line()
    peer.send(EHLO)
    envelope(peer)
    peer.send(OK + OK + GO)
    for number in range(letters - 1):
        letter(peer)
        envelope(peer)
        peer.send(b"250 queued as %d\r\n" % number + OK + OK + GO)
    letter(peer)
    peer.send(OK)
    assert peer.answer(quit=BYE) == b""


def test_the_next_envelope_comes_with_the_letter_before_it() -> None:
    results, trouble, _ = carried([parcel(data=b"%d\r\n" % number) for number in range(4)], one_round_trip_each)
    assert results == [ACCEPTED] * 4
    assert trouble is None


def test_each_letter_has_the_reply_that_was_its_own() -> None:
    async def act(network: Network) -> list[str]:
        courier = await opened(network)
        details = [outcomes[0].detail async for outcomes in courier.carry_all([parcel()] * 4)]
        await courier.quit()
        return details

    details, _ = on_network(act, one_round_trip_each)
    assert details == ["queued as 0", "queued as 1", "queued as 2", "2.0.0 ok"]


def test_a_letter_waits_until_the_one_before_is_answered() -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        envelope(peer)
        peer.send(OK + OK + GO)
        letter(peer)
        envelope(peer)
        assert peer.overhear(0.1) == b""
        peer.send(OK)
        assert peer.overhear(0.1) == b""
        peer.send(OK + OK + GO)
        letter(peer)
        peer.send(OK)

    results, _, _ = carried([parcel(), parcel()], serve, limits=HASTY)
    assert results == [ACCEPTED, ACCEPTED]


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_letters_arrive_unharmed_one_after_the_other(ehlo: bytes) -> None:
    letters = [b"Subject: %d\r\n\r\n.dot\r\n..\r\n" % number for number in range(3)]
    results, trouble, heard = carried([parcel(data=data) for data in letters], sink(ehlo))
    assert results == [ACCEPTED] * 3
    assert trouble is None
    for number in range(3):
        assert b"DATA\r\nSubject: %d\r\n\r\n..dot\r\n...\r\n.\r\n" % number in heard[0]


def test_replies_in_pieces_are_the_same_replies() -> None:
    class Dripping(Peer):
        def __init__(self, peer: Peer) -> None:
            self.__dict__ = peer.__dict__

        def send(self, data: bytes) -> None:
            for at in range(len(data)):
                super().send(data[at : at + 1])

    results, trouble, _ = carried([parcel()] * 4, lambda peer: one_round_trip_each(Dripping(peer)))
    assert results == [ACCEPTED] * 4
    assert trouble is None


def test_replies_of_many_lines_are_understood() -> None:
    replies = {"mail": b"250-a\r\n250 b\r\n", "rcpt": b"250-c\r\n250 d\r\n", "end": b"250-e\r\n250 f\r\n"}
    results, _, _ = carried([parcel()] * 3, sink(**replies))
    assert results == [ACCEPTED] * 3


def test_unlike_envelopes_follow_each_other() -> None:
    results, _, heard = carried([parcel("b@b.test"), parcel("c@c.test", "d@d.test"), parcel("b@b.test")], sink())
    assert results == [ACCEPTED, ACCEPTED * 2, ACCEPTED]
    assert heard[0].count(b"RCPT TO:<b@b.test>") == 2
    assert heard[0].count(b"RCPT TO:<d@d.test>") == 1


def test_one_parcel_after_another_goes_over_one_connection() -> None:
    async def act(network: Network) -> list[Outcomes]:
        courier = await opened(network)
        results = [await courier.carry(parcel()) for _ in range(3)]
        await courier.quit()
        return results

    results, heard = on_network(act, sink())
    assert [summed_up(each) for each in results] == [ACCEPTED] * 3
    assert len(heard) == 1
    assert heard[0].endswith(b"QUIT\r\n")


def test_old_servers_are_greeted_by_helo_and_sent_one_command_at_a_time() -> None:
    results, _, heard = carried([parcel(), parcel()], sink(b"500 what\r\n", helo=b"250 mx.b.test\r\n"))
    assert results == [ACCEPTED] * 2
    assert heard[0].startswith(b"EHLO probe.test\r\nHELO probe.test\r\nMAIL")


def test_lmtp_answers_for_each_recipient() -> None:
    ends = b"250 stored\r\n452 4.2.2 full\r\n"
    results, trouble, heard = carried([parcel("b@b.test", "c@c.test")] * 2, sink(b"", lhlo=EHLO, end=ends), lmtp=True)
    assert results == [[*ACCEPTED, (Outcome.DEFERRED, Stage.MESSAGE)]] * 2
    assert trouble is None
    assert heard[0].startswith(b"LHLO probe.test\r\n")


def test_a_binary_letter_goes_by_bdat_once_the_one_before_is_answered() -> None:
    data = b"binary\0\r\n"

    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO.replace(b"250 SIZE", b"250-BINARYMIME\r\n250-CHUNKING\r\n250 SIZE"))
        envelope(peer)
        peer.send(OK + OK + GO)
        letter(peer)
        assert peer.overhear(0.1) == b""
        peer.send(OK)
        assert [peer.line()[:4] for _ in range(3)] == [b"MAIL", b"RCPT", b"BDAT"]
        assert peer.exactly(len(data)) == data
        peer.send(OK * 3)
        peer.answer(quit=BYE)

    letters = [parcel(), parcel(data=data, parameters=("BODY=BINARYMIME",))]
    results, trouble, _ = carried(letters, serve)
    assert results == [ACCEPTED] * 2
    assert trouble is None


# -- refusals that leave the connection as it was ----------------------------------------------------------------


def test_a_refused_recipient_does_not_keep_others_from_theirs() -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        envelope(peer, 2)
        peer.send(OK + b"550 5.1.1 unknown\r\n" + OK + GO)
        letter(peer)
        peer.send(OK)
        peer.answer(quit=BYE)

    results, _, _ = carried([parcel("b@b.test", "c@c.test")], serve)
    assert results == [[(Outcome.REFUSED, Stage.RCPT), *ACCEPTED]]


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_after_a_transaction_that_stays_open_comes_rset(ehlo: bytes) -> None:
    script = sink(ehlo, rcpt=b"550 5.1.1 unknown\r\n", data=b"554 5.5.1 no valid recipients\r\n")
    results, trouble, heard = carried([parcel(), parcel()], script)
    assert results == [[(Outcome.REFUSED, Stage.RCPT)]] * 2
    assert trouble is None
    assert heard[0].count(b"RSET\r\n") == 2


def test_a_go_ahead_for_nobody_is_answered_by_a_lone_dot() -> None:
    script = sink(rcpt=b"550 5.1.1 unknown\r\n", end=b"554 5.5.1 no valid recipients\r\n")
    results, trouble, heard = carried([parcel(), parcel()], script)
    assert results == [[(Outcome.REFUSED, Stage.RCPT)]] * 2
    assert trouble is None
    assert heard[0].count(b"DATA\r\n.\r\n") == 2
    assert b"Subject" not in heard[0]


def test_a_refused_sender_is_refused_for_this_letter_only() -> None:
    refusal = {"mail": b"552 5.3.4 too big\r\n", "rcpt": b"503 MAIL first\r\n", "data": b"503 RCPT first\r\n"}
    results, trouble, _ = carried([parcel(), parcel()], sink(**refusal))
    assert results == [[(Outcome.REFUSED, Stage.MAIL)]] * 2
    assert trouble is None


def test_an_address_that_cannot_be_sent_is_told_and_the_next_letter_goes() -> None:
    async def act(network: Network) -> list[Outcomes]:
        courier = await opened(network)
        letters = [parcel("b\r\n@b.test"), parcel(), parcel("b\r\n@b.test"), parcel()]
        results = [outcomes async for outcomes in courier.carry_all(letters)]
        await courier.quit()
        return results

    results, heard = on_network(act, sink())
    assert [summed_up(each) for each in results] == [NOT_SENT, ACCEPTED, NOT_SENT, ACCEPTED]
    assert "control character" in results[0][0].detail
    assert heard[0].count(b"MAIL") == 2


# -- connections that end ----------------------------------------------------------------------------------------


def until_letter(peer: Peer) -> None:
    """Take the first letter, and read the envelope behind it."""
    peer.send(GREETING)
    peer.line()
    peer.send(EHLO)
    envelope(peer)
    peer.send(OK + OK + GO)
    letter(peer)
    envelope(peer)


def test_421_in_place_of_the_last_reply_defers_this_letter_and_sends_no_other() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        peer.send(b"421 4.3.2 closing\r\n")

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [[(Outcome.DEFERRED, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert (trouble.stage, trouble.kind, trouble.detail) == (Stage.MESSAGE, Kind.TEMPORARY, "421 4.3.2 closing")


@pytest.mark.parametrize(("end", "kind"), [(Peer.finish, Kind.CLOSED), (Peer.reset, Kind.RESET)])
def test_a_letter_whose_last_reply_is_lost_is_uncertain_and_the_next_is_not_sent(
    end: Callable[[Peer], None], kind: Kind
) -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        end(peer)

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert trouble.kind is kind


def test_a_connection_that_ends_with_the_last_reply_has_sent_one_letter_and_no_other() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        peer.send(OK)
        peer.finish()

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [ACCEPTED, NOT_SENT]
    assert trouble is not None
    assert trouble.kind is Kind.CLOSED


def test_silence_ends_at_the_limit_for_a_reply() -> None:
    results, trouble, _ = carried([parcel()] * 3, until_letter, limits=HASTY)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert (trouble.kind, trouble.detail) == (Kind.TIMEOUT, "no reply within 0.3 s")


def test_a_reply_that_drips_for_ever_ends_at_the_limit_too() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        while not peer.overhear(0.01):
            peer.send(b"250-more\r\n")

    results, trouble, _ = carried([parcel()] * 2, serve, limits=HASTY)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert trouble.kind is Kind.TIMEOUT


def test_what_is_no_reply_ends_it() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n")

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE


def test_a_reply_without_meaning_ends_it() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        peer.send(b"354 go on\r\n")

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE


def test_more_replies_than_commands_end_it() -> None:
    async def act(network: Network) -> tuple[Outcomes, Trouble | None, Outcomes]:
        courier = await opened(network)
        first = await courier.carry(parcel())
        return first, courier.trouble, await courier.carry(parcel())

    (first, trouble, second), _ = on_network(act, sink(end=OK + OK))
    assert summed_up(first) == ACCEPTED
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE
    assert summed_up(second) == NOT_SENT


# -- replies that come before what they answer (RFC 5321 §4.1.1.4, RFC 2920 §3.1) ---------------------------------

TOO_EARLY = b"250 2.0.0 accepted before it was sent\r\n"


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
@pytest.mark.parametrize("early", [TOO_EARLY, TOO_EARLY[:9], b"250-accepted\r\n", b"554 5.7.1 refused\r\n"])
def test_what_comes_with_the_go_ahead_is_no_answer_to_the_letter_and_the_letter_stays_here(
    ehlo: bytes, early: bytes
) -> None:
    results, trouble, (heard,) = carried([parcel()] * 3, sink(ehlo, data=GO + early, end=b"554 5.7.1 refused\r\n"))
    assert results == [[(Outcome.NOT_SENT, Stage.MESSAGE)]]
    assert trouble is not None
    assert (trouble.stage, trouble.kind) == (Stage.MESSAGE, Kind.GARBAGE)
    assert trouble.detail.startswith("the server said more than it was asked for: ")
    assert b"Subject" not in heard


def test_replies_for_many_letters_in_advance_are_taken_for_none_of_them() -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        peer.line()
        peer.send((OK + OK + GO + OK) * 5)

    results, trouble, _ = carried([parcel()] * 3, serve)
    assert results == [[(Outcome.NOT_SENT, Stage.MESSAGE)]]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE


def test_replies_to_a_letter_that_come_with_those_to_the_one_before_it_are_no_answer() -> None:
    def serve(peer: Peer) -> None:
        until_letter(peer)
        peer.send(OK + OK + OK + GO + OK)

    results, trouble, (heard,) = carried([parcel()] * 3, serve)
    assert results == [ACCEPTED, [(Outcome.NOT_SENT, Stage.MESSAGE)]]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE
    assert heard.count(b"Subject") == 1


def test_without_pipelining_each_reply_must_come_after_its_command() -> None:
    results, trouble, (heard,) = carried([parcel()], sink(PLAIN_EHLO, mail=OK + OK + GO + OK))
    assert results == [[(Outcome.NOT_SENT, Stage.RCPT)]]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE
    assert b"RCPT" not in heard


def test_a_reply_to_rset_must_come_after_it() -> None:
    results, trouble, (heard,) = carried([parcel()] * 2, sink(PLAIN_EHLO, rcpt=b"550 5.1.1 no\r\n" + OK))
    assert results == [[(Outcome.REFUSED, Stage.RCPT)]]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE
    assert b"RSET" not in heard


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="this system sends segments as it likes")
@pytest.mark.parametrize("tail", [b"", OK + OK + GO])
def test_inside_tls_a_record_of_its_own_makes_an_early_reply_no_later(tail: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        envelope(peer)
        peer.send_together(OK + OK + GO, OK + tail)

    async def act(network: Network) -> tuple[Carried, Trouble | None]:
        courier = await opened(network, implicit_tls=True)
        results = [summed_up(outcomes) async for outcomes in courier.carry_all([parcel()] * 3)]
        return results, courier.trouble

    (results, trouble), _ = on_network(act, serve)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT]
    assert trouble is not None
    assert trouble.kind is Kind.GARBAGE


@pytest.mark.parametrize("where", ["data", "end"])
def test_a_server_that_closes_in_the_same_breath_is_believed_and_sent_no_more(where: str) -> None:
    closing = b"421 4.7.0 that was enough\r\n"
    answers = {"data": GO, "end": OK}
    results, trouble, (heard,) = carried([parcel()] * 3, sink(PLAIN_EHLO, **{where: answers[where] + closing}))
    assert results == ([[(Outcome.NOT_SENT, Stage.MESSAGE)]] if where == "data" else [ACCEPTED, NOT_SENT])
    assert trouble is not None
    assert (trouble.kind, trouble.detail) == (Kind.TEMPORARY, "421 4.7.0 that was enough")
    assert heard.count(b"MAIL") == 1


LARGE = (b"x" * 76 + b"\r\n") * 250_000  # more than the buffers of both sides together


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
@pytest.mark.parametrize("more", [b"", OK + OK + GO])
def test_a_letter_that_the_server_does_not_have_yet_cannot_have_been_accepted(ehlo: bytes, more: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.answer(ehlo=ehlo, mail=OK, rcpt=OK)
        peer.send(GO)
        peer.exactly(1_000)
        peer.send(TOO_EARLY + more)

    results, trouble, _ = carried([parcel(data=LARGE)] * 3, serve)
    assert results == [[(Outcome.UNCERTAIN, Stage.MESSAGE)], NOT_SENT][: 2 if ehlo == EHLO else 1]
    assert trouble is not None
    assert (trouble.stage, trouble.kind) == (Stage.MESSAGE, Kind.GARBAGE)
    assert "did not have yet" in trouble.detail


def test_a_letter_may_be_refused_before_the_server_has_it() -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.answer(ehlo=PLAIN_EHLO, mail=OK, rcpt=OK)
        peer.send(GO)
        peer.exactly(1_000)
        peer.send(b"552 5.3.4 too big\r\n")

    results, _, _ = carried([parcel(data=LARGE)], serve)
    assert results == [[(Outcome.REFUSED, Stage.MESSAGE)]]


@pytest.mark.parametrize("tls", [False, True])
def test_a_letter_may_be_accepted_before_the_server_has_read_the_envelope_behind_it(tls: bool) -> None:
    many = tuple(f"{'r' * 60}{number}@b.test" for number in range(95))

    def serve(peer: Peer) -> None:
        if tls:
            peer.start_tls(CONTEXT)
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        for number in range(2):
            envelope(peer, 95)
            peer.send(OK * 96 + GO)
            peer.exactly(len(LARGE))
            assert peer.exactly(3) == b".\r\n"
            peer.send(b"250 queued as %d\r\n" % number)
        peer.answer(quit=BYE)

    async def act(network: Network) -> tuple[Carried, Trouble | None]:
        courier = await opened(network, implicit_tls=tls)
        letters = [parcel(*many, data=LARGE)] * 2
        results = [summed_up(outcomes) async for outcomes in courier.carry_all(letters)]
        trouble = courier.trouble
        await courier.quit()
        return results, trouble

    (results, trouble), _ = on_network(act, serve)
    assert results == [ACCEPTED * 95] * 2
    assert trouble is None


def test_the_envelope_behind_a_binary_letter_waits_for_what_becomes_of_it() -> None:
    offer = EHLO.replace(b"250 SIZE", b"250-BINARYMIME\r\n250-CHUNKING\r\n250 SIZE")
    data = b"binary\0\r\n"

    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(offer)
        assert [peer.line()[:4] for _ in range(3)] == [b"MAIL", b"RCPT", b"BDAT"]
        peer.exactly(len(data))
        peer.send(OK + OK)
        assert peer.overhear(0.1) == b""
        peer.send(b"554 5.6.1 no\r\n")
        assert peer.line() == b"RSET\r\n"
        peer.send(OK)
        envelope(peer)
        peer.send(OK + OK + GO)
        letter(peer)
        peer.send(OK)
        peer.answer(quit=BYE)

    letters = [parcel(data=data, parameters=("BODY=BINARYMIME",)), parcel()]
    results, trouble, _ = carried(letters, serve)
    assert results == [[(Outcome.REFUSED, Stage.MESSAGE)], ACCEPTED]
    assert trouble is None


def test_a_refused_rset_ends_it() -> None:
    results, trouble, _ = carried([parcel(), parcel()], sink(PLAIN_EHLO, rcpt=b"550 no\r\n", rset=b"500 what\r\n"))
    assert results == [[(Outcome.REFUSED, Stage.RCPT)]]
    assert trouble is not None
    assert trouble.kind is Kind.REJECTED


def test_whoever_stops_listening_closes_the_connection() -> None:
    async def act(network: Network) -> Trouble | None:
        courier = await opened(network)
        outcomes = courier.carry_all([parcel()] * 1_000)
        async for _ in outcomes:
            break
        await outcomes.aclose()  # type: ignore[attr-defined]
        return courier.trouble

    trouble, heard = on_network(act, sink())
    assert trouble is not None
    assert trouble.kind is Kind.LOCAL
    assert heard[0].count(b"MAIL") < 1_000


def test_a_large_letter_may_take_longer_than_one_reply() -> None:
    data = b"x" * 76 + b"\r\n"
    large = data * 120_000

    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        envelope(peer)
        peer.send(OK + OK + GO)
        left = len(large) + 3
        while left:
            peer.overhear(0.05)
            left -= 1 + len(peer.exactly(min(left - 1, 1_200_000)))
        peer.send(OK)
        peer.answer(quit=BYE)

    results, _, _ = carried([parcel(data=large)], serve, limits=HASTY)
    assert results == [ACCEPTED]


# -- the way in --------------------------------------------------------------------------------------------------

TLS_EHLO = b"250-mx.b.test\r\n250 STARTTLS\r\n"


def with_tls(go_ahead: bytes = b"220 go\r\n") -> Script:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        assert peer.answer(ehlo=TLS_EHLO).startswith(b"STARTTLS")
        peer.send(go_ahead)
        peer.start_tls(CONTEXT)
        sink(greeting=b"")(peer)

    return serve


def came_in(*scripts: Script, starttls: Starttls, implicit_tls: bool = False) -> tuple[str, bool, Carried]:
    """Carry three letters and give the TLS version, whether the inner capabilities count, and the outcomes."""

    async def act(network: Network) -> tuple[str, bool, Carried]:
        courier = await opened(network, starttls, implicit_tls=implicit_tls)
        results = [summed_up(outcomes) async for outcomes in courier.carry_all([parcel()] * 3)]
        tls, inner = courier.tls_text, courier.capabilities.has("PIPELINING")
        await courier.quit()
        return tls, inner, results

    result, _ = on_network(act, *scripts)
    return result


@pytest.mark.parametrize("starttls", ["opportunistic", "required"])
def test_starttls_is_used_where_it_is_offered_and_its_capabilities_count(starttls: Starttls) -> None:
    assert came_in(with_tls(), starttls=starttls) == ("TLSv1.3", True, [ACCEPTED] * 3)


def test_tls_from_the_first_octet() -> None:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        sink()(peer)

    assert came_in(serve, starttls="never", implicit_tls=True) == ("TLSv1.3", True, [ACCEPTED] * 3)


def test_what_follows_the_go_ahead_in_clear_is_not_heard_inside_tls() -> None:
    injected = b"220 go\r\n250-mx.b.test\r\n250 XEVIL\r\n"
    assert came_in(with_tls(injected), starttls="opportunistic") == ("TLSv1.3", True, [ACCEPTED] * 3)


def test_letters_go_in_clear_where_tls_is_not_offered_or_not_granted() -> None:
    assert came_in(sink(), starttls="opportunistic") == ("", True, [ACCEPTED] * 3)
    refused = sink(EHLO.replace(b"250 SIZE", b"250-STARTTLS\r\n250 SIZE"), starttls=b"454 4.7.0 not now\r\n")
    assert came_in(refused, starttls="opportunistic") == ("", True, [ACCEPTED] * 3)


def stopped_by(
    *scripts: Script,
    starttls: Starttls = "never",
    login: Login | None = None,
) -> tuple[Stage, Kind]:
    async def act(network: Network) -> tuple[Stage, Kind]:
        with pytest.raises(Stopped) as stopped:
            await opened(network, starttls, login=login)
        await network.parted()
        assert network.waiting_for == []
        return stopped.value.trouble.stage, stopped.value.trouble.kind

    result, _ = on_network(act, *scripts, limits=HASTY)
    return result


def speaks_no_tls(peer: Peer) -> None:
    peer.send(GREETING)
    peer.answer(ehlo=TLS_EHLO)
    peer.send(b"220 go\r\n")
    peer.exactly(5)
    peer.send(b"500 what\r\n")


@pytest.mark.parametrize(
    ("script", "starttls", "stage", "kind"),
    [
        (sink(), "required", Stage.STARTTLS, Kind.REJECTED),
        (sink(TLS_EHLO, starttls=b"454 4.7.0 no\r\n"), "required", Stage.STARTTLS, Kind.TEMPORARY),
        (speaks_no_tls, "opportunistic", Stage.HANDSHAKE, Kind.NOT_TLS),
        (sink(greeting=b"554 no\r\n"), "never", Stage.GREETING, Kind.REJECTED),
        (sink(b"550 no\r\n"), "never", Stage.CAPABILITIES, Kind.REJECTED),
        (sink(EHLO + OK), "never", Stage.CAPABILITIES, Kind.GARBAGE),
    ],
)
def test_the_way_in_ends_where_the_server_ends_it(script: Script, starttls: Starttls, stage: Stage, kind: Kind) -> None:
    assert stopped_by(script, starttls=starttls) == (stage, kind)


def test_nobody_at_home() -> None:
    async def act(network: Network) -> Kind:
        with pytest.raises(Stopped) as stopped:
            await Courier.open(network, *refusing(), host="", deadline=Deadline(5.0))
        return stopped.value.trouble.kind

    assert asyncio.run(act(Network(Reach()))) is Kind.REFUSED


def test_a_login_comes_last_and_can_end_it() -> None:
    login = Login(credentials=Credentials("user", "secret"), mechanism="PLAIN", insecure=True)
    offer = EHLO.replace(b"250 SIZE", b"250-AUTH PLAIN\r\n250 SIZE")

    async def act(network: Network) -> Outcomes:
        courier = await opened(network, login=login)
        outcomes = await courier.carry(parcel())
        await courier.quit()
        return outcomes

    outcomes, heard = on_network(act, sink(offer, auth=b"235 welcome\r\n"))
    assert summed_up(outcomes) == ACCEPTED
    assert heard[0].index(b"AUTH PLAIN") < heard[0].index(b"MAIL")
    assert stopped_by(sink(offer, auth=b"535 no\r\n"), login=login) == (Stage.LOGIN, Kind.REJECTED)


def test_a_place_can_be_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    place = Place(host="", address="", port=0, service=Service.SMTP, security=Security.CLEAR, lmtp=True, socket=path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        for said in (EHLO, OK, OK, GO):
            await reader.readline()
            writer.write(said)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(OK)
        await reader.readline()
        writer.write(BYE)
        writer.close()

    async def act() -> Outcomes:
        async with await asyncio.start_unix_server(serve, path):
            courier = await Courier.visit(Network(Reach()), place, deadline=Deadline(5.0))
            outcomes = await courier.carry(parcel())
            await courier.quit()
        return outcomes

    assert summed_up(asyncio.run(act())) == ACCEPTED
