"""What can go wrong on the way from clear to TLS, in all three protocols."""

from __future__ import annotations

from collections.abc import Callable

from mailprobe.lab.plan import (
    Action,
    AnswerNext,
    Close,
    Hang,
    Rewrite,
    Rule,
    Send,
    StartTls,
    edit,
    instead,
    say,
    starting_tls,
)
from mailprobe.lab.scenario import Change, Scenario
from mailprobe.model.finding import Verdict

_SMTP = (25, 587)


def _at(ports: tuple[int, ...], name: str, check: str, wrong: str, **config: object) -> Scenario:
    """Describe a server that is configured otherwise."""
    changes = (Change(ports=ports, config=config),)
    return Scenario(name=name, check=check, verdict=Verdict.FAIL, wrong=wrong, where=ports, changes=changes)


def _ruled(
    port: int, name: str, check: str, wrong: str, rule: Rule, verdict: Verdict = Verdict.FAIL, twin: str = "good"
) -> Scenario:
    change = Change(ports=(port,), rules=(rule,))
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, twin=twin, where=(port,), changes=(change,))


def _works(port: int, name: str, wrong: str, do: Rewrite, verdict: Verdict = Verdict.FAIL) -> Scenario:
    """Describe what comes of STARTTLS at one port."""
    return _ruled(port, name, "starttls-works", wrong, Rule(_command(port), do), verdict)


def _command(port: int) -> str:
    return "stls" if port == 110 else "starttls"


def _refused(change: Callable[[bytes], bytes]) -> Rewrite:
    """Change the go-ahead into a refusal, and stay in clear."""

    def rewrite(wanted: list[Action]) -> list[Action]:
        return [Send(change(action.data), action.tag) for action in wanted if isinstance(action, Send)]

    return rewrite


def _afterwards(*actions: Action) -> Rewrite:
    """Give the go-ahead, and then do these actions instead of a handshake."""

    def rewrite(wanted: list[Action]) -> list[Action]:
        return [action for action in wanted if isinstance(action, Send)] + list(actions)

    return rewrite


def _no(text: bytes) -> bytes:
    return text.replace(b" OK ", b" NO ", 1)


def _bad(text: bytes) -> bytes:
    return text.replace(b" OK ", b" BAD ", 1)


OFFERED = (
    _at((25,), "relay-starttls-missing", "relay-starttls-offered", "port 25 offers no STARTTLS", starttls=False),
    _at((587,), "submission-starttls-missing", "starttls-offered", "port 587 offers no STARTTLS", starttls=False),
    _at((110,), "pop3-stls-missing", "starttls-offered", "port 110 offers no STLS", stls=False),
    _at((143,), "imap-starttls-missing", "starttls-offered", "port 143 offers no STARTTLS", starttls=False),
    _ruled(
        25,
        "starttls-masked",
        "starttls-masked",
        "something on the way writes X over the keyword STARTTLS",
        Rule("ehlo", edit(lambda text: text.replace(b"STARTTLS", b"XXXXXXXA")), secure=False),
    ),
)

