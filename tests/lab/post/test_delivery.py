"""The way of a letter from one site to another, and what stands in it."""

from __future__ import annotations

import email
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from mailprobe.lab.plan import Close, Rewrite, Rule, Send, instead, say
from mailprobe.lab.post.aliases import Aliases
from mailprobe.lab.post.control import Order
from mailprobe.lab.post.schedule import Schedule
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.post.waiting import read_rows
from mailprobe.lab.scenario import Change, Reach, Site
from mailprobe.lab.world import Lab
from mailprobe.model.road import What
from tests.lab.post.sites import ALICE, BOB, SENDER, arrived, events, happened, letter, relay, report_in, stored, submit

HERE, ERIN = "here.lab.test", "erin@here.lab.test"
HOUR = 3_600.0
DAY = 86_400.0


@contextmanager
def lab_with(
    *changes: Change, zone: Mapping[str, tuple[str, ...]] | None = None, addresses: int = 1, **post: Any
) -> Iterator[Lab]:
    """Run a lab that has the site here.lab.test, where erin lives, beside the two others."""
    office = PostSite(users={"erin": "secret", "frank": "secret"}, **post)
    site = Site(domain=HERE, zone=zone or {}, addresses=addresses, changes=changes, post=office)
    with Lab(sites=[site], complain=lambda text: pytest.fail(text)) as lab:
        yield lab


TWO_HOSTS = {"@ MX": ("10 mx1.{d}.", "20 mx2.{d}."), "mx A": (), "mx1 A": ("{a}",), "mx2 A": ("{b}",)}


def leave(reply: bytes) -> Rewrite:
    """Say something and hang up; a reply alone would leave the server in a transaction that the client is not in."""
    return instead(Send(reply, "said"), Close())


def report(lab: Lab, user: str = ALICE) -> tuple[str, str]:
    """Give action and status of the only report in a mailbox."""
    (data,) = stored(lab, user)
    return fate_in(data)


def fate_in(data: bytes) -> tuple[str, str]:
    recipient = report_in(data)["recipient"]
    return str(recipient["Action"]), str(recipient["Status"])


# -- which host -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        Change(address=0, ports=(25,), reach=Reach.REFUSED),
        Change(address=0, ports=(25,), rules=(Rule("greeting", say(b"421 4.3.2 Not now\r\n")),)),
        Change(address=0, ports=(25,), rules=(Rule("greeting", instead(Close("rst"))),)),
        Change(address=0, ports=(25,), rules=(Rule("mail", leave(b"421 4.3.2 Not now\r\n")),)),
        Change(address=0, ports=(25,), rules=(Rule("rcpt", leave(b"421 4.3.2 Not now\r\n")),)),
        Change(address=0, ports=(25,), rules=(Rule("eom", say(b"451 4.3.0 Later\r\n")),)),
    ],
    ids=["refused", "421", "reset", "mail", "rcpt", "eom"],
)
def test_the_next_host_gets_what_the_first_does_not_take_now(first: Change) -> None:
    with lab_with(first, zone=TWO_HOSTS, addresses=2) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert len(stored(lab, ERIN)) >= 1
        assert What.DEFERRED not in happened(lab)
        assert any(f"mx2.{HERE}" in event.detail for event in events(lab) if event.what is What.SENT)


def test_what_the_first_host_refuses_for_good_is_not_given_to_the_next() -> None:
    with lab_with(zone=TWO_HOSTS, addresses=2, unwelcome=("erin",)) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert stored(lab, ERIN) == []
        assert report(lab) == ("failed", "5.7.1")
        assert f"mx1.{HERE}" in stored(lab, ALICE)[0].decode()


def test_a_domain_without_exchangers_is_reached_by_its_own_address() -> None:
    with lab_with(zone={"@ MX": ()}) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        ("x@mx-null.lab.test", "5.1.10"),
        ("x@no-such-domain.test", "5.1.2"),
        ("x@-bad-.test", "5.1.2"),
    ],
)
def test_a_domain_that_no_mail_can_go_to_is_told_to_the_sender(recipient: str, status: str) -> None:
    with lab_with() as lab:
        submit(lab, recipient)
        lab.rest()
        assert report(lab) == ("failed", status)


def test_a_domain_whose_mail_comes_back_to_us_is_a_loop() -> None:
    with lab_with(zone={"@ MX": (f"10 mx.{SENDER}.",)}) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert report(lab) == ("failed", "5.4.6")
        assert b"loops back to myself" in stored(lab, ALICE)[0]


