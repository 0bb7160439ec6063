"""Ports that are closed, servers that are silent, slow, hostile, or something else than was expected."""

from __future__ import annotations

from mailprobe.lab.plan import (
    Close,
    Flood,
    Hang,
    Pause,
    Rewrite,
    Rule,
    Send,
    after,
    before,
    dripping,
    edit,
    instead,
    say,
)
from mailprobe.lab.scenario import Change, Reach, Scenario
from mailprobe.model.finding import Verdict

_RESET = Close("rst")


def _relay(name: str, check: str, verdict: Verdict, wrong: str, *rules: Rule) -> Scenario:
    """Describe a scenario of port 25."""
    return _at(25, name, check, verdict, wrong, *rules)


def _at(port: int, name: str, check: str, verdict: Verdict, wrong: str, *rules: Rule) -> Scenario:
    change = Change(ports=(port,), rules=rules)
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, where=(port,), changes=(change,))


def _last_words(words: bytes) -> Rewrite:
    return instead(Send(words, "last-words"), Close())


def _only(words: bytes) -> Rewrite:
    """Say this and then nothing any more."""
    return instead(Send(words, "only"), Hang())


def _mode(port: int, name: str, wrong: str, *, implicit: bool) -> Scenario:
    change = Change(ports=(port,), implicit=implicit)
    return Scenario(
        name=name, check="port-tls-mode", verdict=Verdict.FAIL, wrong=wrong, where=(port,), changes=(change,)
    )


REACH = (
    Scenario(
        name="exchanger-refused",
        check="exchanger-reachable",
        verdict=Verdict.FAIL,
        wrong="the only exchanger refuses connections to port 25",
        where=(25,),
        changes=(Change(ports=(25,), reach=Reach.REFUSED),),
    ),
    Scenario(
        name="exchanger-filtered",
        check="exchanger-reachable",
        verdict=Verdict.UNKNOWN,
        wrong="connections to port 25 are swallowed by a firewall",
        where=(25,),
        changes=(Change(ports=(25,), reach=Reach.FILTERED),),
    ),
)

