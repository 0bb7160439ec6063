"""A letter sent on purpose: whether it was taken, came, came once, in time and as it was."""

from __future__ import annotations

from collections.abc import Iterator

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.undecided import cause_of
from mailprobe.model.evidence import Kind, Stage, Trouble
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.sending import Outcome, RecipientOutcome
from mailprobe.model.trip import Bounce, Trip
from mailprobe.protocols.smtp.client import reply_text

# What a server does to us, not what keeps us from reaching it.
_DEFINITE = {Kind.REFUSED, Kind.REJECTED, Kind.GARBAGE, Kind.LIMIT, Kind.TLS_ALERT, Kind.NOT_TLS, Kind.TLS_FAILED}
_KEPT_OUT = {Outcome.REFUSED, Outcome.DEFERRED, Outcome.NOT_SENT}
# How much more than a limit is no more: dates in Received fields have whole seconds, and queues wake up late.
_GRACE_S, _GRACE = 1.0, 0.01
_MORE_DIGITS = 3
_TOO_OFTEN = ("LIMIT", "LOGIN-DELAY")  # RFC 5530 §3, RFC 2449 §8.1.1
_NOBODY_SPOKE = "Look whether the server is named rightly, whether it runs, and whether it can be reached from here."
_NO_WAY_IN = "Look at the address, and at the MX records of its domain: they leave no way to hand a letter over."


# -- sent -------------------------------------------------------------------------------------------------------


@check(
    id="trip-accepted",
    claim="The server takes the letter",
    severity=Severity.ERROR,
    source="RFC 5321 §3.3 and §4.2.1",
    advice="Read the server's words: they name the address, the login or the policy that it wants otherwise.",
)
def trip_accepted(trip: Trip) -> Judgement:
    """With 250 to the end of the letter a server takes responsibility for it; before that nothing has been sent."""
    outcome = trip.outcome
    if outcome is None:
        return unknown(Cause.INTERRUPTED, "the run that sent the letter ended before it noted what came of it")
    match outcome.outcome:
        case Outcome.ACCEPTED:
            return ok(_said(outcome))
        case Outcome.REFUSED:
            advice = _NO_WAY_IN if outcome.reply is None else ""
            return fail(f"{trip.recipient} was refused: {_said(outcome)}", _said(outcome), advice=advice)
        case Outcome.DEFERRED:
            return _deferred(outcome)
        case Outcome.UNCERTAIN if trip.copies:
            return ok("no reply came to the end of the letter, but it arrived")
        case Outcome.UNCERTAIN:
            return unknown(Cause.INTERRUPTED, f"the letter was out, and no reply came to its end: {_said(outcome)}")
    return _not_sent(trip, outcome)


def _said(outcome: RecipientOutcome) -> str:
    """Give the words that decided: the server's, or ours where it said none."""
    if outcome.reply is None:
        return outcome.detail
    return " ".join([outcome.reply.status, *(reply_text(line).strip() for line in outcome.reply.lines)])


def _deferred(outcome: RecipientOutcome) -> Judgement:
    trouble = Trouble(stage=outcome.stage, kind=Kind.TEMPORARY, detail=_said(outcome))
    return unknown(cause_of(trouble), f"the server asks to come back later: {_said(outcome)}")


def _not_sent(trip: Trip, outcome: RecipientOutcome) -> Judgement:
    trouble = _last_trouble(trip)
    told = outcome.detail or (trouble.detail if trouble is not None else "it did not come to that")
    detail = f"not sent: {told}"
    if outcome.stage is Stage.RESOLVE and trouble is None:
        return unknown(Cause.RESOLVER_FAILED, f"{detail}; --submit and --mx name other ways")
    if told.startswith("5.") or (trouble is not None and trouble.kind in _DEFINITE):
        return fail(detail, told, advice="" if _was_spoken_to(trip) else _NOBODY_SPOKE)
    if outcome.stage is Stage.RESOLVE:
        return unknown(Cause.RESOLVER_FAILED, detail)
    if trouble is None:
        return unknown(Cause.INTERRUPTED, detail)
    if trouble.stage is Stage.CONNECT and trouble.kind in {Kind.TIMEOUT, Kind.UNREACHABLE, Kind.LOCAL}:
        return unknown(Cause.BLOCKED_HERE, detail)
    return unknown(cause_of(trouble), detail)


def _last_trouble(trip: Trip) -> Trouble | None:
    """Give what ended the last conversation that ended in trouble."""
    held = trip.sending.conversations if trip.sending is not None else ()
    return next((each.trouble for each in reversed(held) if each.trouble is not None), None)


def _was_spoken_to(trip: Trip) -> bool:
    """Tell whether a server said anything at all."""
    return trip.sending is not None and any(each.greeting is not None for each in trip.sending.conversations)


# -- arrived ----------------------------------------------------------------------------------------------------


