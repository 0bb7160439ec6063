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
        "1  05:06:07.008   +0.0 ms  a.test  user agent hands over\n"
        "     <alice@a.test> to <bob@b.test>; ESMTPSA, TLSv1.3\n"
        "2  05:06:07.010     +2 ms  a.test  waits in the spool\n"
        "     maildrop/Q1, 1000 octets\n"
        "3  05:06:07.011     +3 ms  a.test  alias expander\n"
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
        "Q2: 450 4.7.1 Greylisted\n"
        "b.test\n"
        "queue id  state  recipient   tries  next try\n"
        "--------  -----  ----------  -----  --------\n"
        "Q3        sent   bob@b.test      1  -\n"
        "3 letters, 3 recipients\n"
    )


def test_times_of_days_are_written_as_days() -> None:
    text = road.timeline([EVENTS[0], event(What.EXPIRED, Step.BESIDE, 5 * 86_400)])
    assert "+5 d  a.test  given up" in text