WORKS = (
    _works(25, "starttls-454", "STARTTLS is offered and answered with 454", say(b"454 TLS not available\r\n")),
    _works(25, "starttls-501", "STARTTLS is offered and answered with 501", say(b"501 Syntax error\r\n")),
    _works(25, "starttls-502", "STARTTLS is offered and answered with 502", say(b"502 Not implemented\r\n")),
    _works(110, "pop3-stls-err", "STLS is offered and answered with -ERR", say(b"-ERR no certificate\r\n")),
    _works(143, "imap-starttls-no", "STARTTLS is offered and answered with NO", _refused(_no)),
    _works(143, "imap-starttls-bad", "STARTTLS is offered and answered with BAD", _refused(_bad)),
    _works(25, "starttls-closed", "the server hangs up at STARTTLS", instead(Close())),
    _works(25, "starttls-then-closed", "the server hangs up behind its go-ahead for TLS", _afterwards(Close())),
    _works(
        25, "starttls-then-reset", "the server resets the connection behind its go-ahead", _afterwards(Close("rst"))
    ),
    _works(
        25,
        "starttls-then-plain",
        "the server answers the ClientHello in clear",
        _afterwards(AnswerNext(b"500 Command not recognized\r\n"), Close()),
    ),
    _works(
        143,
        "imap-starttls-then-plain",
        "the server answers the ClientHello in clear",
        _afterwards(AnswerNext(b"* BAD unknown command\r\n"), Close()),
    ),
    _works(
        587,
        "starttls-then-garbage",
        "the server answers the ClientHello with octets that are no TLS",
        _afterwards(AnswerNext(b"\x00\x01\x02\x03" * 40), Close()),
    ),
    _works(
        25,
        "starttls-hang",
        "the server never answers STARTTLS",
        instead(Hang()),
        Verdict.UNKNOWN,
    ),
    _works(
        25,
        "starttls-then-hang",
        "the server never answers the ClientHello",
        _afterwards(Hang()),
        Verdict.UNKNOWN,
    ),
)

INJECTIONS = tuple(
    _ruled(
        port,
        f"{prefix}starttls-command-injection",
        "starttls-command-injection",
        "what comes in clear behind STARTTLS is run inside TLS",
        Rule(_command(port), starting_tls(StartTls(keep_buffer=True))),
    )
    for port, prefix in ((25, ""), (587, "submission-"), (110, "pop3-"), (143, "imap-"))
) + tuple(
    _ruled(
        port,
        f"{prefix}starttls-response-injection",
        "starttls-response-injection",
        "a reply in clear follows the go-ahead for TLS, and clients may take it for one from inside",
        Rule(_command(port), starting_tls(StartTls(before=words))),
    )
    for port, prefix, words in (
        (25, "", b"250-injected.test\r\n250 AUTH PLAIN LOGIN\r\n"),
        (587, "submission-", b"250-injected.test\r\n250 AUTH PLAIN LOGIN\r\n"),
        (110, "pop3-", b"+OK injected\r\nUSER\r\n.\r\n"),
        (143, "imap-", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
    )
)

STATE = (
    _at(
        (25,),
        "starttls-state-kept",
        "starttls-state-discarded",
        "a transaction begun in clear is still there inside TLS",
        keep_state_across_tls=True,
    ),
    _at(
        _SMTP,
        "starttls-repeated",
        "starttls-not-repeated",
        "STARTTLS is offered inside TLS as well",
        starttls_inside_tls=True,
    ),
    _at(
        (110,),
        "pop3-stls-repeated",
        "starttls-not-repeated",
        "STLS is offered inside TLS too",
        stls_inside_tls=True,
    ),
    _at(
        (143,),
        "imap-starttls-repeated",
        "starttls-not-repeated",
        "STARTTLS is offered inside TLS as well",
        starttls_inside_tls=True,
    ),
    _ruled(
        25,
        "ehlo-refused-inside-tls",
        "capabilities-refreshed",
        "EHLO is refused inside TLS",
        Rule("ehlo", say(b"503 EHLO was said already\r\n"), secure=True),
    ),
    _ruled(
        110,
        "pop3-capa-refused-inside-tls",
        "capabilities-refreshed",
        "CAPA is refused inside TLS",
        Rule("capa", say(b"-ERR not now\r\n"), secure=True),
    ),
    _ruled(
        143,
        "imap-capability-refused-inside-tls",
        "capabilities-refreshed",
        "CAPABILITY is refused inside TLS",
        Rule("capability", edit(lambda text: text[text.index(b"\r\n") + 2 :].replace(b" OK ", b" NO ")), secure=True),
    ),
)

ODDITIES = (
    _ruled(
        25,
        "starttls-no-close-notify",
        "starttls-works",
        "the server hangs up at QUIT, without a word and without a close_notify",
        Rule("quit", instead(Close("no-close-notify")), secure=True),
        Verdict.OK,
    ),
)

SCENARIOS = OFFERED + WORKS + INJECTIONS + STATE + ODDITIES
