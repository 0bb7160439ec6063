"""Plans: rules rewrite groups of actions, deterministically."""

from __future__ import annotations

from mailprobe.lab.plan import (
    Action,
    Close,
    Drip,
    Plan,
    Raw,
    Rule,
    Send,
    StartTls,
    after,
    before,
    dripping,
    edit,
    groups,
    instead,
    say,
    starting_tls,
)
from mailprobe.protocols import events

GO: list[Action] = [Send(b"220 go\r\n", "starttls"), StartTls()]


def test_groups_have_the_tag_of_what_is_sent_and_all_that_follows() -> None:
    happened: list[events.Event] = [
        Send(b"a", "rcpt"), Send(b"b", "rcpt"), Send(b"c", "quit"), events.Close(),
    ]  # fmt: skip
    assert groups(happened) == [
        ("rcpt", [Send(b"a", "rcpt")]),
        ("rcpt", [Send(b"b", "rcpt")]),
        ("quit", [Send(b"c", "quit"), Close()]),
    ]
    assert groups([Send(b"220", "starttls"), events.StartTls()]) == [
        ("starttls", [Send(b"220", "starttls"), StartTls()])
    ]


def test_an_empty_plan_changes_nothing() -> None:
    assert Plan().begin().apply("starttls", GO) == GO


def test_rules_apply_in_order_to_their_tag_and_security() -> None:
    plan = Plan(
        [
            Rule("ehlo", after(Raw(b"1"))),
            Rule("ehlo", before(Raw(b"2")), secure=True),
            Rule("helo", instead()),
        ]
    )
    assert plan.begin().apply("ehlo", []) == [Raw(b"1")]
    assert plan.begin().apply("ehlo", [], secure=True) == [Raw(b"2"), Raw(b"1")]
    assert plan.begin().apply("helo", GO) == []


def test_nth_counts_over_connections_and_only_what_fits() -> None:
    plan = Plan([Rule("noop", instead(), nth=2, secure=True)])
    first, second = plan.begin(), plan.begin()
    assert [first.apply("noop", GO, secure) for secure in (False, True)] == [GO, GO]
    assert second.apply("noop", GO, True) == []
    assert first.apply("noop", GO, True) == GO


def test_ways_to_rewrite() -> None:
    assert say(b"454 no\r\n")(GO) == [Send(b"454 no\r\n", "said")]
    assert edit(bytes.upper)(GO) == [Send(b"220 GO\r\n", "starttls"), StartTls()]
    assert starting_tls(StartTls(before=b"x"))(GO) == [GO[0], StartTls(before=b"x")]
    assert dripping(2, 0.5)(GO) == [Drip(b"220 go\r\n", 2, 0.5), StartTls()]
