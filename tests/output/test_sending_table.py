"""What a person and a program are told of a letter that was sent, or of many."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from mailprobe.model.bulk import BulkSummary, Latencies
from mailprobe.model.conversation import Conversation, LoginOutcome
from mailprobe.model.evidence import Exchange, Kind, Reply, Stage, Trust
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending
from mailprobe.output import sending as output
from mailprobe.output.style import Style
from mailprobe.output.widths import width_of
from tests.checks.factories import tls, trouble
from tests.output.samples import HOSTILE, assert_harmless


def reply(line: str) -> Reply:
    return Reply(status=line[:3], lines=(line,), quirks=())


def recipient(address: str, outcome: Outcome, stage: Stage, line: str, detail: str = "") -> RecipientOutcome:
    answer = reply(line) if line else None
    return RecipientOutcome(address=address, outcome=outcome, stage=stage, reply=answer, detail=detail or line[4:])


HELD = Conversation(
    service="submission",
    host="mx.a.test",
    address="192.0.2.1",
    port=587,
    greeting=reply("220 mx.a.test"),
    exchanges=(
        Exchange(stage=Stage.GREETING, secure=False, sent="", reply=reply("220 mx.a.test"), ms=2.0),
        Exchange(stage=Stage.LOGIN, secure=True, sent="AUTH PLAIN [masked]", reply=reply("235 2.7.0 welcome"), ms=2.0),
    ),
    before_tls=None,
    after_tls=None,
    after_login=None,
    leftover=b"",
    tls=tls(),
    login=LoginOutcome(user="alice", mechanism="PLAIN", succeeded=True, reply=reply("235 2.7.0 welcome")),
    timings={"connect": 1.0},
    trouble=None,
)
SENT = Sending(
    message_id="<1@a.test>",
    sender="alice@a.test",
    size=321,
    started=datetime(2024, 1, 1, tzinfo=UTC),
    ms=12.0,
    conversations=(HELD,),
    recipients=(
        recipient("bob@b.test", Outcome.ACCEPTED, Stage.MESSAGE, "250 2.0.0 queued as 4T3"),
        recipient("no@b.test", Outcome.REFUSED, Stage.RCPT, "550 5.1.1 no such user"),
        recipient("x@c.test", Outcome.NOT_SENT, Stage.CONNECT, "", "4.4.1 connection refused"),
    ),
)


def test_a_letter_is_told_recipient_by_recipient() -> None:
    assert output.sending(SENT) == (
        "<1@a.test> from alice@a.test, 321 octets, 12 ms\n"
        "\n"
        "recipient   outcome   at       reply\n"
        "----------  --------  -------  ------------------------\n"
        "bob@b.test  accepted  message  250 2.0.0 queued as 4T3\n"
        "no@b.test   refused   rcpt     550 5.1.1 no such user\n"
        "x@c.test    not-sent  connect  4.4.1 connection refused\n"
        "\n"
        "via mx.a.test [192.0.2.1]:587, TLSv1.3, logged in as alice by PLAIN\n"
    )


def held(**changes: object) -> Sending:
    return msgspec.structs.replace(SENT, conversations=(msgspec.structs.replace(HELD, **changes),))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (held(tls=None, login=None), "via mx.a.test [192.0.2.1]:587, in clear"),
        (held(trouble=trouble(Stage.CONNECT, Kind.REFUSED)), "  connection refused while connecting"),
        (held(leftover=b"250 x\r\n"), "  7 octets in clear behind the go-ahead for STARTTLS: somebody injects replies"),
        (
            held(login=LoginOutcome(user="alice", mechanism="LOGIN", succeeded=False, reply=None)),
            "TLSv1.3, not logged in as alice by LOGIN",
        ),
        (held(host="localhost", address="/run/lmtp", port=0, service="lmtp", tls=None, login=None), "/run/lmtp, LMTP"),
        (msgspec.structs.replace(SENT, sender=""), "from the null sender"),
        (msgspec.structs.replace(SENT, message_id=""), "a letter without Message-ID from alice@a.test"),
    ],
)
def test_what_is_odd_is_said(sent: Sending, said: str) -> None:
    assert said in output.sending(sent)


def test_a_certificate_that_nobody_vouches_for_is_said() -> None:
    doubtful = Trust(trusted=False, code=18, reason="self-signed certificate", depth=0, store="test")
    sent = held(tls=msgspec.structs.replace(tls(), trust=doubtful))
    assert "certificate not trusted (self-signed certificate)" in " ".join(output.sending(sent).split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_hostile_words_do_no_harm_and_keep_to_the_width(width: int) -> None:
    sent = msgspec.structs.replace(
        held(host=HOSTILE, leftover=b"\x1b[2J", trouble=trouble(Stage.MAIL, Kind.REJECTED, HOSTILE)),
        recipients=(recipient("bob@b.test", Outcome.REFUSED, Stage.RCPT, f"550 {HOSTILE}"),),
    )
    assert_harmless(output.sending(sent, width=width))
    assert_harmless(output.transcript(sent))
    assert max(map(width_of, output.sending(sent, width=width).splitlines())) <= width


def test_addresses_beyond_ascii_are_shown_as_they_are() -> None:
    sent = msgspec.structs.replace(
        SENT, sender="grüße@a.test", recipients=(recipient("böb@b.test", Outcome.ACCEPTED, Stage.MESSAGE, "250 ok"),)
    )
    assert "from grüße@a.test" in output.sending(sent)
    assert "böb@b.test" in output.sending(sent)


def test_colour_tells_outcomes_apart() -> None:
    painted = output.sending(SENT, Style(colour=True))
    assert "\x1b[32maccepted" in painted
    assert "\x1b[31mrefused" in painted


def test_the_transcript_has_every_conversation_and_no_secret() -> None:
    assert output.transcript(SENT) == (
        "mx.a.test [192.0.2.1]:587\n"
        "  ===  connected in 1 ms\n"
        "  <-   220 mx.a.test  (2 ms)\n"
        "  ===  TLS handshake: TLSv1.3, TLS_AES_256_GCM_SHA384\n"
        "  ~>   AUTH PLAIN [masked]\n"
        "  <~   235 2.7.0 welcome  (2 ms)\n"
    )


def test_rows_have_codes_of_their_own() -> None:
    rows = [msgspec.to_builtins(row) for row in output.rows(SENT)]
    assert [(row["recipient"], row["outcome"], row["code"], row["enhanced"]) for row in rows] == [
        ("bob@b.test", "accepted", "250", "2.0.0"),
        ("no@b.test", "refused", "550", "5.1.1"),
        ("x@c.test", "not-sent", None, None),
    ]


def test_the_document_can_be_read_back() -> None:
    written = output.document(SENT)
    assert written.isascii()
    assert msgspec.convert(json.loads(written), Sending) == SENT


LOAD = BulkSummary(
    letters=1_000,
    accepted=1_000,
    refused=0,
    deferred=2,
    uncertain=0,
    not_sent=0,
    seconds=2.0,
    per_second=500.0,
    octets=321_000,
    connections=4,
    latencies=Latencies(p50_ms=1.0, p95_ms=2.0, p99_ms=5.0, max_ms=30.0),
    replies={"250": 1_000, "451 4.2.0": 2},
    stopped="",
    trouble=None,
)


def test_a_load_is_told_in_figures() -> None:
    assert output.load(LOAD, width=100) == (
        "1000 letters in 2.00 s, 500 a second, over 4 connections\n"
        "recipients: 1000 accepted, 2 deferred; 321000 octets in all\n"
        "a letter took: half within 1 ms, 95 % within 2 ms, 99 % within 5 ms, the slowest 30 ms\n"
        "replies: 1000 x 250, 2 x 451 4.2.0\n"
    )


def test_a_load_that_came_to_nothing_says_why() -> None:
    nothing = Latencies(p50_ms=None, p95_ms=None, p99_ms=None, max_ms=None)
    told = output.load(
        msgspec.structs.replace(
            LOAD,
            letters=0,
            accepted=0,
            latencies=nothing,
            replies={},
            stopped="no connection was left",
            trouble=trouble(Stage.CONNECT, Kind.REFUSED),
        )
    )
    assert "0 accepted" in told
    assert "ended before its time: no connection was left\n" in told
    assert "\nconnection refused while connecting" in told