@check(
    id="trip-arrives",
    claim="The letter arrives in the recipient's mailbox",
    severity=Severity.ERROR,
    source="RFC 5321 §6.1",
    advice="Look for its Message-ID in the logs of the server that took it, and follow it from there hop by hop.",
)
def trip_arrives(trip: Trip) -> Judgement:
    """A letter that a server has taken must be delivered or sent back; one that is neither is lost."""
    if trip.copies:
        return ok(f"in {trip.copies[0].folder}{_after(trip)}")
    bounce = next(_failures(trip), None)
    if bounce is not None:
        return fail(f"it came back: {_told(bounce)}", bounce.status, advice=_after_bounce(bounce))
    if trip.pending:
        return not_applicable("not yet; a later run looks again")
    if _kept_out(trip):
        return not_applicable("the letter was not taken")
    if trip.look is None or trip.look.trouble is not None:
        return _unread(trip)
    if trip.outcome is None or trip.outcome.outcome is Outcome.UNCERTAIN:
        return unknown(Cause.INTERRUPTED, f"nothing within {seconds(trip.waited_s)}; nobody knows whether it was taken")
    return _lost(trip)


def _lost(trip: Trip) -> Judgement:
    where = " and ".join(trip.look.folders) if trip.look is not None else ""
    delayed = next((f"; the server reports: {_told(each)}" for each in trip.bounces if each.action == "delayed"), "")
    waited = f"not in {where} after {seconds(trip.waited_s)}" if where else f"not after {seconds(trip.waited_s)}"
    return fail(f"accepted, never arrived: {waited}{delayed}", trip.message_id)


def _after(trip: Trip) -> str:
    return f" after {seconds(trip.delay_s)}" if trip.delay_s is not None else ""


def _failures(trip: Trip) -> Iterator[Bounce]:
    return (bounce for bounce in trip.bounces if bounce.action == "failed")


def _after_bounce(bounce: Bounce) -> str:
    """Say what to do about a letter that came back."""
    who = f"the postmaster of {bounce.remote}" if bounce.remote else "the postmaster of that server"
    words = f" ({bounce.diagnostic})" if bounce.diagnostic else ""
    return f"The report says why{words}: mend that address, or ask {who}."


def _told(bounce: Bounce) -> str:
    """Say what a report tells of a recipient."""
    by = f" (said {bounce.remote})" if bounce.remote else ""
    parts = (bounce.recipient, bounce.action, bounce.status, bounce.diagnostic)
    return " ".join(part for part in parts if part) + by


def _unread(trip: Trip) -> Judgement:
    """Judge what nobody could see: the mailbox was not read."""
    if trip.look is None or trip.look.trouble is None:
        return unknown(Cause.NOT_ASKED, "the mailbox was not looked at")
    trouble = trip.look.trouble
    told = f"{trouble.stage.value}: {trouble.detail}"
    if trouble.stage is Stage.LOGIN and trouble.kind is Kind.REJECTED:
        told = f"{trip.look.user} cannot log in: {trouble.detail}; --to-user names another user"
    return unknown(_cause(trouble), f"the mailbox could not be read: {told}")


def _cause(trouble: Trouble) -> Cause:
    """Name what kept a mailbox from being read: that it is closed for now is no limit on how often we may ask."""
    if trouble.kind is not Kind.TEMPORARY:
        return cause_of(trouble)
    if trouble.stage is Stage.RESOLVE:
        return Cause.RESOLVER_FAILED
    return Cause.RATE_LIMITED if any(code in trouble.detail.upper() for code in _TOO_OFTEN) else Cause.INTERRUPTED


def no_copy(trip: Trip) -> Judgement:
    """Judge what only a letter that arrived can tell."""
    if next(_failures(trip), None) is not None:
        return not_applicable("it came back")
    unread = trip.look is None or trip.look.trouble is not None
    return _unread(trip) if unread and not trip.pending and not _kept_out(trip) else not_applicable("nothing arrived")


def _kept_out(trip: Trip) -> bool:
    """Tell whether the first server did not take the letter."""
    return trip.outcome is not None and trip.outcome.outcome in _KEPT_OUT


@check(
    id="trip-inbox",
    claim="The letter lands in the inbox",
    severity=Severity.WARNING,
    source="practice",
    advice="Look at what the filter wrote into the letter's header, and at SPF, DKIM and DMARC of the sender.",
)
def trip_inbox(trip: Trip) -> Judgement:
    """A letter in the junk folder was delivered by the book, and nobody reads it."""
    if not trip.copies:
        return no_copy(trip)
    junk = [copy for copy in trip.copies if copy.junk]
    return verdict(not junk, "in the inbox", f"delivered to {junk[0].folder}" if junk else "", "junk")


@check(
    id="trip-once",
    claim="The letter arrives once",
    severity=Severity.WARNING,
    source="RFC 5321 §4.5.3.2.6; RFC 1047",
    advice="Look for aliases that reach one mailbox by two ways, and for a server that answers too late.",
)
def trip_once(trip: Trip) -> Judgement:
    """A reply that is lost after the letter was stored makes the sender send it again: better twice than never."""
    if not trip.copies:
        return no_copy(trip)
    places = ", ".join(f"{copy.folder} {copy.uid}" for copy in trip.copies)
    return verdict(len(trip.copies) == 1, "one copy", f"{len(trip.copies)} copies: {places}", places)