GREETINGS = (
    _relay(
        "greeting-missing",
        "greeting-sent",
        Verdict.FAIL,
        "the server hangs up instead of greeting",
        Rule("greeting", instead(Close())),
    ),
    _relay(
        "greeting-reset",
        "greeting-sent",
        Verdict.FAIL,
        "the server resets the connection instead of greeting",
        Rule("greeting", instead(Pause(0.05), _RESET)),  # else the client may call it a failure to connect
    ),
    _relay(
        "greeting-silence",
        "greeting-sent",
        Verdict.UNKNOWN,
        "the server accepts the connection and stays silent",
        Rule("greeting", instead(Hang())),
    ),
    _relay(
        "greeting-slow",
        "greeting-prompt",
        Verdict.FAIL,
        "the server greets after six seconds",
        Rule("greeting", before(Pause(6.0))),
    ),
    _relay(
        "greeting-drip",
        "greeting-prompt",
        Verdict.FAIL,
        "the server greets with one octet every 0.2 seconds",
        Rule("greeting", dripping(1, 0.2)),
    ),
    _relay(
        "greeting-hesitant",
        "greeting-prompt",
        Verdict.OK,
        "the server greets after half a second",
        Rule("greeting", before(Pause(0.5))),
    ),
    _relay(
        "greeting-554",
        "greeting-welcoming",
        Verdict.FAIL,
        "the server greets with 554",
        Rule("greeting", say(b"554 No SMTP service here\r\n")),
    ),
    _relay(
        "greeting-421",
        "greeting-welcoming",
        Verdict.UNKNOWN,
        "the server greets with 421 and hangs up",
        Rule("greeting", _last_words(b"421 Too many connections, come back later\r\n")),
    ),
    _at(
        110,
        "pop3-greeting-err",
        "greeting-welcoming",
        Verdict.FAIL,
        "the POP3 server greets with -ERR",
        Rule("greeting", _last_words(b"-ERR you are not welcome\r\n")),
    ),
    _at(
        110,
        "pop3-greeting-temporary",
        "greeting-welcoming",
        Verdict.UNKNOWN,
        "the POP3 server greets with -ERR [SYS/TEMP]",
        Rule("greeting", _last_words(b"-ERR [SYS/TEMP] come back later\r\n")),
    ),
    _at(
        143,
        "imap-greeting-bye",
        "greeting-welcoming",
        Verdict.FAIL,
        "the IMAP server greets with BYE",
        Rule("greeting", _last_words(b"* BYE you are not welcome\r\n")),
    ),
    _at(
        143,
        "imap-greeting-unavailable",
        "greeting-welcoming",
        Verdict.UNKNOWN,
        "the IMAP server greets with BYE [UNAVAILABLE]",
        Rule("greeting", _last_words(b"* BYE [UNAVAILABLE] come back later\r\n")),
    ),
    _relay(
        "greeting-multiline",
        "greeting-sent",
        Verdict.OK,
        "the greeting has three lines",
        Rule("greeting", edit(lambda text: b"220-Hello\r\n220-We take no spam\r\n" + text)),
    ),
    _relay(
        "greeting-teaser",
        "greeting-sent",
        Verdict.OK,
        "the first line of the greeting comes 0.3 seconds before the last, to catch the impatient",
        Rule("greeting", before(Send(b"220-Wait a moment\r\n", "teaser"), Pause(0.3))),
    ),
    _relay(
        "greeting-split",
        "greeting-sent",
        Verdict.OK,
        "each octet of the greeting comes in a packet of its own",
        Rule("greeting", dripping(1, 0.002)),
    ),
    _relay(
        "greeting-escapes",
        "greeting-welcoming",
        Verdict.OK,
        "the greeting holds terminal escapes",
        Rule("greeting", edit(lambda text: text[:-2] + b" \x1b[2J\x1b]0;owned\x07\x1b[31mAll is well\r\n")),
    ),
)

