"""The road that a letter took, as the Received fields tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown
from mailprobe.checks.trip import no_copy, seconds
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.trip import Copy, Hop, Trip
from mailprobe.protocols.smtp.client import server_name

SKEW_S = 10.0  # clocks that are kept agree within a second; dates in Received fields have no fractions
_HERE = {"127.0.0.1", "::1"}


def _of_hops(trip: Trip, judge: Callable[[Copy], Judgement | None], otherwise: Judgement) -> Judgement:
    """Judge the road of every copy that was fetched; the first complaint counts."""
    if not trip.copies:
        return no_copy(trip)
    fetched = [copy for copy in trip.copies if copy.fetched]
    if not fetched:
        return unknown(Cause.NOT_ASKED, "the header of the letter was not fetched")
    return next((found for copy in fetched if (found := judge(copy)) is not None), otherwise)


@check(
    id="trip-traced",
    claim="Every server on the way leaves its trace",
    severity=Severity.WARNING,
    source="RFC 5321 §4.4",
    advice="Let that server add a Received field with a date, as the standard demands; do not strip those of others.",
)
def trip_traced(trip: Trip) -> Judgement:
    """The Received fields are all that tells where a letter was and how long; loops are found by counting them."""

    def judge(copy: Copy) -> Judgement | None:
        if not copy.hops:
            return fail("there is no Received field at all", "Received")
        untimed = next((hop for hop in copy.hops if hop.at is None), None)
        if untimed is not None:
            return fail(f"the Received field of {_by(untimed)} has no date that can be read", _by(untimed))
        skipped = _untraced_server(trip, copy.hops[0])
        return fail(f"{skipped} took the letter and added no Received field", skipped) if skipped else None

    hops = max((len(copy.hops) for copy in trip.copies), default=0)
    return _of_hops(trip, judge, ok(f"{hops} Received fields, all with a date"))


def _untraced_server(trip: Trip, first: Hop) -> str:
    """Name the server that we gave the letter to, when the first trace is by the one after it; else empty."""
    held = trip.sending.conversations if trip.sending is not None else ()
    if not held:
        return ""
    given_to = held[-1]
    greeted_as = server_name(given_to.greeting) if given_to.greeting is not None else ""
    names = {name.casefold() for name in (given_to.host, given_to.address, greeted_as) if name}
    handed_on = first.client.casefold() in names or first.client_address in names
    return (greeted_as or given_to.host) if handed_on and first.by.casefold() not in names else ""


def _by(hop: Hop) -> str:
    return hop.by or "a server without a name"


@check(
    id="trip-clocks",
    claim="The clocks of the servers agree",
    severity=Severity.WARNING,
    source="RFC 5321 §4.4; RFC 5322 §3.3",
    advice="Keep the clock of that server with NTP.",
)
def trip_clocks(trip: Trip) -> Judgement:
    """A wrong clock makes delays unreadable, logs of two servers incomparable, and signatures invalid too early."""

    def judge(copy: Copy) -> Judgement | None:
        dated = [hop for hop in copy.hops if hop.at is not None]
        if not dated:
            return unknown(Cause.NOT_ASKED, "no hop tells a time that can be read")
        return next(_skews(trip, dated), None)

    return _of_hops(trip, judge, ok(f"within {SKEW_S:.0f} s"))


def _skews(trip: Trip, hops: list[Hop]) -> Iterator[Judgement]:
    """Complain of every hop before the one that gave it the letter, before the sending, or later than now."""
    tolerated = timedelta(seconds=SKEW_S)
    times = [(hop, hop.at) for hop in hops if hop.at is not None]
    for hop, at in times:
        if at > trip.looked_at + tolerated:
            ahead = (at - trip.looked_at).total_seconds()
            yield fail(f"{_by(hop)} is {seconds(ahead)} ahead of this machine's clock", _by(hop))
    first, at = times[0]
    if at < trip.sent_at - tolerated:
        behind = (trip.sent_at - at).total_seconds()
        yield fail(f"{_by(first)} is {seconds(behind)} behind this machine's clock", _by(first))
    for (earlier, before), (later, after) in pairwise(times):
        if after < before - tolerated:
            gap = (before - after).total_seconds()
            yield fail(f"{_by(later)} took it {seconds(gap)} before {_by(earlier)} had it", _by(later))


@check(
    id="trip-hops-encrypted",
    claim="Between machines the letter travels in TLS",
    severity=Severity.WARNING,
    source="RFC 3848; RFC 7435; RFC 8314 §3.3",
    advice="Offer STARTTLS on that server, and let the one before it use it where it is offered.",
)
def trip_hops_encrypted(trip: Trip) -> Judgement:
    """A letter is as secret as its weakest hop: whoever sits at that line reads it, and the recipient never knows."""

    def judge(copy: Copy) -> Judgement | None:
        between = [hop for hop in copy.hops if not _one_machine(hop)]
        clear = next((hop for hop in between if hop.tls is False), None)
        if clear is not None:
            way = f"{clear.client or clear.client_address or 'a client'} to {_by(clear)}"
            return fail(f"{way}: {clear.protocol or 'no protocol named'}, without TLS", way)
        if not between:
            return not_applicable("no hop between two machines is told of")
        if not any(hop.tls for hop in between):
            return unknown(Cause.NOT_ASKED, "no hop tells whether there was TLS")
        return None

    return _of_hops(trip, judge, ok("every hop that tells"))


def _one_machine(hop: Hop) -> bool:
    """Tell whether a hop stayed inside one machine, as far as is told: through a unix socket there is no address."""
    if not hop.client_address or hop.client_address in _HERE:
        return True
    return hop.client.casefold() == hop.by.casefold() != ""
