"""What can become of a letter between two sites; `mailprobe trip --lab` with the two addresses shows it.

Where the recipient's side is at fault the letter goes from alice at ``sender.lab.test`` to the scenario's own domain;
where the sender's side is, it goes from there to bob at ``receiver.lab.test``. Behind the addresses stand the options
that reach the mailbox, when that is not the one of the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailprobe.lab.plan import Close, Rule, edit, instead, say
from mailprobe.lab.post.schedule import Schedule
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import SUFFIX, Change, Reach, Scenario
from mailprobe.model.finding import Verdict

ALICE, BOB = f"alice@sender.{SUFFIX}", f"bob@receiver.{SUFFIX}"
_USERS = {"alice": "secret", "bob": "secret", "carol": "secret", "postmaster": "secret"}
_LATER = say(b"451 4.3.0 Try again later\r\n")
_ALL_MAIL = ("mailprobe",)  # the subject of every letter of a trip has the word
_TWO_EXCHANGERS = {
    "@ MX": ("10 mx1.{d}.", "20 mx2.{d}."),
    "@ A": ("{b}",),
    "mx A": (),
    "mx1 A": ("{a}",),
    "mx2 A": ("{b}",),
}
_MINUTE = 60.0
_HOUR = 3_600.0


def _post(name: str, **otherwise: Any) -> PostSite:
    """Describe a post office; ``{d}`` in its texts is its domain."""
    domain = f"flow-{name}.{SUFFIX}"
    filled = {field: _filled(value, domain) for field, value in otherwise.items()}
    return PostSite(users=_USERS, **filled)


def _filled(value: Any, domain: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_filled(each, domain) for each in value)
    return value.replace("{d}", domain) if isinstance(value, str) else value


def _to(
    name: str,
    check: str,
    wrong: str,
    verdict: Verdict = Verdict.FAIL,
    *,
    to: str = "bob@{d}",
    zone: Mapping[str, tuple[str, ...]] | None = None,
    addresses: int = 1,
    changes: tuple[Change, ...] = (),
    **otherwise: Any,
) -> Scenario:
    """Describe a site that letters come to; *otherwise* are fields of its post office."""
    return Scenario(
        name=f"flow-{name}",
        check=check,
        verdict=verdict,
        wrong=wrong,
        twin="flow-good",
        asked=f"{ALICE} {to}",
        zone=zone or {},
        addresses=addresses,
        changes=changes,
        post=_post(name, **otherwise),
    )


def _from(
    name: str,
    check: str,
    wrong: str,
    *,
    to: str = BOB,
    changes: tuple[Change, ...] = (),
    **otherwise: Any,
) -> Scenario:
    """Describe a site that letters are sent from."""
    return Scenario(
        name=f"flow-{name}",
        check=check,
        verdict=Verdict.FAIL,
        wrong=wrong,
        twin="flow-good",
        asked=f"alice@{{d}} {to}",
        changes=changes,
        post=_post(name, **otherwise),
    )


def _alter(octets: bytes) -> bytes:
    """Change a letter on its way to the reader, and leave it as long as it was told to be."""
    return octets.replace(b"  \r\n", b"__\r\n")


def _at_25(*rules: Rule, **config: object) -> tuple[Change, ...]:
    return (Change(ports=(25,), rules=rules, config=config),)


ALIASES = (
    _to(
        "alias-one-to-many",
        "trip-arrives",
        "an alias stands for two people, and both get the letter",
        Verdict.OK,
        to="team@{d} --to-user carol",
        aliases="team: bob, carol\n",
    ),
    _to(
        "alias-nested",
        "trip-arrives",
        "an alias leads to an alias that leads to an alias",
        Verdict.OK,
        to="staff@{d} --to-user bob",
        aliases="staff: team\nteam: desk\ndesk: bob\n",
    ),
    _to(
        "alias-owner",
        "trip-unbounced",
        "an address of a list is wrong, and its owner hears of that instead of the sender",
        Verdict.OK,
        to="list@{d} --to-user bob",
        aliases="list: bob, nosuch\nowner-list: carol\n",
    ),
    _to(
        "alias-plus-tag",
        "trip-arrives",
        "the address has a tag behind a plus sign",
        Verdict.OK,
        to="bob+news@{d} --to-user bob",
    ),
    _to(
        "alias-virtual",
        "trip-arrives",
        "an address of another domain that lives here leads to a mailbox",
        Verdict.OK,
        to="sales@virtual.{d} --to-user bob --imap {d}",
        zone={"virtual MX": ("10 mx.{d}.",)},
        domains=("virtual.{d}",),
        aliases="sales@virtual.{d}: bob\n",
    ),
    _to(
        "alias-catch-all",
        "trip-arrives",
        "whatever stands before the @ leads to one mailbox",
        Verdict.OK,
        to="whoever@{d} --to-user bob",
        aliases="@{d}: bob\n",
    ),
    _to(
        "alias-self",
        "trip-once",
        "a user's alias names the user, too: that means the mailbox",
        Verdict.OK,
        aliases="bob: bob, carol\n",
    ),
    _to(
        "alias-duplicate",
        "trip-once",
        "an alias leads to one mailbox by two ways, and one of them counts",
        Verdict.OK,
        to="team@{d} --to-user bob",
        aliases="team: bob, friends\nfriends: bob\n",
    ),
    _to(
        "alias-dangling",
        "trip-arrives",
        "an alias leads to a user who is not there",
        to="sales@{d} --to-user bob",
        aliases="sales: nosuch\n",
    ),
    _to(
        "alias-loop",
        "trip-arrives",
        "an alias leads to another one that leads back",
        to="team@{d} --to-user bob",
        aliases="team: friends\nfriends: team\n",
    ),
    _to("wrong-mailbox", "trip-arrives", "the letter for bob is put into carol's mailbox", aliases="bob: carol\n"),
)

ROUTES = (
    _to(
        "mail-loop",
        "trip-arrives",
        "two sites each send the letter on to the other",
        forwards_to=f"flow-mail-loop-back.{SUFFIX}",
    ),
    _to(
        "mail-loop-back",
        "trip-arrives",
        "two sites each send the letter on to the other: the second one",
        forwards_to=f"flow-mail-loop.{SUFFIX}",
    ),
    _to(
        "first-mx-dead",
        "trip-arrives",
        "the first exchanger refuses connections, the second takes the letter",
        Verdict.OK,
        zone={
            "@ MX": ("10 mx1.{d}.", "20 mx2.{d}."),
            "@ A": ("{b}",),
            "mx A": (),
            "mx1 A": ("{a}",),
            "mx2 A": ("{b}",),
        },
        addresses=2,
        changes=(Change(address=0, reach=Reach.REFUSED),),
    ),
    _to("unknown-user", "trip-arrives", "there is no such user", to="nosuch@{d} --to-user bob"),
    _to(
        "partial-recipients",
        "trip-unbounced",
        "of three addresses behind an alias one is refused: two get the letter, and the third comes back",
        to="team@{d} --to-user bob",
        aliases=f"team: bob, carol@receiver.{SUFFIX}, nosuch@receiver.{SUFFIX}\n",
    ),
    _from(
        "refused",
        "trip-accepted",
        "the sender's own server refuses every letter",
        changes=(Change(ports=(587, 465), rules=(Rule("mail", say(b"550 5.7.1 Not allowed to send\r\n")),)),),
    ),
    _to(
        "tls-missing",
        "trip-hops-encrypted",
        "the exchanger offers no TLS, so the letter crosses the network in clear",
        changes=_at_25(starttls=False),
    ),
)

TIMES = (
    _to("greylisting", "trip-quick", "strangers are asked to come back after five minutes", greylist_s=300.0),
    _to("slow-queue", "trip-quick", "letters wait for three minutes before they are delivered", hold_s=3 * _MINUTE),
    _to("late", "trip-not-late", "letters wait for seven minutes before they are delivered", hold_s=7 * _MINUTE),
    _to(
        "queue-deferred",
        "trip-arrives",
        "the exchanger is busy twice, and the sender's queue tries again",
        Verdict.OK,
        to="bob@{d} --wait 20m",
        changes=_at_25(Rule("mail", _LATER, nth=1), Rule("mail", _LATER, nth=2)),
    ),
    _to("queue-stuck", "trip-arrives", "the exchanger is always busy", changes=_at_25(Rule("mail", _LATER))),
    _from(
        "queue-expired",
        "trip-arrives",
        "the exchanger is always busy, and the sender's queue gives up after some minutes",
        to=f"bob@flow-queue-stuck.{SUFFIX}",
        schedule=Schedule(minimal_backoff_s=60, maximal_backoff_s=120, lifetime_s=200),
    ),
    _to("clock-skew", "trip-clocks", "the clock of the recipient's server is an hour ahead", clock_skew_s=_HOUR),
    _from("clock-behind", "trip-clocks", "the clock of the sender's server is an hour behind", clock_skew_s=-_HOUR),
)

MAILBOXES = (
    _to("silent-drop", "trip-arrives", "the server says 250 and throws the letter away", drops=True),
    _to("junk", "trip-inbox", "the letter is put into the junk folder", junk_words=_ALL_MAIL),
    _to(
        "mailbox-full",
        "trip-arrives",
        "the mailbox has no room, and the letter comes back",
        quota_octets=100,
        quota_final=True,
    ),
    _to(
        "duplicate",
        "trip-once",
        "the connection breaks when the letter is stored, before the server can say so: it is sent again",
        changes=_at_25(Rule("eom", instead(Close("rst")), nth=1)),
    ),
    _from("received-missing", "trip-traced", "the sender's server adds no Received field", adds_received=False),
    _to(
        "message-altered",
        "trip-unchanged",
        "the server gives out the letter with the spaces at the ends of lines made visible",
        changes=(Change(ports=(993, 995), rules=(Rule("fetch", edit(_alter)), Rule("retr", edit(_alter)))),),
    ),
    _from(
        "double-bounce",
        "trip-arrives",
        "the letter comes back, and the sender's mailbox has no room for the report: only postmaster hears of it",
        to=f"nosuch@receiver.{SUFFIX} --to-user bob",
        quota_octets=100,
        quota_final=True,
    ),
)

SCENARIOS = (
    Scenario(
        name="flow-good",
        check="trip-arrives",
        verdict=Verdict.OK,
        wrong="nothing: the letter arrives, at once and as it was sent",
        twin="flow-good",
        asked=f"{ALICE} bob@{{d}}",
        post=_post("good"),
    ),
    *(*ALIASES, *ROUTES, *TIMES, *MAILBOXES),
)
