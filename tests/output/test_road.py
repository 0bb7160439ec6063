"""The road of a letter as text: every line fits, every step has its place, and nothing of a stranger's acts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailprobe.model.road import Part, RoadEvent, Step, Waiting, What
from mailprobe.output import road
from mailprobe.output.widths import width_of

NOW = datetime(2024, 3, 4, 5, 6, 7, 8_000, tzinfo=UTC)


def event(what: What, step: Step, after_s: float = 0.0, site: str = "a.test", **otherwise: str) -> RoadEvent:
    fields = {"queue_id": "Q1", "message_id": "<1@a.test>", "recipient": "bob@b.test", "detail": "", **otherwise}
    return RoadEvent(at=NOW + timedelta(seconds=after_s), site=site, step=step, what=what, **fields)


def waiting(state: str = "deferred", **otherwise: object) -> Waiting:
    fields: dict[str, object] = {
        "site": "a.test",
        "queue_id": "Q1",
        "message_id": "<1@a.test>",
        "arrived": NOW,
        "size": 1_000,
        "sender": "alice@a.test",
        "recipient": "bob@b.test",
        "state": state,
        "tries": 1,
        "next_try": NOW + timedelta(minutes=5),
        "reply": "",
    }
    return Waiting(**{**fields, **otherwise})  # type: ignore[arg-type]


EVENTS = [
    event(What.HANDED_OVER, Step.HANDED_OVER, recipient="", detail="<alice@a.test> to <bob@b.test>; ESMTPSA, TLSv1.3"),
    event(What.SPOOLED, Step.SPOOLED, 0.002, recipient="", detail="maildrop/Q1, 1000 octets"),
    event(What.EXPANDED, Step.EXPANDED, 0.003, detail="-> bob@b.test"),
    event(What.TAKEN, Step.TAKEN, 75),
]


def test_a_letter_under_way_is_shown_with_what_it_waits_for() -> None:
    assert road.timeline(EVENTS, [waiting("active")], {("a.test", Part.CLIENT)}) == (
        "<1@a.test>, 2024-03-04 05:06:07 UTC\n"
        "\n"
        "1  05:06:07.008    +0.0 ms  a.test  user agent hands over\n"
        "     <alice@a.test> to <bob@b.test>; ESMTPSA, TLSv1.3\n"
        "2  05:06:07.010      +2 ms  a.test  waits in the spool\n"
        "     maildrop/Q1, 1000 octets\n"
        "3  05:06:07.011      +3 ms  a.test  alias expander\n"
        "     bob@b.test -> bob@b.test\n"
        "4  05:07:22.008  +1.25 min  a.test  MTA client takes it\n"
        "     bob@b.test\n"
        "bob@b.test: waits in the queue (active) at a.test: the MTA client is paused\n"
        "not reached: 5 crosses the network, 6 alias expander finds the target, 7\n"
        "     stored in the mailbox, 8 user agent reads it\n"
    )


def test_a_letter_that_was_read_has_no_more_to_come() -> None:
    text = road.timeline([*EVENTS, event(What.READ, Step.READ, 80, site="b.test", detail="IMAP")])
    assert "not reached" not in text
    assert "8  05:07:27.008  +1.33 min  b.test  user agent reads it\n" in text


def test_a_letter_that_was_given_up_has_no_more_to_come() -> None:
    bounced = event(What.BOUNCED, Step.BESIDE, 80, detail="550 5.1.1 no")
    assert "not reached" not in road.timeline([*EVENTS, bounced], [waiting("bounced")])
    assert "not reached" in road.timeline([*EVENTS, bounced], [waiting("deferred")])


@pytest.mark.parametrize(
    ("count", "row", "part", "words"),
    [
        (2, waiting("spool"), Part.PICKUP, "waits in the spool at a.test: the pickup is paused"),
        (
            2,
            waiting("incoming"),
            Part.EXPANDER,
            "waits in the queue (incoming) at a.test: the alias expander is paused",
        ),
        (3, waiting("incoming"), Part.CLIENT, "waits in the queue (incoming) at a.test: the MTA client is paused"),
        (
            3,
            waiting("incoming", recipient="bob@a.test"),
            Part.MAILBOX,
            "waits in the queue (incoming) at a.test: the delivery into mailboxes is paused",
        ),
        (3, waiting(), Part.READER, "waits in the queue (deferred) at a.test; next try 2024-03-04 05:11:07 UTC"),
    ],
)
def test_where_a_letter_waits_is_named_with_the_reason(count: int, row: Waiting, part: Part, words: str) -> None:
    text = " ".join(road.timeline(EVENTS[:count], [row], {("a.test", part)}).split())
    assert words in text


@pytest.mark.parametrize("state", ["spool", "incoming", "active", "deferred"])
@pytest.mark.parametrize(
    ("count", "recipient", "part"),
    [(2, "bob@b.test", Part.EXPANDER), (3, "bob@b.test", Part.CLIENT), (3, "bob@virtual.a.test", Part.MAILBOX)],
)
def test_what_is_paused_is_named_with_the_command_that_resumes_it(
    count: int, recipient: str, part: Part, state: str
) -> None:
    part = Part.PICKUP if state == "spool" else part
    row = waiting(state, recipient=recipient)
    text = " ".join(road.timeline(EVENTS[:count], [row], {("a.test", part)}, advice=True).split())
    assert f"{road.PARTS[part]} is paused; `mailprobe lab resume {part.value}` lets it go on" in text
    assert "mailprobe lab" not in road.timeline(EVENTS[:count], [row], {("a.test", part)})


def test_a_server_that_is_paused_at_the_other_side_is_named() -> None:
    text = " ".join(road.timeline(EVENTS, [waiting()], {("b.test", Part.SERVER)}, advice=True).split())
    assert "the MTA server at b.test is paused; `mailprobe lab resume server` lets it go on" in text
    assert "and `mailprobe lab flush` sends it at once" in text


def test_a_command_to_be_typed_is_not_broken() -> None:
    for length in range(1, 60):
        row = waiting(recipient=f"{'b' * length}@b.test")
        text = road.timeline(EVENTS, [row], {("b.test", Part.SERVER)}, advice=True)
        assert "`mailprobe lab resume server`" in text
        assert "`mailprobe lab flush`" in text


def stored(recipient: str, after_s: float = 1.0, queue_id: str = "Q2") -> RoadEvent:
    return event(What.STORED, Step.STORED, after_s, site="b.test", queue_id=queue_id, recipient=recipient)


def read(recipient: str, after_s: float = 2.0, queue_id: str = "Q2") -> RoadEvent:
    return event(What.READ, Step.READ, after_s, site="b.test", queue_id=queue_id, recipient=recipient)


def test_a_letter_in_a_mailbox_waits_for_somebody_to_read_it() -> None:
    both = [*EVENTS, stored("bob@b.test"), stored("carol+x@b.test")]
    text = " ".join(road.timeline(both).split())
    assert "bob@b.test: waits in the mailbox at b.test for somebody to read it carol+x@b.test: waits" in text
    assert "not reached" not in text
    text = road.timeline([*both, read("carol@b.test")], (), {("b.test", Part.READER)}, advice=True)
    assert "carol+x@b.test: waits" not in text
    assert "the reading of mailboxes is paused; `mailprobe lab resume reader`" in " ".join(text.split())
    assert "waits in the mailbox" not in road.timeline([*both, read("carol@b.test"), read("bob@b.test")])


def test_whose_mailbox_it_was_need_not_be_in_the_address() -> None:
    assert road.unread([stored("postmaster@b.test"), read("alice@b.test")]) == []


def test_a_letter_is_done_with_when_it_is_stored_or_when_it_is_read() -> None:
    assert not road.is_over([], [])
    assert not road.is_over(EVENTS, [waiting("active")])
    at_the_end = [*EVENTS, stored("bob@b.test")]
    assert road.is_over(at_the_end, [])
    assert not road.is_over(at_the_end, [], until_read=True)
    assert road.is_over([*at_the_end, read("bob@b.test")], [], until_read=True)


def test_a_letter_is_stored_before_it_is_read() -> None:
    text = road.timeline([*EVENTS, read("bob@b.test", 1), stored("bob@b.test", 1.005)])
    assert text.index("stored in the mailbox") < text.index("user agent reads it")


def test_a_letter_that_comes_twice_is_told_apart() -> None:
    text = road.timeline([*EVENTS, stored("bob@b.test"), stored("bob@b.test", 300, "Q3")])
    assert "\n\nat b.test as Q2\n" in text
    assert "\n\nat b.test as Q3: the same letter once more\n" in text
    assert "at b.test as" not in road.timeline([*EVENTS, stored("bob@b.test")])


def test_a_long_site_name_has_its_label_below() -> None:
    site = "flow-alias-nested.lab.test"
    path = f"INBOX: mail/bob/new/{'1795619116.2573TC8TNENIQR1.'}{site},S=139100,W=139100,more=1"
    lines = [
        event(What.TARGETED, Step.TARGETED, site=site),
        event(What.STORED, Step.STORED, site=site, detail=path),
        event(What.DUPLICATE, Step.BESIDE, site="receiver.lab.test"),
    ]
    text = road.timeline(lines)
    assert f"{site}\n     alias expander finds the target\n" in text
    assert "receiver.lab.test\n     left out: a second way to the same mailbox\n" in text
    assert (
        "mail/bob/new/\n     1795619116.2573TC8TNENIQR1.flow-alias-nested.lab.test,S=139100,W=139100,\n     more=1\n"
        in text
    )
    assert max(map(width_of, text.split("\n"))) <= 80
    for each in lines:
        written = road.entry(each, NOW, road.site_columns([site, "receiver.lab.test"]))
        assert written in text


def test_a_reply_is_written_once_with_those_it_is_about() -> None:
    rows = [waiting(queue_id=f"Q{number}", reply="421 4.3.2 Paused") for number in range(5)]
    text = road.queue([*rows, waiting(queue_id="Q9", reply="450 4.7.1 Greylisted")])
    assert text.count("421 4.3.2 Paused") == 1
    assert "\n\nQ0 bob@b.test, Q1 bob@b.test, Q2 bob@b.test and 2 more: 421 4.3.2 Paused\n" in text
    assert "\nQ9 bob@b.test: 450 4.7.1 Greylisted\n\n6 letters" in text


def test_what_a_stranger_wrote_cannot_move_a_terminal() -> None:
    nasty = "evil\x1b[2J\r\n\u202e\x07"
    lines = [event(What.SENT, Step.SENT, recipient=nasty, detail=nasty, message_id=f"<{nasty}>")]
    texts = [
        road.timeline(lines, [waiting(recipient=nasty, reply=nasty)]),
        road.queue([waiting(recipient=nasty, reply=nasty)]),
        road.aliases([(nasty, [nasty])]),
        road.mailbox([(1, nasty, nasty, nasty, nasty, 5)]),
    ]
    for text in texts:
        assert "evil" in text
        assert not any(char in text for char in "\x1b\r\x07\u202e")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = f"{'user' * 20}@{'label.' * 12}test"
    text = road.timeline(
        [event(What.SENT, Step.SENT, recipient=long, detail=f"{long} " * 5)],
        [waiting(recipient=long)],
        width=max(80, width),
    )
    text += road.queue([waiting(recipient=long, reply=f"550 {long}")], width=width)
    text += road.aliases([(long, [long] * 9)], width=width)
    text += road.mailbox([(1, "INBOX", "2024-03-04 05:06", long, long, 123_456)], width=max(60, width))
    assert max(map(width_of, text.split("\n"))) <= max(80, width)


def test_an_empty_queue_table_or_mailbox_says_so() -> None:
    assert road.queue([]) == "the queues are empty\n"
    assert road.aliases([]) == "no aliases\n"
    assert road.mailbox([]) == "the mailbox is empty\n"
    assert road.timeline([]) == ""


def test_of_very_many_rows_the_last_are_shown() -> None:
    more = "5 more before these; --format json has all\n"
    assert road.aliases([(f"a{n}", ("b",)) for n in range(1_005)]).startswith(f"{more}alias")
    assert road.mailbox([(n, "INBOX", "", "", "", 1) for n in range(1_005)]).startswith(f"{more}number")
    queue = road.queue([waiting(queue_id=f"q{n}") for n in range(1_005)])
    assert queue.startswith(more)
    assert queue.endswith("1005 letters, 1005 recipients\n")


def test_the_queue_is_a_table_for_each_site() -> None:
    rows = [
        waiting("spool", tries=0, next_try=None),
        waiting(queue_id="Q2", reply="450 4.7.1 Greylisted"),
        waiting("sent", site="b.test", queue_id="Q3"),
    ]
    assert road.queue(rows) == (
        "a.test\n"
        "queue id  state     recipient   tries  next try\n"
        "--------  --------  ----------  -----  --------\n"
        "Q1        spool     bob@b.test      1  -\n".replace("1  -", "0  -")
        + "Q2        deferred  bob@b.test      1  05:11:07\n"
        "\n"
        "Q2 bob@b.test: 450 4.7.1 Greylisted\n"
        "\n"
        "b.test\n"
        "queue id  state  recipient   tries  next try\n"
        "--------  -----  ----------  -----  --------\n"
        "Q3        sent   bob@b.test      1  -\n"
        "\n"
        "3 letters, 3 recipients\n"
    )


def test_times_of_days_are_written_as_days() -> None:
    text = road.timeline([EVENTS[0], event(What.EXPIRED, Step.BESIDE, 5 * 86_400)])
    assert "+5 d  a.test  given up" in text
