"""What an IMAP server can do wrong."""

from __future__ import annotations

from mailprobe.lab.plan import Rule, edit
from mailprobe.lab.scenario import Change, Scenario
from mailprobe.model.finding import Verdict

_BOTH = (143, 993)
_REST = ("LITERAL+", "SASL-IR", "ID", "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT")


def _scenario(
    ports: tuple[int, ...], name: str, check: str, wrong: str, verdict: Verdict = Verdict.FAIL, **config: object
) -> Scenario:
    """Describe a server that is configured otherwise."""
    changes = (Change(ports=ports, config=config),)
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, where=ports, changes=changes)


def _first(name: str, check: str, wrong: str, when: str, untagged: bytes) -> Scenario:
    """Describe a server on port 143 that says something ahead of a reply."""
    rules = (Rule(when, edit(lambda text: untagged + text), secure=False),)
    change = Change(ports=(143,), rules=rules)
    return Scenario(name=name, check=check, verdict=Verdict.FAIL, wrong=wrong, where=(143,), changes=(change,))


LOGIN = (
    _scenario(
        (143,),
        "imap-login-before-tls",
        "imap-login-before-tls",
        "LOGIN works in clear",
        login_before_tls=True,
    ),
    _scenario(
        (143,),
        "imap-sasl-before-tls",
        "imap-login-before-tls",
        "AUTHENTICATE PLAIN works in clear",
        sasl_before_tls=("PLAIN",),
    ),
    _scenario(
        _BOTH,
        "imap-login-missing",
        "login-after-tls",
        "there is no way to log in inside TLS",
        login_inside_tls=False,
        sasl_inside_tls=(),
    ),
    _scenario(
        (143,),
        "imap-preauth",
        "imap-preauth",
        "the greeting is PREAUTH, which leaves no time for TLS",
        preauth_user="alice",
    ),
)

CAPABILITIES = (
    _scenario(
        _BOTH,
        "imap-revision-missing",
        "imap-revision",
        "neither IMAP4rev1 nor IMAP4rev2 is listed",
        capabilities=("IMAP4", *_REST),
    ),
    _scenario(
        _BOTH,
        "imap-rev2-only",
        "imap-revision",
        "IMAP4rev2 is listed without IMAP4rev1",
        Verdict.OK,
        capabilities=("IMAP4rev2", *_REST),
    ),
    _scenario(
        _BOTH,
        "imap-capability-asked",
        "imap-revision",
        "the greeting does not list the capabilities",
        Verdict.OK,
        greeting_lists_capabilities=False,
    ),
)

UNASKED = (
    _first(
        "imap-untagged-before-tls",
        "imap-untagged-before-tls",
        "news of a mailbox come before STARTTLS",
        "starttls",
        b'* 23 EXISTS\r\n* LIST () "/" INBOX\r\n',
    ),
    _first(
        "imap-alert-before-tls",
        "imap-untagged-before-tls",
        "an alert for the user comes before STARTTLS",
        "starttls",
        b"* OK [ALERT] Your password has expired, renew it at http://elsewhere.test/\r\n",
    ),
    _scenario(
        (143,),
        "imap-referral",
        "imap-referral",
        "the greeting sends the client to another server",
        greeting="[REFERRAL imap://elsewhere.test/] this server has moved",
    ),
)

SCENARIOS = LOGIN + CAPABILITIES + UNASKED
