"""A transaction: which command goes out when, what each reply decides, and that it always comes to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Reply, Stage
from mailprobe.model.sending import Outcome
from mailprobe.protocols.smtp.client import SmtpClient
from mailprobe.protocols.smtp.transaction import (
    CHUNK_OCTETS,
    GROUP_COMMANDS,
    GROUP_OCTETS,
    Addressee,
    Parcel,
    Step,
    Transaction,
)

LETTER = b"Subject: x\r\n\r\n.dot\r\n"
MAIL, BODY = b"MAIL FROM:<a@a.test>\r\n", b"Subject: x\r\n\r\n..dot\r\n.\r\n"
OK, GO = "250 2.0.0 ok", "354 go"


def reply(text: str) -> Reply:
    lines = tuple(text.split("|"))
    return Reply(status=lines[-1][:3], lines=lines, quirks=())


def parcel(*addresses: str, data: bytes = LETTER) -> Parcel:
    recipients = tuple(Addressee(address) for address in addresses or ("b@b.test",))
    return Parcel(sender="a@a.test", recipients=recipients, data=data)


def transaction(
    letter: Parcel | None = None,
    *,
    pipelining: bool = True,
    chunking: bool = False,
    lmtp: bool = False,
    stop_after: Stage | None = None,
) -> Transaction:
    return Transaction(
        SmtpClient(),
        letter or parcel(),
        pipelining=pipelining,
        chunking=chunking,
        lmtp=lmtp,
        stop_after=stop_after,
    )


def octets(steps: list[Step]) -> bytes:
    return b"".join(step.command for step in steps)


def play(course: Transaction, *replies: str) -> list[bytes]:
    """Begin, give the replies one by one, and give what was to be written at first and after each."""
    return [octets(course.begin()), *(octets(course.take(reply(text))) for text in replies)]


def unfinished(course: Transaction) -> bool:
    return not course.finished


def results(course: Transaction) -> list[tuple[Outcome, Stage]]:
    return [(each.outcome, each.stage) for each in course.outcomes]


# -- the order ---------------------------------------------------------------------------------------------------


def test_with_pipelining_the_envelope_goes_out_at_once_and_data_is_the_last_of_it() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    written = play(course, OK, OK, OK, GO, OK)
    rcpt = b"RCPT TO:<b@b.test>\r\nRCPT TO:<c@c.test>\r\n"
    assert written == [MAIL + rcpt + b"DATA\r\n", b"", b"", b"", BODY, b""]
    assert course.finished
    assert not course.needs_reset
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE)] * 2


def test_without_pipelining_every_command_waits_for_the_reply_before() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"), pipelining=False)
    written = play(course, OK, OK, OK, GO, OK)
    assert written == [MAIL, b"RCPT TO:<b@b.test>\r\n", b"RCPT TO:<c@c.test>\r\n", b"DATA\r\n", BODY, b""]
    assert course.finished


def test_a_transcript_shows_commands_as_they_are_and_the_letter_by_its_size() -> None:
    course = transaction(pipelining=False)
    steps = course.begin()
    for text in (OK, OK, GO):
        steps += course.take(reply(text))
    assert [step.shown for step in steps] == ["MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>", "DATA", "[20 octets]"]
    assert [step.stage for step in steps] == [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.MESSAGE]


def test_parameters_go_with_their_commands() -> None:
    letter = Parcel(
        sender="",
        sender_parameters=("SIZE=20", "RET=HDRS"),
        recipients=(Addressee("b@b.test", ("NOTIFY=NEVER",)),),
        data=LETTER,
    )
    (written,) = play(transaction(letter))
    assert written == b"MAIL FROM:<> SIZE=20 RET=HDRS\r\nRCPT TO:<b@b.test> NOTIFY=NEVER\r\nDATA\r\n"


def test_a_group_is_small_enough_for_a_server_with_small_buffers() -> None:
    course = transaction(parcel(*(f"user{number}@b.test" for number in range(250))))
    groups = [course.begin()]
    while not groups[-1] or groups[-1][-1].stage is not Stage.DATA:
        assert unfinished(course)
        groups.append(course.take(reply(OK)))
    sizes = [len(group) for group in groups if group]
    assert sizes == [GROUP_COMMANDS, GROUP_COMMANDS, 52]


def test_a_group_of_long_commands_is_small_enough_too() -> None:
    first = transaction(parcel(*(f"{'x' * 900}{number}@b.test" for number in range(90)))).begin()
    assert len(octets(first)) <= GROUP_OCTETS
    assert len(first) > 30


def test_a_control_character_in_an_address_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        transaction(parcel("b@b.test>\r\nRSET")).begin()


def test_a_letter_without_recipients_is_finished_at_once() -> None:
    course = transaction(Parcel(sender="a@a.test", recipients=(), data=LETTER))
    assert course.begin() == []
    assert course.finished
    assert course.outcomes == ()


# -- replies that decide -----------------------------------------------------------------------------------------


def test_a_refused_sender_refuses_all_and_the_replies_asked_for_are_still_read() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    written = play(course, "552 5.3.4 too big", "503 5.5.1 MAIL first", "503 5.5.1 MAIL first")
    assert written[1:] == [b"", b"", b""]
    assert unfinished(course)
    assert course.take(reply("503 5.5.1 RCPT first")) == []
    assert course.finished
    assert not course.needs_reset
    assert results(course) == [(Outcome.REFUSED, Stage.MAIL)] * 2
    assert course.outcomes[0].detail == "5.3.4 too big"


def test_a_refused_sender_without_pipelining_ends_it_at_once() -> None:
    course = transaction(pipelining=False)
    assert play(course, "451 4.3.0 later")[1:] == [b""]
    assert course.finished
    assert results(course) == [(Outcome.DEFERRED, Stage.MAIL)]


@pytest.mark.parametrize("pipelining", [True, False])
def test_the_letter_goes_to_those_who_were_taken(pipelining: bool) -> None:
    course = transaction(parcel("b@b.test", "c@c.test", "d@d.test"), pipelining=pipelining)
    play(course, OK, "550 5.1.1 unknown", "251 will forward", "450 4.2.0 greylisted", GO, "250 queued as 1")
    assert course.finished
    assert results(course) == [
        (Outcome.REFUSED, Stage.RCPT),
        (Outcome.ACCEPTED, Stage.MESSAGE),
        (Outcome.DEFERRED, Stage.RCPT),
    ]
    assert course.outcomes[1].detail == "queued as 1"


def test_when_all_are_refused_a_go_ahead_is_answered_by_a_lone_dot_and_its_reply_is_read() -> None:
    course = transaction()
    written = play(course, OK, "550 5.1.1 unknown", GO)
    assert written[-1] == b".\r\n"
    assert unfinished(course)
    assert course.take(reply("554 5.5.1 no valid recipients")) == []
    assert course.finished
    assert not course.needs_reset
    assert results(course) == [(Outcome.REFUSED, Stage.RCPT)]


def test_when_all_are_refused_and_data_too_the_server_is_left_to_be_reset() -> None:
    course = transaction()
    play(course, OK, "550 5.1.1 unknown", "554 5.5.1 no valid recipients")
    assert course.finished
    assert course.needs_reset
    assert not course.unusable


def test_when_all_are_refused_without_pipelining_data_is_not_sent() -> None:
    course = transaction(pipelining=False)
    assert play(course, OK, "550 5.1.1 unknown")[-1] == b""
    assert course.finished
    assert course.needs_reset


@pytest.mark.parametrize(
    ("text", "outcome"), [("451 4.3.0 later", Outcome.DEFERRED), ("554 5.7.1 no", Outcome.REFUSED)]
)
def test_refused_data_decides_for_those_who_were_taken(text: str, outcome: Outcome) -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    play(course, OK, OK, "550 5.1.1 unknown", text)
    assert course.finished
    assert course.needs_reset
    assert results(course) == [(outcome, Stage.DATA), (Outcome.REFUSED, Stage.RCPT)]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("250 ok", Outcome.ACCEPTED),
        ("250-ok|250-and|250 more", Outcome.ACCEPTED),
        ("451 4.3.0 later", Outcome.DEFERRED),
        ("550 5.7.1 spam", Outcome.REFUSED),
    ],
)
def test_the_reply_to_the_end_of_the_letter_decides(text: str, outcome: Outcome) -> None:
    course = transaction()
    play(course, OK, OK, GO, text)
    assert course.finished
    assert not course.needs_reset
    assert results(course) == [(outcome, Stage.MESSAGE)]
    assert course.outcomes[0].reply == reply(text)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("552 5.5.3 too many recipients", Outcome.DEFERRED),
        ("552 too many recipients", Outcome.DEFERRED),
        ("552 5.2.2 mailbox full", Outcome.REFUSED),
    ],
)
def test_552_for_too_many_recipients_means_later(text: str, outcome: Outcome) -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    play(course, OK, OK, text, GO, OK)
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE), (outcome, Stage.RCPT)]


@pytest.mark.parametrize("before", [(), (OK,), (OK, OK), (OK, OK, OK), (OK, OK, OK, GO)])
def test_421_at_any_time_means_later_for_all_that_is_undecided(before: tuple[str, ...]) -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    assert play(course, *before, "421 4.3.2 closing")[-1] == b""
    assert course.finished
    assert course.unusable
    assert {outcome for outcome, _ in results(course)} == {Outcome.DEFERRED}


def test_421_leaves_what_is_decided() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    play(course, OK, "550 5.1.1 unknown", "421 4.3.2 closing")
    assert results(course) == [(Outcome.REFUSED, Stage.RCPT), (Outcome.DEFERRED, Stage.RCPT)]


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ((), "354 go"),
        ((OK,), "334 more"),
        ((OK, OK), "250 ok"),
        ((OK, OK, GO), "354 go on"),
        ((), "999 what"),
        ((), ""),
    ],
)
def test_a_reply_without_meaning_is_an_error_of_the_server_and_ends_it(before: tuple[str, ...], wrong: str) -> None:
    course = transaction()
    play(course, *before)
    with pytest.raises(RemoteProtocolError):
        course.take(reply(wrong))
    assert course.finished
    assert course.unusable
    assert results(course)[0][0] is (Outcome.UNCERTAIN if GO in before else Outcome.NOT_SENT)


def test_a_reply_that_nobody_waits_for_is_an_error_of_ours() -> None:
    course = transaction()
    with pytest.raises(LocalProtocolError):
        course.take(reply(OK))


# -- a connection that ends --------------------------------------------------------------------------------------


def test_a_connection_that_ends_after_the_letter_and_before_its_reply_leaves_it_uncertain() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    play(course, OK, OK, "550 5.1.1 unknown", GO)
    course.lost("the server reset the connection")
    assert course.finished
    assert results(course) == [(Outcome.UNCERTAIN, Stage.MESSAGE), (Outcome.REFUSED, Stage.RCPT)]
    assert course.outcomes[0].detail == "the server reset the connection"
    assert course.outcomes[0].reply is None


@pytest.mark.parametrize(
    ("before", "stage"), [((), Stage.MAIL), ((OK,), Stage.RCPT), ((OK, OK), Stage.DATA), ((OK, "550 no"), Stage.RCPT)]
)
def test_a_connection_that_ends_before_the_letter_has_sent_nothing(before: tuple[str, ...], stage: Stage) -> None:
    course = transaction()
    play(course, *before)
    course.lost("the server closed the connection")
    wanted = Outcome.REFUSED if "550 no" in before else Outcome.NOT_SENT
    assert results(course) == [(wanted, stage)]


def test_a_loss_after_the_end_changes_nothing() -> None:
    course = transaction()
    play(course, OK, OK, GO, OK)
    course.lost("the server closed the connection")
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE)]


# -- LMTP --------------------------------------------------------------------------------------------------------


def test_lmtp_has_one_last_reply_for_each_recipient_that_was_taken() -> None:
    course = transaction(parcel("b@b.test", "c@c.test", "d@d.test"), lmtp=True)
    play(course, OK, OK, "550 5.1.1 unknown", OK, GO, "250 stored")
    assert unfinished(course)
    course.take(reply("452 4.2.2 full"))
    assert course.finished
    assert results(course) == [
        (Outcome.ACCEPTED, Stage.MESSAGE),
        (Outcome.REFUSED, Stage.RCPT),
        (Outcome.DEFERRED, Stage.MESSAGE),
    ]


def test_lmtp_that_ends_between_last_replies_keeps_those_that_came() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"), lmtp=True)
    play(course, OK, OK, OK, GO, "250 stored")
    course.lost("the server closed the connection")
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE), (Outcome.UNCERTAIN, Stage.MESSAGE)]


def test_lmtp_after_a_lone_dot_is_not_used_any_more() -> None:
    course = transaction(lmtp=True)
    assert play(course, OK, "550 5.1.1 unknown", GO)[-1] == b".\r\n"
    assert course.finished
    assert course.unusable


# -- BDAT --------------------------------------------------------------------------------------------------------


def test_a_small_chunk_goes_out_with_its_envelope_and_adds_no_dots() -> None:
    course = transaction(chunking=True)
    written = play(course, OK, OK, OK)
    assert written == [MAIL + b"RCPT TO:<b@b.test>\r\nBDAT 20 LAST\r\n" + LETTER, b"", b"", b""]
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE)]
    assert not course.needs_reset


def test_a_large_letter_waits_for_its_envelope_and_goes_in_chunks() -> None:
    letter = parcel(data=b"x" * CHUNK_OCTETS + b"\r\n")
    course = transaction(letter, chunking=True)
    written = play(course, OK, OK, OK, OK)
    assert written[0] == MAIL + b"RCPT TO:<b@b.test>\r\n"
    assert written[2] == b"BDAT 1048576\r\n" + b"x" * CHUNK_OCTETS
    assert written[3] == b"BDAT 2 LAST\r\n\r\n"
    assert results(course) == [(Outcome.ACCEPTED, Stage.MESSAGE)]


def test_after_a_refused_chunk_no_other_is_sent() -> None:
    course = transaction(parcel(data=b"x" * CHUNK_OCTETS + b"\r\n"), chunking=True)
    assert play(course, OK, OK, "452 4.3.1 full")[-1] == b""
    assert course.finished
    assert course.needs_reset
    assert results(course) == [(Outcome.DEFERRED, Stage.DATA)]


def test_a_chunk_that_went_out_with_refused_recipients_is_answered_and_then_reset() -> None:
    course = transaction(chunking=True)
    play(course, OK, "550 5.1.1 unknown", "554 5.5.1 no valid recipients")
    assert course.finished
    assert course.needs_reset
    assert results(course) == [(Outcome.REFUSED, Stage.RCPT)]


def test_a_connection_that_ends_while_a_chunk_is_out_leaves_even_the_recipients_uncertain() -> None:
    course = transaction(chunking=True)
    play(course, OK)
    course.lost("the server reset the connection")
    assert results(course) == [(Outcome.UNCERTAIN, Stage.MESSAGE)]


def test_an_empty_letter_is_one_empty_chunk() -> None:
    assert play(transaction(parcel(data=b""), chunking=True))[0].endswith(b"BDAT 0 LAST\r\n")


# -- stopping early ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "replies", "last"),
    [(Stage.MAIL, (OK,), b"MAIL"), (Stage.RCPT, (OK, OK), b"RCPT"), (Stage.DATA, (OK, OK, GO), b"DATA")],
)
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("chunking", [True, False])
def test_it_stops_where_it_is_asked_to(
    stage: Stage, replies: tuple[str, ...], last: bytes, pipelining: bool, chunking: bool
) -> None:
    course = transaction(stop_after=stage, pipelining=pipelining, chunking=chunking)
    lines = b"".join(play(course, *replies)).split(b"\r\n")
    assert lines[-2].startswith(last)
    assert course.finished
    assert course.needs_reset == (stage is not Stage.DATA)
    assert course.unusable == (stage is Stage.DATA)  # there the server waits for a letter
    assert results(course) == [(Outcome.NOT_SENT, stage)]
    assert course.outcomes[0].reply == reply(replies[-1])


def test_stopping_after_the_recipients_tells_who_was_refused() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"), stop_after=Stage.RCPT)
    play(course, OK, "550 5.1.1 unknown", OK)
    assert results(course) == [(Outcome.REFUSED, Stage.RCPT), (Outcome.NOT_SENT, Stage.RCPT)]


# -- the short way -----------------------------------------------------------------------------------------------


def test_an_envelope_that_is_out_whole_can_be_taken_at_once() -> None:
    course = transaction(parcel("b@b.test", "c@c.test"))
    course.begin()
    assert course.envelope_is_out
    assert octets(course.take_envelope()) == BODY
    assert course.letter_is_out
    course.take(reply("250 queued as 1"))
    long_way = transaction(parcel("b@b.test", "c@c.test"))
    play(long_way, OK, OK, OK, GO, "250 queued as 1")
    assert course.outcomes == long_way.outcomes


def test_a_like_envelope_begins_like_another() -> None:
    first = transaction()
    play(first, OK, OK, GO)
    second = transaction(parcel(data=b"other\r\n"))
    assert octets(second.begin(like=first)) == MAIL + b"RCPT TO:<b@b.test>\r\nDATA\r\n"
    assert octets(second.take_envelope()) == b"other\r\n.\r\n"


@pytest.mark.parametrize(
    "letter",
    [
        parcel("c@c.test"),
        parcel("b@b.test", "c@c.test"),
        Parcel(sender="c@a.test", recipients=(Addressee("b@b.test"),), data=LETTER),
        Parcel(sender="a@a.test", sender_parameters=("SIZE=1",), recipients=(Addressee("b@b.test"),), data=LETTER),
        Parcel(sender="a@a.test", recipients=(Addressee("b@b.test", ("NOTIFY=NEVER",)),), data=LETTER),
    ],
)
def test_an_unlike_envelope_is_its_own(letter: Parcel) -> None:
    first = transaction()
    play(first, OK, OK, GO)
    assert octets(transaction(letter).begin(like=first)) == octets(transaction(letter).begin())


# -- anything ----------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from(["250", "251", "354", "421", "450", "452", "500", "550", "552", "554", "220", "199", ""])


@given(
    texts=st.lists(st.one_of(STATUSES, st.text(max_size=5)), max_size=60),
    recipients=st.integers(0, 8),
    size=st.sampled_from([0, 1, 40_000, 2 * CHUNK_OCTETS + 1]),
    pipelining=st.booleans(),
    chunking=st.booleans(),
    lmtp=st.booleans(),
    stop_after=st.sampled_from([None, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.MESSAGE]),
)
def test_whatever_the_replies_it_ends_with_one_outcome_for_every_recipient(
    texts: list[str],
    recipients: int,
    size: int,
    pipelining: bool,
    chunking: bool,
    lmtp: bool,
    stop_after: Stage | None,
) -> None:
    letter = Parcel(
        sender="a@a.test",
        recipients=tuple(Addressee(f"user{number}@b.test") for number in range(recipients)),
        data=b"x" * size,
    )
    course = transaction(letter, pipelining=pipelining, chunking=chunking, lmtp=lmtp, stop_after=stop_after)
    out = len(course.begin())
    try:
        for text in texts:
            if course.finished:
                break
            assert course.awaited is not None
            out += len(course.take(Reply(status=text, lines=(text,), quirks=())))
    except RemoteProtocolError:
        assert course.finished
    course.lost("the server closed the connection")
    assert course.finished
    assert [each.address for each in course.outcomes] == [each.address for each in letter.recipients]
    assert out <= len(letter.recipients) + 5


@given(
    codes=st.lists(st.sampled_from(["250", "450", "550"]), min_size=1, max_size=6),
    final=st.sampled_from(["250", "451", "554"]),
)
def test_pipelining_changes_when_commands_go_and_nothing_else(codes: list[str], final: str) -> None:
    letter = parcel(*(f"user{number}@b.test" for number in range(len(codes))))
    taken = "250" in codes
    fast, slow = transaction(letter), transaction(letter, pipelining=False)
    play(fast, OK, *codes, *((GO, final) if taken else ("554 no",)))
    play(slow, OK, *codes, *((GO, final) if taken else ()))
    assert fast.finished
    assert slow.finished
    assert fast.outcomes == slow.outcomes
    assert fast.needs_reset == slow.needs_reset
