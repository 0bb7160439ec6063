"""What is said of a letter that was sent on purpose, and of the road that it took."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mailprobe.checks import CHECKS
from mailprobe.checks.judge import choose, judge_trip
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.finding import Cause, Verdict
from mailprobe.model.sending import Outcome
from mailprobe.model.trip import Thresholds, Trip
from tests.checks.factories import NOW, Case, aside, fails, names, passes, trouble, undecided
from tests.checks.trips import (
    GOOD,
    ROAD,
    bounce,
    conversation,
    copy,
    hop,
    look,
    not_sent,
    sending,
    trip,
    unfetched,
)

TRIP_CHECKS = [check for check in CHECKS.values() if check.subject is Trip]
OF_COPIES = ["trip-inbox", "trip-once", "trip-unchanged", "trip-quick", "trip-not-late"]
OF_HOPS = ["trip-traced", "trip-clocks", "trip-hops-encrypted"]


def taken_as(outcome: Outcome, words: str = "", stage: Stage = Stage.RCPT, **changes: Any) -> Trip:
    return trip(sending=sending(outcome, words, stage, **changes), look=None, sender_look=None, waited_s=0.0)


def unsent(stage: Stage, kind: Kind) -> Trip:
    return trip(sending=not_sent(stage, kind), look=None, sender_look=None, waited_s=0.0)


def no_way(detail: str) -> Trip:
    """A trip for which no server was found to hand the letter to."""
    sent = msgspec.structs.replace(sending(Outcome.NOT_SENT, "", Stage.RESOLVE, detail=detail), conversations=())
    return trip(sending=sent, look=None, sender_look=None)


def after(seconds: float, **changes: Any) -> Trip:
    """A trip whose letter took so many seconds."""
    return trip(copy(seen_at=NOW + timedelta(seconds=seconds), **changes), looked_at=NOW + timedelta(seconds=seconds))


def limited(seconds: float, limit_s: float) -> Trip:
    """A trip that took so long, and may take no longer than the limit."""
    return msgspec.structs.replace(after(seconds), thresholds=Thresholds(warn_s=limit_s, crit_s=limit_s, wait_s=300.0))


def login_failed(kind: Kind, detail: str, **changes: Any) -> Trip:
    return trip(look=look(stopped=trouble(Stage.LOGIN, kind, detail)), **changes)


PAUSED = msgspec.structs.replace(after(9_000), paused=True)
REFUSED = taken_as(Outcome.REFUSED, "550 5.1.1 no such user")
GREYLISTED = taken_as(Outcome.DEFERRED, "450 4.7.1 greylisted")
LOST = trip()
PENDING = trip(pending=True)
UNREAD = trip(look=look(stopped=trouble(Stage.LOGIN, Kind.REJECTED, "NO [AUTHENTICATIONFAILED]")))
SILENT_SERVER = trip(
    sending=msgspec.structs.replace(
        not_sent(Stage.CONNECT, Kind.REFUSED),
        conversations=(conversation(greeting=None, trouble=trouble(Stage.CONNECT, Kind.REFUSED)),),
    ),
    look=None,
)
SILENT_MAILBOX = trip(look=look(stopped=trouble(Stage.GREETING, Kind.TIMEOUT, "silence")))
NOT_LOOKED = trip(look=None)
BOUNCED = trip(bounces=(bounce(),))
BOUNCED_UNREAD = login_failed(Kind.REJECTED, "NO [AUTHENTICATIONFAILED]", bounces=(bounce(),))
DELAYED = trip(bounces=(bounce("delayed", "4.4.1", "smtp; 421 later"),))
JUNKED = trip(copy(folder="Junk", junk=True))
TWICE = trip(copy(), copy(uid="8"))
ALTERED = trip(copy(unchanged=False, difference="line 3 was 'x' and is 'y'"))
UNFETCHED = trip(unfetched())


def with_hops(*hops: Any, **changes: Any) -> Trip:
    return trip(copy(hops=hops), **changes)


CLEAR: dict[str, Any] = {"tls": False, "protocol": "ESMTP"}
LOCAL_HOP = hop("mx.b.test", "localhost", 3.0, client_address="127.0.0.1", tls=False, protocol="LMTP")
SOCKET_HOP = hop("store", "mx.b.test", 3.0, client_address="", tls=False, protocol="LMTP")
SAME_HOP = hop("mx.b.test", "MX.b.test", 3.0, tls=False, protocol="ESMTP")

CASES: list[Case] = [
    passes("trip-accepted", GOOD, "250 2.0.0 Ok: queued as ABC"),
    passes("trip-accepted", trip(copy(), sending=sending(Outcome.UNCERTAIN, "")), "it arrived"),
    fails("trip-accepted", REFUSED, "550 5.1.1 no such user", "bob@b.test was refused: 550 5.1.1 no such user"),
    fails("trip-accepted", unsent(Stage.CONNECT, Kind.REFUSED), "what happened", "not sent: what happened"),
    fails("trip-accepted", unsent(Stage.RESOLVE, Kind.REJECTED), "what happened"),
    fails("trip-accepted", unsent(Stage.LOGIN, Kind.REJECTED), "what happened"),
    fails("trip-accepted", unsent(Stage.HANDSHAKE, Kind.TLS_FAILED), "what happened"),
    undecided("trip-accepted", no_way("5.4.4 a.test: no address"), Cause.RESOLVER_FAILED, "--submit and --mx name"),
    fails("trip-accepted", taken_as(Outcome.NOT_SENT, "", Stage.MAIL, detail="5.6.7 no SMTPUTF8"), None, "5.6.7"),
    undecided("trip-accepted", no_way("4.4.3 a.test could not be looked up"), Cause.RESOLVER_FAILED),
    undecided("trip-accepted", GREYLISTED, Cause.GREYLISTED, "450 4.7.1 greylisted"),
    undecided("trip-accepted", taken_as(Outcome.DEFERRED, "421 4.7.0 too many"), Cause.RATE_LIMITED),
    undecided("trip-accepted", unsent(Stage.RESOLVE, Kind.TEMPORARY), Cause.RESOLVER_FAILED),
    undecided("trip-accepted", unsent(Stage.CONNECT, Kind.TIMEOUT), Cause.BLOCKED_HERE),
    undecided("trip-accepted", unsent(Stage.GREETING, Kind.TIMEOUT), Cause.NO_ANSWER),
    undecided("trip-accepted", unsent(Stage.GREETING, Kind.TEMPORARY), Cause.RATE_LIMITED),
    undecided("trip-accepted", unsent(Stage.DATA, Kind.CLOSED), Cause.INTERRUPTED),
    undecided("trip-accepted", trip(sending=sending(Outcome.UNCERTAIN, "")), Cause.INTERRUPTED),
    undecided("trip-accepted", trip(sending=sending(Outcome.NOT_SENT, "")), Cause.INTERRUPTED, "did not come to that"),
    undecided("trip-accepted", trip(sending=None), Cause.INTERRUPTED, "ended before it noted"),
    passes("trip-arrives", GOOD, "in INBOX after 3 s"),
    passes("trip-arrives", JUNKED, "in Junk"),
    passes("trip-arrives", trip(copy(), bounces=(bounce(),))),
    passes("trip-arrives", trip(copy(), sending=None)),
    fails("trip-arrives", LOST, None, "accepted, never arrived: not in INBOX and Junk after 300 s"),
    fails("trip-arrives", BOUNCED, "5.1.1", "bob@b.test failed 5.1.1 smtp; 550 no such user (said mx.b.test)"),
    fails("trip-arrives", DELAYED, None, "delayed 4.4.1"),
    undecided(
        "trip-arrives",
        UNREAD,
        Cause.INTERRUPTED,
        "bob cannot log in: NO [AUTHENTICATIONFAILED]; --to-user names another user",
    ),
    undecided(
        "trip-arrives", login_failed(Kind.TEMPORARY, "NO [UNAVAILABLE] later"), Cause.INTERRUPTED, "login: NO [UNAV"
    ),
    undecided("trip-arrives", login_failed(Kind.TEMPORARY, "-ERR [IN-USE] later"), Cause.INTERRUPTED),
    undecided("trip-arrives", login_failed(Kind.TEMPORARY, "NO [LIMIT] slow down"), Cause.RATE_LIMITED),
    undecided("trip-arrives", login_failed(Kind.TEMPORARY, "-ERR [LOGIN-DELAY] slow down"), Cause.RATE_LIMITED),
    undecided(
        "trip-arrives",
        trip(look=look(stopped=trouble(Stage.RESOLVE, Kind.TEMPORARY, "no answer"))),
        Cause.RESOLVER_FAILED,
    ),
    undecided("trip-arrives", SILENT_MAILBOX, Cause.NO_ANSWER),
    undecided("trip-arrives", NOT_LOOKED, Cause.NOT_ASKED),
    undecided("trip-arrives", trip(sending=sending(Outcome.UNCERTAIN, "")), Cause.INTERRUPTED, "nobody knows"),
    undecided("trip-arrives", trip(sending=None), Cause.INTERRUPTED, "nobody knows"),
    aside("trip-arrives", PENDING, "a later run"),
    aside("trip-arrives", REFUSED, "not taken"),
    aside("trip-arrives", GREYLISTED, "not taken"),
    *(passes(check, GOOD) for check in OF_COPIES),
    *(passes(check, GOOD) for check in OF_HOPS),
    *(undecided(check, UNREAD, Cause.INTERRUPTED) for check in OF_COPIES + OF_HOPS),
    *(undecided(check, NOT_LOOKED, Cause.NOT_ASKED) for check in OF_COPIES + OF_HOPS),
    *(aside(check, item) for check in OF_COPIES + OF_HOPS for item in (LOST, PENDING, REFUSED, GREYLISTED, BOUNCED)),
    *(aside(check, BOUNCED_UNREAD, "it came back") for check in OF_COPIES + OF_HOPS),
    *(undecided(check, UNFETCHED, Cause.NOT_ASKED) for check in ["trip-unchanged", *OF_HOPS]),
    fails("trip-inbox", JUNKED, "junk", "delivered to Junk"),
    fails("trip-inbox", trip(copy(), copy(folder="Spam", junk=True)), "junk", "delivered to Spam"),
    fails("trip-once", TWICE, "INBOX 7, INBOX 8", "2 copies"),
    fails("trip-unchanged", ALTERED, "body", "line 3 was"),
    fails("trip-unchanged", trip(unfetched(), copy(unchanged=False, difference="cut")), "body", "cut"),
    passes("trip-quick", after(95)),
    passes("trip-quick", after(95.94)),
    fails("trip-quick", after(96), "2 s before mx.b.test", "took 96 s; the limit is 95 s; 2 s before mx.b.test"),
    fails("trip-quick", after(96, hops=()), "", "took 96 s; the limit is 95 s"),
    passes("trip-not-late", after(300)),
    passes("trip-not-late", after(300.02), "took 300 s"),
    fails("trip-not-late", limited(5.06, 5.0), None, "took 5.1 s; the limit is 5 s"),
    fails("trip-not-late", limited(5.05, 5.0), None, "took 5.05 s; the limit is 5.00 s"),
    fails("trip-not-late", limited(0.024, 0.02), None, "took 0.024 s; the limit is 0.020 s"),
    *(aside(check, PAUSED, "not judged: paused on purpose") for check in ("trip-quick", "trip-not-late")),
    fails("trip-not-late", after(301), None, "took 301 s; the limit is 300 s"),
    passes("trip-quick", after(9_000, watched=False), "took 3 s"),
    passes("trip-quick", after(9_000, watched=False, arrived_at=None), "took 3 s"),
    undecided("trip-quick", after(9_000, watched=False, arrived_at=None, hops=()), Cause.NOT_ASKED),
    passes("trip-unbounced", GOOD),
    fails("trip-unbounced", trip(copy(), bounces=(bounce(),)), "bob@b.test", "550 no such user"),
    passes("trip-unbounced", DELAYED),
    aside("trip-unbounced", BOUNCED, "itself came back"),
    undecided(
        "trip-unbounced", trip(copy(), sender_look=look("alice", trouble(Stage.LOGIN, Kind.TIMEOUT))), Cause.NO_ANSWER
    ),
    aside("trip-unbounced", trip(copy(), sender_look=None)),
    fails("trip-traced", with_hops(), "Received", "no Received field at all"),
    fails("trip-traced", with_hops(ROAD[0], hop("mx.b.test", "mx.a.test", None)), "mx.b.test", "no date"),
    fails("trip-traced", with_hops(ROAD[1]), "mx.a.test", "mx.a.test took the letter and added no Received field"),
    fails(
        "trip-traced",
        with_hops(hop("mx.b.test", "other.a.test", client_address="192.0.2.1")),
        "mx.a.test",
        "added no Received field",
    ),
    passes("trip-traced", with_hops(hop("mx.b.test", "laptop.a.test"))),
    passes("trip-traced", trip(copy(), sending=None), "2 Received fields"),
    passes("trip-traced", with_hops(hop("mx.a.test", "mx.a.test"), *ROAD[1:])),
    fails("trip-clocks", with_hops(ROAD[0], hop("mx.b.test", "mx.a.test", 3600.0)), "mx.b.test", "3597 s ahead"),
    fails("trip-clocks", with_hops(hop("mx.a.test", "laptop.a.test", -60.0)), "mx.a.test", "60 s behind"),
    fails(
        "trip-clocks",
        with_hops(hop("mx.a.test", "laptop.a.test", 60.0), ROAD[1], looked_at=NOW + timedelta(seconds=90)),
        "mx.b.test",
        "mx.b.test took it 57 s before mx.a.test had it",
    ),
    passes("trip-clocks", with_hops(hop("mx.a.test", "laptop.a.test", 12.0), ROAD[1])),
    passes("trip-clocks", with_hops(hop("mx.a.test", "laptop.a.test", None), ROAD[1])),
    undecided("trip-clocks", with_hops(), Cause.NOT_ASKED),
    undecided("trip-clocks", with_hops(hop("mx.a.test", "laptop.a.test", None)), Cause.NOT_ASKED),
    fails(
        "trip-hops-encrypted",
        with_hops(ROAD[0], hop("mx.b.test", "mx.a.test", 3.0, **CLEAR)),
        "mx.a.test to mx.b.test",
        "ESMTP, without TLS",
    ),
    passes("trip-hops-encrypted", with_hops(*ROAD, LOCAL_HOP, SOCKET_HOP, SAME_HOP)),
    passes("trip-hops-encrypted", with_hops(ROAD[0], hop("mx.b.test", "mx.a.test", 3.0, tls=None, protocol="HTTP"))),
    undecided("trip-hops-encrypted", with_hops(hop("mx.b.test", "mx.a.test", 3.0, tls=None)), Cause.NOT_ASKED),
    aside("trip-hops-encrypted", with_hops(LOCAL_HOP)),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()


def test_a_trip_is_judged_by_the_checks_about_trips_in_their_own_order() -> None:
    found = judge_trip(GOOD)
    assert [each.check for each in found] == [check.id for check in TRIP_CHECKS]
    assert {each.verdict for each in found} == {Verdict.OK}
    assert {(each.target, each.where) for each in found} == {("alice@a.test to bob@b.test",) * 2}
    assert judge_trip(GOOD) == found


def test_a_choice_of_checks_is_about_trips_only_when_asked_to_be() -> None:
    assert [check.id for check in choose(["trip"], about=[Trip])] == [check.id for check in TRIP_CHECKS]
    assert choose(["trip"]) == []
    assert choose(["mx"], about=[Trip]) == []
    (finding,) = judge_trip(LOST, choose(["trip-arrives"], about=[Trip]))
    assert finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("evidence", [UNREAD, SILENT_MAILBOX, NOT_LOOKED], ids=["unread", "silent", "not-looked"])
def test_a_mailbox_that_was_not_read_decides_nothing_about_arrival(evidence: Trip) -> None:
    for finding in judge_trip(evidence):
        about_arrival = finding.check not in {"trip-accepted", "trip-unbounced"}
        assert finding.verdict is (Verdict.UNKNOWN if about_arrival else Verdict.OK), finding


@pytest.mark.parametrize(
    ("evidence", "check", "words"),
    [
        (BOUNCED, "trip-arrives", "The report says why (smtp; 550 no such user): mend that address, or ask the "),
        (BOUNCED, "trip-arrives", "postmaster of mx.b.test."),
        (LOST, "trip-arrives", "Look for its Message-ID"),
        (REFUSED, "trip-accepted", "Read the server's words"),
        (taken_as(Outcome.REFUSED, detail="5.1.10 null MX"), "trip-accepted", "the MX records of its domain"),
        (unsent(Stage.LOGIN, Kind.REJECTED), "trip-accepted", "Read the server's words"),
        (SILENT_SERVER, "trip-accepted", "Look whether the server is named rightly"),
    ],
)
def test_the_advice_fits_what_became_of_the_letter(evidence: Trip, check: str, words: str) -> None:
    (finding,) = judge_trip(evidence, choose([check], about=[Trip]))
    assert finding.verdict is Verdict.FAIL
    assert words in finding.advice


def test_the_bounce_of_one_recipient_is_no_bounce_of_all() -> None:
    found = {each.check: each.verdict for each in judge_trip(trip(copy(), bounces=(bounce(),)))}
    assert found["trip-arrives"] is Verdict.OK
    assert found["trip-unbounced"] is Verdict.FAIL


def test_the_copy_that_came_first_tells_how_long_it_took() -> None:
    late = copy(seen_at=NOW + timedelta(seconds=400), uid="8")
    assert trip(late, copy()).delay_s == 3.0
    assert trip(late).delay_s == 400.0
    assert trip(unfetched(seen_at=NOW - timedelta(seconds=1))).delay_s == 0.0


def test_the_last_conversation_decides_which_server_had_the_letter_first() -> None:
    held = (conversation("mx1.a.test", "192.0.2.11", trouble=trouble(Stage.CONNECT, Kind.REFUSED)), conversation())
    sent = msgspec.structs.replace(sending(), conversations=held)
    (finding,) = judge_trip(trip(copy(hops=ROAD[1:]), sending=sent), choose(["trip-traced"], about=[Trip]))
    assert (finding.verdict, finding.culprit) == (Verdict.FAIL, "mx.a.test")