def test_a_domain_whose_dns_fails_is_tried_again() -> None:
    with lab_with() as lab:
        submit(lab, "x@dns-servfail.lab.test")
        lab.rest(30)
        (row,) = read_rows(lab.mail_directory / SENDER)
        assert row.state == "deferred"
        assert row.reply.startswith("451 4.4.3")


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(ports=(25,)), "TLSv1.3"),
        (Change(ports=(25,), config={"starttls": False}), "in clear"),
        (Change(ports=(25,), rules=(Rule("starttls", say(b"454 4.7.0 TLS not available\r\n")),)), "in clear"),
        (
            Change(ports=(25,), rules=(Rule("starttls", say(b"220 go on\r\nnonsense, not a handshake\r\n")),)),
            "in clear",
        ),
    ],
    ids=["offered", "not-offered", "refused", "broken"],
)
def test_tls_is_used_where_it_can_be(change: Change, words: str) -> None:
    with lab_with(change) as lab:
        submit(lab, ERIN)
        lab.rest(30)
        assert len(stored(lab, ERIN)) == 1
        (sent,) = [event.detail for event in events(lab) if event.what is What.SENT]
        assert sent.partition(": ")[0].endswith(words)


def test_a_letter_that_must_have_tls_does_not_go_without() -> None:
    with lab_with(Change(ports=(25,), config={"starttls": False})) as lab:
        submit(lab, ERIN, options=["REQUIRETLS"])
        lab.rest()
        assert stored(lab, ERIN) == []
        assert report(lab) == ("failed", "5.7.30")
    with lab_with() as lab:
        submit(lab, ERIN, options=["REQUIRETLS"])
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


# -- later ------------------------------------------------------------------------------------------------------


def test_a_letter_is_tried_again_when_its_time_has_come() -> None:
    with lab_with(greylist_s=700) as lab:
        submit(lab, ERIN)
        lab.rest()
        for seconds, count in ((299, 0), (2, 0), (601, 1)):
            lab.order(Order("tick", seconds=seconds))
            lab.rest()
            assert len(stored(lab, ERIN)) == count
        assert happened(lab).count(What.DEFERRED) == 2


def test_flushing_tries_at_once() -> None:
    once = Change(ports=(25,), rules=(Rule("mail", leave(b"421 4.3.2 Not now\r\n"), nth=1),))
    with lab_with(once) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert stored(lab, ERIN) == []
        lab.order(Order("flush"))
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


def test_waiting_can_be_skipped() -> None:
    with lab_with(greylist_s=600) as lab:
        before = lab.now()
        lab.skips_waiting = True
        submit(lab, ERIN)
        lab.rest()
        assert len(stored(lab, ERIN)) == 1
        assert (lab.now() - before).total_seconds() >= 600


def test_a_letter_that_never_goes_is_given_up_and_its_sender_warned_before() -> None:
    site = Site(
        domain="away.lab.test",
        post=PostSite(users={"gus": "secret"}, schedule=Schedule(lifetime_s=2 * HOUR, delay_warning_s=HOUR)),
    )
    here = Site(domain=HERE, post=PostSite(users={"erin": "secret"}, greylist_s=9 * DAY))
    with Lab(sites=[site, here]) as lab:
        lab.skips_waiting = True
        submit(lab, ERIN, sender="gus@away.lab.test", user="gus", site="away.lab.test")
        lab.rest(30)
        found = sorted(fate_in(data) for data in stored(lab, "gus@away.lab.test"))
        assert found == [("delayed", "4.7.1"), ("failed", "4.7.1")]
        assert What.EXPIRED in happened(lab)
        assert What.DELAYED in happened(lab)


def test_a_lost_reply_to_the_end_of_a_letter_makes_two_of_it() -> None:
    lost = Change(ports=(25,), rules=(Rule("eom", instead(Close("rst")), nth=1),))
    with lab_with(lost) as lab:
        lab.skips_waiting = True
        submit(lab, ERIN)
        lab.rest()
        assert [arrived(data) for data in stored(lab, ERIN)] == [letter()] * 2


# -- one of several ---------------------------------------------------------------------------------------------


def test_each_recipient_has_a_fate_of_its_own() -> None:
    with lab_with(unwelcome=("frank",)) as lab:
        submit(lab, ERIN, f"frank@{HERE}", BOB)
        lab.rest()
        assert len(stored(lab, ERIN)) == len(stored(lab, BOB)) == 1
        assert stored(lab, f"frank@{HERE}") == []
        assert report(lab) == ("failed", "5.7.1")


def test_a_hundred_recipients_and_more_get_the_letter_once_each() -> None:
    users = {f"user{number}": "secret" for number in range(130)}
    site = Site(domain="crowd.lab.test", post=PostSite(users=users))
    with Lab(sites=[site]) as lab:
        lab.lab_file()
        path = lab.mail_directory / SENDER / "all"
        path.write_text("\n".join(f"{user}@crowd.lab.test" for user in users))
        table = Aliases(lab.mail_directory / SENDER / "aliases.db")
        table.set("all", [":include:all"])
        table.close()
        submit(lab, f"all@{SENDER}")
        lab.rest(30)
        assert all(len(stored(lab, f"{user}@crowd.lab.test")) == 1 for user in users)


