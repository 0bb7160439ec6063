"""Trips as monitoring reads them: the line of a plugin, and metrics."""

from __future__ import annotations

import pytest

from mailprobe.output.nagios import State as Status
from mailprobe.output.trip_monitoring import metrics, nagios
from tests.checks import trips
from tests.output.samples import assert_harmless
from tests.output.test_machine_formats import exposition, performance_data
from tests.output.test_trip import EVERY, GOOD, LOST, PENDING, SKEWED, hostile, report

FLOWS = [report(each) for each in EVERY.values()] + [report(GOOD, LOST, PENDING), hostile()]
WAY = 'from="alice@a.test",to="bob@b.test"'


@pytest.mark.parametrize(
    ("name", "status", "head"),
    [
        ("good", Status.OK, "MAILPROBE OK - arrived after 3 s in INBOX, 2 hops: alice@a.test to bob@b.test |"),
        ("lost", Status.CRITICAL, "MAILPROBE CRITICAL - not-arrived after 300 s: alice@a.test to bob@b.test |"),
        ("bounced", Status.CRITICAL, "MAILPROBE CRITICAL - returned after 300 s: 5.1.1 smtp; 550 no such user |"),
        ("refused", Status.CRITICAL, "MAILPROBE CRITICAL - refused: 550 5.1.1 no such user: alice@... to bob@... |"),
        ("junked", Status.WARNING, "MAILPROBE WARNING - arrived after 3 s in Junk, 2 hops; trip-inbox |"),
        ("unread", Status.UNKNOWN, "MAILPROBE UNKNOWN - mailbox not read: the server refused while logging in"),
        ("uncertain", Status.UNKNOWN, "MAILPROBE UNKNOWN - not-arrived after 300 s, and nobody knows whether it"),
        ("not looked", Status.UNKNOWN, "MAILPROBE UNKNOWN - nobody looked: alice@a.test to bob@b.test |"),
        ("pending", Status.OK, "MAILPROBE OK - pending, accepted: 250 2.0.0 Ok: queued"),
    ],
)
def test_the_line_says_the_worst_and_gives_the_status(name: str, status: Status, head: str) -> None:
    text, got = nagios(report(EVERY[name]))
    assert got is status
    assert text.startswith(head)


def test_what_matters_comes_first_and_what_does_not_fit_is_left_out() -> None:
    long = {"sender": f"alice@{'a' * 60}.test", "recipient": f"bob@{'b' * 60}.test"}
    head = nagios(report(trips.trip(trips.copy(), **long)))[0].partition(" | ")[0]
    assert head == "MAILPROBE OK - arrived after 3 s in INBOX, 2 hops: alice@... to bob@..."
    altered = trips.copy(unchanged=False, difference="line 3 was " + "x" * 60)
    head = nagios(report(trips.trip(altered, **long)))[0].partition(" | ")[0]
    assert head == "MAILPROBE CRITICAL - arrived after 3 s in INBOX, 2 hops; trip-unchanged"


def test_performance_data_has_the_delay_with_its_limits_and_the_hops() -> None:
    line = nagios(report(GOOD))[0].splitlines()[0]
    assert " | delay=3s;95;300;0 hops=2;;;0 hop1=1s hop2=2s arrived=1;;;0 " in line
    line = nagios(report(LOST))[0].splitlines()[0]
    assert " | delay=U;95;300;0 hops=U;;;0 arrived=0;;;0 " in line


@pytest.mark.parametrize("flow", FLOWS, ids=range(len(FLOWS)))
def test_the_first_line_is_short_and_its_performance_data_is_in_order(flow: object) -> None:
    text, _ = nagios(flow)  # type: ignore[arg-type]
    first, *others = text.splitlines()
    assert len(first.partition(" | ")[0]) < 80
    assert not any("|" in line for line in others)
    quoted = " | " + " ".join(
        f"'{datum.partition('=')[0]}'={datum.partition('=')[2]}" for datum in first.partition(" | ")[2].split()
    )
    assert set(performance_data(quoted)) >= {"delay", "hops", "arrived", "lost"}
    assert_harmless(text)


def test_every_report_and_everything_that_is_wrong_has_a_line_below() -> None:
    text, _ = nagios(report(trips.trip(trips.copy(junk=True, folder="Junk"), bounces=(trips.bounce(),))))
    assert "CRITICAL: trip-unbounced: it came back" in text
    assert "WARNING: trip-inbox: delivered to Junk" in text
    assert "report: bob@b.test failed 5.1.1 smtp; 550 no such user, said mx.b.test" in text


def test_several_letters_are_counted() -> None:
    text, status = nagios(report(GOOD, PENDING))
    assert status is Status.OK
    assert text.startswith("MAILPROBE OK - 1 arrived, 1 pending: alice@a.test to bob@b.test | delay=3s;95;300;0 ")


def test_metrics_tell_the_delay_of_the_letter_and_of_each_hop() -> None:
    series = exposition(metrics(report(GOOD)))
    assert series[f"mailprobe_trip_delay_seconds{{{WAY}}}"] == 3.0
    assert series[f'mailprobe_trip_hop_delay_seconds{{{WAY},hop="1",by="mx.a.test"}}'] == 1.0
    assert series[f'mailprobe_trip_hop_delay_seconds{{{WAY},hop="2",by="mx.b.test"}}'] == 2.0
    assert series[f'mailprobe_trip_copies{{{WAY},junk="no"}}'] == 1
    assert series[f'mailprobe_trip_letters{{{WAY},state="arrived"}}'] == 1
    assert series[f'mailprobe_trip_letters{{{WAY},state="lost"}}'] == 0
    assert series['mailprobe_success{target="alice@a.test to bob@b.test"}'] == 1


def test_metrics_of_a_letter_that_is_lost_have_no_delay() -> None:
    series = exposition(metrics(report(LOST)))
    assert not [name for name in series if name.startswith("mailprobe_trip_delay")]
    assert series['mailprobe_success{target="alice@a.test to bob@b.test"}'] == 0


def test_metrics_of_an_asynchronous_run_are_about_the_last_letter_that_arrived() -> None:
    series = exposition(metrics(report(GOOD, PENDING)))
    assert series[f"mailprobe_trip_delay_seconds{{{WAY}}}"] == 3.0
    assert series[f'mailprobe_trip_letters{{{WAY},state="pending"}}'] == 1
    assert series['mailprobe_success{target="alice@a.test to bob@b.test"}'] == 1
    skewed = exposition(metrics(report(SKEWED)))
    assert skewed[f'mailprobe_trip_hop_delay_seconds{{{WAY},hop="2",by="mx.b.test"}}'] == -58.0


@pytest.mark.parametrize("flow", FLOWS, ids=range(len(FLOWS)))
def test_metrics_are_well_formed_whatever_was_found(flow: object) -> None:
    text = metrics(flow)  # type: ignore[arg-type]
    exposition(text)
    assert_harmless(text)
