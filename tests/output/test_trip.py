"""What a person is shown of a trip, and what programs get."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mailprobe.checks.judge import judge_trip
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.finding import Verdict
from mailprobe.model.sending import Outcome
from mailprobe.model.trip import Access, State, Trip, TripReport
from mailprobe.output import json_output, trip
from mailprobe.output.junit import junit
from mailprobe.output.style import Style
from mailprobe.output.widths import width_of
from tests.checks import trips
from tests.checks.factories import NOW, tls, trouble
from tests.output.samples import HOSTILE, assert_harmless

GOOD = trips.GOOD
LOST = trips.trip()
PENDING = trips.trip(pending=True, look=None)
REFUSED = trips.trip(sending=trips.sending(Outcome.REFUSED, "550 5.1.1 no such user"), look=None, sender_look=None)
BOUNCED = trips.trip(bounces=(trips.bounce(),))
UNREAD = trips.trip(look=trips.look(stopped=trouble(Stage.LOGIN, Kind.REJECTED, "NO bad password")))
UNCERTAIN = trips.trip(sending=trips.sending(Outcome.UNCERTAIN, "", detail="the server reset the connection"))
NOT_LOOKED = trips.trip(look=None)
JUNKED = trips.trip(trips.copy(folder="Junk", junk=True), trips.copy(uid="8"))
SKEWED = trips.trip(
    trips.copy(
        hops=(
            trips.ROAD[0],
            trips.hop("mx.b.test", "mx.a.test", -57.0, -58.0, tls=False, protocol="ESMTP"),
            trips.hop("", "", None, None, tls=None, protocol="", client_address=""),
        )
    )
)
EVERY = {
    "good": GOOD,
    "lost": LOST,
    "pending": PENDING,
    "refused": REFUSED,
    "bounced": BOUNCED,
    "unread": UNREAD,
    "uncertain": UNCERTAIN,
    "not looked": NOT_LOOKED,
    "junked": JUNKED,
    "skewed": SKEWED,
    "interrupted": trips.trip(sending=None),
}
STATES = {
    "good": State.ARRIVED,
    "lost": State.LOST,
    "pending": State.PENDING,
    "refused": State.REFUSED,
    "bounced": State.RETURNED,
    "unread": State.UNKNOWN,
    "uncertain": State.UNKNOWN,
    "not looked": State.UNKNOWN,
    "junked": State.ARRIVED,
    "skewed": State.ARRIVED,
    "interrupted": State.UNKNOWN,
}


def report(*found: Trip) -> TripReport:
    findings = tuple(finding for each in found for finding in judge_trip(each))
    return TripReport(mailprobe="0.1", at=NOW + timedelta(seconds=300), trips=found, findings=findings)


def hostile() -> TripReport:
    """A trip in which every text that came from outside tries to break out."""
    bounce = trips.bounce(HOSTILE, HOSTILE, HOSTILE)
    odd: dict[str, Any] = {"queue_id": HOSTILE, "protocol": HOSTILE, "client_address": HOSTILE}
    copy = trips.copy(folder=HOSTILE, uid=HOSTILE, hops=(trips.hop(HOSTILE, HOSTILE, **odd),), difference=HOSTILE)
    bounce = msgspec.structs.replace(bounce, action="failed", recipient=HOSTILE, remote=HOSTILE)
    sent = trips.sending(words=f"250 {HOSTILE}")
    held = trips.conversation(HOSTILE, HOSTILE, tls=tls(version=HOSTILE))
    sent = msgspec.structs.replace(sent, conversations=(held,))
    return report(
        trips.trip(copy, msgspec.structs.replace(copy, unchanged=False), bounces=(bounce,), sending=sent),
        trips.trip(look=trips.look(stopped=trouble(Stage.LOGIN, Kind.REJECTED, HOSTILE), folders=(HOSTILE,))),
        trips.trip(look=trips.look(folders=(HOSTILE,)), sending=sent),
        trips.trip(sending=trips.not_sent(Stage.LOGIN, Kind.REJECTED, HOSTILE)),
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_trip_is_in_the_state_that_its_evidence_tells(name: str) -> None:
    assert EVERY[name].state is STATES[name]


def test_the_table_shows_each_hop_with_what_it_took_and_the_whole() -> None:
    text = trip.trips(report(GOOD))
    lines = text.splitlines()
    assert lines[0] == "alice@a.test to bob@b.test, <mp-0123456789abcdef@a.test>"
    assert "to mx.a.test [192.0.2.1]:587 in clear, accepted: 250 2.0.0 Ok: queued as ABC" in " ".join(text.split())
    assert "found   in INBOX (UID 7) after 3 s; unchanged; deleted again" in lines
    rows = [line.split() for line in lines]
    assert ["1", "laptop.a.test", "mx.a.test", "ESMTPS", "yes", "12:00:01", "1", "s"] in rows
    assert ["2", "mx.a.test", "mx.b.test", "ESMTPS", "yes", "12:00:03", "2", "s"] in rows
    assert ["total", "3", "s"] in rows
    assert lines[-1] == "alice@a.test to bob@b.test: 11 passed"


def test_a_clock_that_disagrees_and_a_hop_in_clear_are_shown_where_they_are() -> None:
    text = trip.trips(report(SKEWED))
    assert "-58 s clock?" in text
    (row,) = [line for line in text.splitlines() if line.lstrip().startswith("2 ")]
    assert " no " in row
    (row,) = [line for line in text.splitlines() if line.lstrip().startswith("3 ")]
    assert row.split() == ["3", "-", "-", "-", "?", "?", "?"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost", "found nothing in INBOX and Junk within 5 min 0 s"),
        ("pending", "found not yet, 5 min 0 s after it was sent; a later run looks again"),
        ("refused", "found nothing: it was not taken"),
        ("bounced", "report bob@b.test failed 5.1.1 smtp; 550 no such user, said mx.b.test"),
        ("unread", "found nobody knows: the server refused while logging in: NO bad password"),
        ("uncertain", "nobody knows whether it was taken"),
        ("not looked", "found nobody looked"),
        ("junked", "in Junk (UID 7) after 3 s; unchanged; deleted again; in INBOX (UID 8) after 3 s"),
        ("interrupted", "by a run that was interrupted"),
    ],
)
def test_the_table_says_what_became_of_the_letter(name: str, words: str) -> None:
    assert words in " ".join(trip.trips(report(EVERY[name])).split())


def test_a_letter_read_by_pop3_has_a_unique_id() -> None:
    look = msgspec.structs.replace(trips.look(), access=Access.POP3)
    assert "in INBOX (unique id 7) after 3 s" in trip.trips(report(trips.trip(trips.copy(), look=look)))


def test_long_names_of_hops_go_on_below_and_nothing_is_cut() -> None:
    names = ("a-rather-long-name-of-a-host.department.a.test", "another-long-name-of-a-host.department.b.test")
    hop = trips.hop(names[1], names[0], 7_300.0, 7_299.0, protocol="UTF8SMTPSA")
    lines = trip.trips(report(trips.trip(trips.copy(hops=(hop,))))).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("hop"))
    last = next(number for number, line in enumerate(lines) if "total" in line)
    begins, between, ends = (lines[first].index(header) for header in ("from", "by", "with"))
    columns = ((begins, between), (between, ends))
    assert tuple("".join(line[slice(*each)].strip() for line in lines[first + 2 : last]) for each in columns) == names
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_width(width: int) -> None:
    for each in (report(*EVERY.values()), hostile()):
        for colour in (False, True):
            text = trip.trips(each, Style(colour=colour), width, verbose=True, explain=True)
            assert max(map(width_of, text.splitlines())) <= width


def test_hostile_words_stay_words_in_every_form() -> None:
    for text in (
        trip.trips(hostile()),
        trip.document(hostile()),
        trip.lines(hostile()),
        junit(trip.as_report(hostile())),
    ):
        assert_harmless(text)


def test_json_is_that_of_a_check_with_the_trips_beside_it() -> None:
    whole = report(GOOD, LOST)
    document = json.loads(trip.document(whole))
    shown = document.pop("trips")
    assert document == json.loads(json_output.findings(trip.as_report(whole)))
    assert [(each.pop("state"), each.pop("delay_s")) for each in shown] == [("arrived", 3.0), ("lost", None)]
    assert msgspec.convert(shown, tuple[Trip, ...]) == (GOOD, LOST)


def test_json_lines_have_a_letter_each_with_the_findings_about_it() -> None:
    lines = [json.loads(line) for line in trip.lines(report(GOOD, LOST)).splitlines()]
    assert [line["state"] for line in lines] == ["arrived", "lost"]
    verdicts = [{found["check"]: found["verdict"] for found in line["findings"]} for line in lines]
    assert verdicts[0]["trip-arrives"] == Verdict.OK
    assert verdicts[1]["trip-arrives"] == Verdict.FAIL


def test_evidence_of_a_trip_is_read_strictly() -> None:
    text = msgspec.json.encode(SKEWED)
    assert msgspec.json.decode(text, type=Trip) == SKEWED
    for broken in (
        text.replace(b'"token"', b'"tokens"'),
        text.replace(b'"junk":false', b'"junk":0'),
        text.replace(b"12:00:00Z", b"12:00:00"),
    ):
        assert broken != text
        with pytest.raises(msgspec.ValidationError, match=r"`\$|unknown field|missing required field"):
            msgspec.json.decode(broken, type=Trip)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.6, "2 min 0 s"),
        (125, "2 min 5 s"),
        (7199, "119 min 59 s"),
        (7200, "2 h 0 min"),
        (90_370, "25 h 6 min"),
        (-58, "-58 s"),
    ],
)
def test_spans_are_written_for_people(seconds: float, words: str) -> None:
    assert trip.span(seconds) == words