# -- loops ------------------------------------------------------------------------------------------------------


def test_two_sites_that_forward_to_each_other_are_stopped_by_the_hop_limit() -> None:
    there = Site(domain="there.lab.test", post=PostSite(users={"erin": "secret"}, forwards_to=HERE, hop_limit=10))
    here = Site(domain=HERE, post=PostSite(users={"erin": "secret"}, forwards_to="there.lab.test", hop_limit=10))
    with Lab(sites=[here, there]) as lab:
        submit(lab, ERIN)
        lab.rest(30)
        assert report(lab) == ("failed", "5.4.6")
        taken = [
            event for event in events(lab) if event.what is What.RECEIVED and ALICE in event.detail.split(" to ")[0]
        ]
        assert len(taken) == 9  # and alice's own office was the first hop


def test_a_letter_that_was_delivered_here_before_is_not_delivered_again() -> None:
    with lab_with() as lab:
        submit(lab, ERIN, data=b"Delivered-To: erin@HERE.lab.test\r\n" + letter())
        lab.rest()
        assert stored(lab, ERIN) == []
        assert report(lab) == ("failed", "5.4.6")


def test_an_alias_loop_is_told_with_its_path() -> None:
    with lab_with(aliases="one: two\ntwo: one\n") as lab:
        submit(lab, f"one@{HERE}")
        lab.rest()
        assert report(lab) == ("failed", "5.4.6")
        assert b"one -> two -> one" in stored(lab, ALICE)[0]


def test_a_list_without_members_takes_the_letter_and_that_is_all() -> None:
    with lab_with(aliases="none: :include:empty\n") as lab:
        lab.order(Order("status"))
        submit(lab, f"amir@{SENDER}")
        lab.rest()
        (lab.mail_directory / HERE).mkdir(exist_ok=True)
        (lab.mail_directory / HERE / "empty").write_text("# nobody\n")
        submit(lab, f"none@{HERE}", data=letter(2))
        lab.rest()
        assert list((lab.mail_directory / HERE / "queue").iterdir()) == []


# -- what a site does otherwise ---------------------------------------------------------------------------------


def test_a_site_can_wait_before_it_delivers() -> None:
    with lab_with(hold_s=90) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert stored(lab, ERIN) == []
        lab.order(Order("tick", seconds=91))
        lab.rest()
        assert len(stored(lab, ERIN)) == 1


def test_a_site_can_drop_letters_silently() -> None:
    with lab_with(drops=True) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert stored(lab, ERIN) == stored(lab, ALICE) == []
        assert What.DROPPED in happened(lab)


def test_letters_with_certain_words_go_to_junk() -> None:
    with lab_with(junk_words=("lottery",)) as lab:
        submit(lab, ERIN, data=letter(body=b"You won the LOTTERY\r\n"))
        lab.rest()
        assert stored(lab, ERIN) == []
        assert len(stored(lab, ERIN, ".Junk")) == 1


def test_a_site_can_leave_out_its_trace_or_date_it_wrongly() -> None:
    with lab_with(adds_received=False) as lab:
        submit(lab, ERIN)
        lab.rest()
        assert stored(lab, ERIN)[0].count(b"Received:") == 1
    with lab_with(clock_skew_s=2 * DAY) as lab:
        submit(lab, ERIN)
        lab.rest()
        second, first = email.message_from_bytes(stored(lab, ERIN)[0]).get_all("Received") or []
        assert second.rpartition(";")[2] != first.rpartition(";")[2]


def test_a_full_mailbox_defers_or_bounces() -> None:
    big = letter(2, body=b"x" * 70 + b"\r\n" * 1_000)
    for final, status in ((True, ("failed", "5.2.2")), (False, None)):
        with lab_with(quota_octets=2_000, quota_final=final) as lab:
            submit(lab, ERIN, data=big)
            lab.rest()
            assert stored(lab, ERIN) == []
            if status is not None:
                assert [fate_in(data) for data in stored(lab, f"postmaster@{HERE}") or stored(lab, ALICE)] == [status]
            else:
                (row,) = read_rows(lab.mail_directory / HERE)
                assert row.reply.startswith("452 4.2.2")


# -- many -------------------------------------------------------------------------------------------------------


def test_many_letters_arrive_once_each() -> None:
    with lab_with() as lab:
        for number in range(60):
            relay(lab, ERIN, data=letter(number), site=HERE)
        for number in range(60, 90):
            submit(lab, ERIN, data=letter(number))
        lab.rest(30)
        found = sorted(email.message_from_bytes(data)["Message-ID"] for data in stored(lab, ERIN))
        assert found == sorted(f"<{number}@test>" for number in range(90))