PROTOCOLS = (
    _at(
        143,
        "port-speaks-http",
        "port-protocol",
        Verdict.FAIL,
        "a web server answers at port 143",
        Rule("greeting", _last_words(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
    ),
    _at(
        587,
        "port-speaks-ssh",
        "port-protocol",
        Verdict.FAIL,
        "an SSH server answers at port 587",
        Rule("greeting", _only(b"SSH-2.0-OpenSSH_9.2p1\r\n")),
    ),
    _relay(
        "port-speaks-pop3",
        "port-protocol",
        Verdict.FAIL,
        "a POP3 server answers at port 25",
        Rule("greeting", _only(b"+OK POP3 ready\r\n")),
    ),
    _at(
        110,
        "port-speaks-imap",
        "port-protocol",
        Verdict.FAIL,
        "an IMAP server answers at port 110",
        Rule("greeting", _only(b"* OK [CAPABILITY IMAP4rev1] IMAP ready\r\n")),
    ),
    _relay(
        "port-speaks-binary",
        "port-protocol",
        Verdict.FAIL,
        "something that is no mail protocol answers at port 25",
        Rule("greeting", _only(bytes(range(128, 256)) * 4 + b"\r\n")),
    ),
    _mode(465, "submissions-in-clear", "port 465 answers in clear", implicit=False),
    _mode(993, "imaps-in-clear", "port 993 answers in clear", implicit=False),
    _mode(995, "pop3s-in-clear", "port 995 answers in clear", implicit=False),
    _mode(25, "relay-in-tls", "port 25 expects TLS from the first octet", implicit=True),
    _mode(143, "imap-in-tls", "port 143 expects TLS from the first octet", implicit=True),
)

FORM = (
    _relay(
        "reply-bare-lf",
        "reply-form",
        Verdict.FAIL,
        "the lines of the greeting end with LF alone",
        Rule("greeting", edit(lambda text: text.replace(b"\r\n", b"\n"))),
    ),
    _relay(
        "reply-mixed-codes",
        "reply-form",
        Verdict.FAIL,
        "the lines of the greeting have different codes",
        Rule("greeting", edit(lambda text: b"250-Hello\r\n" + text)),
    ),
    _relay(
        "reply-missing-space",
        "reply-form",
        Verdict.FAIL,
        "the last line of the EHLO reply has no space behind its code",
        Rule("ehlo", edit(lambda text: text.replace(b"250 ", b"250"))),
    ),
    _relay(
        "reply-bare-code",
        "reply-form",
        Verdict.FAIL,
        "the last line of the EHLO reply is nothing but a code",
        Rule("ehlo", edit(lambda text: text.replace(b"250 ", b"250-") + b"250\r\n")),
    ),
    _relay(
        "reply-extra",
        "reply-extra",
        Verdict.FAIL,
        "a second reply follows the one to EHLO",
        Rule("ehlo", after(Send(b"250 OK\r\n", "extra")), secure=False),
    ),
    _relay(
        "reply-split",
        "reply-extra",
        Verdict.OK,
        "the EHLO reply comes in packets of three octets",
        Rule("ehlo", dripping(3, 0.001)),
    ),
    _relay(
        "reply-endless-line",
        "reply-bounded",
        Verdict.FAIL,
        "the greeting is a line without an end",
        Rule("greeting", instead(Send(b"220 ", "endless"), Flood(b"x" * 1024))),
    ),
    _relay(
        "reply-endless",
        "reply-bounded",
        Verdict.FAIL,
        "the EHLO reply has lines without an end",
        Rule("ehlo", instead(Flood(b"250-" + b"x" * 60 + b"\r\n"))),
    ),
    _relay(
        "greeting-endless",
        "reply-bounded",
        Verdict.FAIL,
        "the greeting has lines without an end",
        Rule("greeting", instead(Flood(b"220-welcome\r\n"))),
    ),
    _at(
        143,
        "imap-endless",
        "reply-bounded",
        Verdict.FAIL,
        "the IMAP server sends untagged responses without an end",
        Rule("greeting", edit(lambda _text: b"* OK ready\r\n")),  # without the list, so that it is asked for
        Rule("capability", instead(Flood(b"* 1 EXISTS\r\n")), secure=False),
    ),
)

ENDS = (
    _relay(
        "dialogue-closed-after-greeting",
        "dialogue-complete",
        Verdict.FAIL,
        "the server hangs up behind its greeting",
        Rule("greeting", after(Close())),
    ),
    _relay(
        "dialogue-reset-after-greeting",
        "dialogue-complete",
        Verdict.FAIL,
        "the server resets the connection at EHLO",
        Rule("ehlo", instead(_RESET)),
    ),
    _relay(
        "dialogue-reset-after-ehlo",
        "dialogue-complete",
        Verdict.FAIL,
        "the server resets the connection behind its EHLO reply",
        Rule("ehlo", after(_RESET), secure=False),
    ),
    _relay(
        "dialogue-reset-inside-tls",
        "dialogue-complete",
        Verdict.FAIL,
        "the server resets the connection at EHLO inside TLS",
        Rule("ehlo", instead(_RESET), secure=True),
    ),
    _at(
        995,
        "dialogue-closed-inside-tls",
        "dialogue-complete",
        Verdict.FAIL,
        "the server at port 995 hangs up behind its greeting",
        Rule("greeting", after(Close())),
    ),
    _relay(
        "dialogue-421",
        "dialogue-complete",
        Verdict.UNKNOWN,
        "the server answers EHLO with 421 and hangs up",
        Rule("ehlo", _last_words(b"421 Shutting down, come back later\r\n")),
    ),
)

SCENARIOS = REACH + GREETINGS + PROTOCOLS + FORM + ENDS