@check(
    id="trip-unchanged",
    claim="The body arrives as it was sent",
    severity=Severity.ERROR,
    source="RFC 5321 §3.6.4 and §6.4; RFC 6376 §3.4.3",
    advice="Look for whatever adds footers, rewrites links or re-encodes text on the way: it breaks signatures.",
)
def trip_unchanged(trip: Trip) -> Judgement:
    """Servers on the way add to the header and leave the body alone, or every DKIM signature over it breaks."""
    if not trip.copies:
        return no_copy(trip)
    if not any(copy.unchanged is not None for copy in trip.copies):
        return unknown(Cause.NOT_ASKED, "the text of the letter was not fetched")
    changed = next((copy for copy in trip.copies if copy.unchanged is False), None)
    return verdict(changed is None, "octet for octet", changed.difference if changed else "", "body")


# -- in time ----------------------------------------------------------------------------------------------------


@check(
    id="trip-quick",
    claim="The letter arrives quickly",
    severity=Severity.WARNING,
    source="practice",
    advice="See at which hop it waited: greylisting, a scanner, or a server that could not be reached at first.",
)
def trip_quick(trip: Trip) -> Judgement:
    """Mail has no deadline, but people expect seconds; what takes longer waits in a queue for a reason."""
    return _in_time(trip, trip.thresholds.warn_s)


@check(
    id="trip-not-late",
    claim="The letter is not late",
    severity=Severity.ERROR,
    source="practice; RFC 5321 §4.5.4.1",
    advice="See at which hop it waited, and look at that server's queue and at what it says of the next one.",
)
def trip_not_late(trip: Trip) -> Judgement:
    """A letter that takes longer than the limit you set is as good as lost to whoever waits for it."""
    return _in_time(trip, trip.thresholds.crit_s)


def _in_time(trip: Trip, limit_s: float) -> Judgement:
    if not trip.copies:
        return no_copy(trip)
    if trip.paused:
        return not_applicable("not judged: paused on purpose")
    if trip.delay_s is None:
        return unknown(Cause.NOT_ASKED, "nothing tells when it arrived")
    if trip.delay_s < limit_s + min(_GRACE_S, limit_s * _GRACE):
        return ok(f"took {seconds(trip.delay_s)}")
    slowest = _slowest(trip)
    took, limit = _told_apart(trip.delay_s, limit_s)
    return fail(f"took {took}; the limit is {limit}{slowest and f'; {slowest}'}", slowest)


def _told_apart(delay_s: float, limit_s: float) -> tuple[str, str]:
    """Write a delay and the limit that it exceeds with as many digits as show which is more."""
    took, limit = seconds(delay_s), seconds(limit_s)
    for digits in range(1, _MORE_DIGITS + 1):
        if float(took.removesuffix(" s")) > float(limit.removesuffix(" s")):
            break
        took, limit = f"{delay_s:.{digits}f} s", f"{limit_s:.{digits}f} s"
    return took, limit


def _slowest(trip: Trip) -> str:
    """Name the hop that took longest, where one took time at all."""
    hops = [hop for copy in trip.copies for hop in copy.hops if hop.delay_s is not None]
    slowest = max(hops, key=lambda hop: hop.delay_s or 0.0, default=None)
    if slowest is None or not slowest.delay_s or slowest.delay_s <= 1.0:
        return ""
    return f"{seconds(slowest.delay_s)} before {slowest.by or 'a server without a name'}"


def seconds(span_s: float | None) -> str:
    """Write a duration: tenths below ten seconds, where they tell something."""
    if span_s is None:
        return "an unknown time"
    return f"{span_s:.1f} s" if span_s < 10 and span_s != int(span_s) else f"{span_s:.0f} s"


# -- sent back --------------------------------------------------------------------------------------------------


@check(
    id="trip-unbounced",
    claim="No recipient's copy comes back",
    severity=Severity.ERROR,
    source="RFC 3464 §2.3; RFC 5321 §6.1",
    advice="The report names the address and the server's words: mend that address, or take it out of the alias.",
)
def trip_unbounced(trip: Trip) -> Judgement:
    """Where an address stands for several people a letter can arrive with one and come back from another."""
    failed = next(_failures(trip), None)
    if failed is not None and trip.copies:
        return fail(f"it came back: {_told(failed)}", failed.recipient)
    if failed is not None:
        return not_applicable("the letter itself came back")
    if trip.sender_look is None:
        return not_applicable("no login for the sender's mailbox: nobody looked for reports")
    if trip.sender_look.trouble is not None:
        trouble = trip.sender_look.trouble
        return unknown(_cause(trouble), f"the sender's mailbox could not be read: {trouble.detail}")
    return ok("no report of a failure came")
