"""Small hand-made trips: a letter from alice to bob that arrives after three seconds, unless told otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Kind, Stage, Trouble
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending
from mailprobe.model.trip import Access, Bounce, Copy, Hop, Look, Thresholds, Trip
from tests.checks.factories import NOW, reply, trouble

SENDER, RECIPIENT = "alice@a.test", "bob@b.test"
TOKEN = "mp-0123456789abcdef"
MESSAGE_ID = f"<{TOKEN}@a.test>"
ARRIVED = NOW + timedelta(seconds=3)


def conversation(host: str = "mx.a.test", address: str = "192.0.2.1", **changes: Any) -> Conversation:
    made = Conversation(
        service="submission",
        host=host,
        address=address,
        port=587,
        greeting=reply(f"220 {host} ESMTP"),
        exchanges=(),
        before_tls=None,
        after_tls=None,
        after_login=None,
        leftover=b"",
        tls=None,
        login=None,
        timings={},
        trouble=None,
    )
    return msgspec.structs.replace(made, **changes)


def sending(
    outcome: Outcome = Outcome.ACCEPTED,
    words: str = "250 2.0.0 Ok: queued as ABC",
    stage: Stage = Stage.MESSAGE,
    because: Trouble | None = None,
    detail: str = "",
) -> Sending:
    """What came of handing over the letter; *because* is what ended the conversation."""
    return Sending(
        message_id=MESSAGE_ID,
        sender=SENDER,
        size=1234,
        started=NOW,
        ms=80.0,
        conversations=(conversation(trouble=because),),
        recipients=(
            RecipientOutcome(
                address=RECIPIENT,
                outcome=outcome,
                stage=stage,
                reply=reply(words) if words else None,
                detail=detail,
            ),
        ),
    )


def not_sent(stage: Stage, kind: Kind, detail: str = "what happened") -> Sending:
    return sending(Outcome.NOT_SENT, "", stage, trouble(stage, kind, detail), detail)


def hop(by: str, client: str, at_s: float | None = 1.0, delay_s: float | None = 1.0, **changes: Any) -> Hop:
    """A hop *at_s* seconds after the letter was sent, over TLS."""
    made = Hop(
        by=by,
        client=client,
        client_address="192.0.2.9",
        protocol="ESMTPS",
        tls=True,
        queue_id="Q",
        at=NOW + timedelta(seconds=at_s) if at_s is not None else None,
        delay_s=delay_s,
    )
    return msgspec.structs.replace(made, **changes)


ROAD = (hop("mx.a.test", "laptop.a.test", 1.0), hop("mx.b.test", "mx.a.test", 3.0, 2.0))


def copy(**changes: Any) -> Copy:
    made = Copy(
        folder="INBOX",
        junk=False,
        uid="7",
        seen_at=ARRIVED,
        watched=True,
        arrived_at=ARRIVED,
        fetched=True,
        hops=ROAD,
        unchanged=True,
        difference="",
        removed=True,
    )
    return msgspec.structs.replace(made, **changes)


def unfetched(**changes: Any) -> Copy:
    """A copy that was seen and could not be fetched."""
    return copy(**{"fetched": False, "hops": (), "unchanged": None, **changes})


def bounce(action: str = "failed", status: str = "5.1.1", diagnostic: str = "smtp; 550 no such user") -> Bounce:
    return Bounce(
        recipient=RECIPIENT,
        action=action,
        status=status,
        diagnostic=diagnostic,
        remote="mx.b.test",
        folder="INBOX",
        uid="9",
        removed=True,
    )


def look(user: str = "bob", stopped: Trouble | None = None, folders: tuple[str, ...] = ("INBOX", "Junk")) -> Look:
    return Look(user=user, access=Access.IMAP, folders=folders, conversation=None, trouble=stopped)


def trip(*copies: Copy, **changes: Any) -> Trip:
    """A trip with these copies; without any nothing was found within the wait."""
    made = Trip(
        sender=SENDER,
        recipient=RECIPIENT,
        token=TOKEN,
        message_id=MESSAGE_ID,
        sent_at=NOW,
        sending=sending(),
        look=look(),
        sender_look=look("alice"),
        copies=copies,
        bounces=(),
        thresholds=Thresholds(warn_s=95.0, crit_s=300.0, wait_s=300.0),
        looked_at=ARRIVED if copies else NOW + timedelta(seconds=300),
        waited_s=3.0 if copies else 300.0,
        pending=False,
    )
    return msgspec.structs.replace(made, **changes)


GOOD = trip(copy())
