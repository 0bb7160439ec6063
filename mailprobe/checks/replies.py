"""The form of replies, and whether the conversation could be finished."""

from __future__ import annotations

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown
from mailprobe.checks.undecided import cause_of, conversation_undecided, endless, speaks_otherwise
from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause, Judgement, Severity

_WORDS = {
    "bare-lf": "a line ends with LF alone",
    "bare-cr": "a bare CR stands inside a line",
    "nul": "a line holds a NUL octet",
    "mixed-codes": "the lines of one reply carry different codes",
    "bare-code": "the last line of a reply has no space after its code",
    "lower-case-status": "the status is written in lower case",
    "continuation-unasked": "a continuation request came unasked",
}
_HARMLESS = {"lower-case-status"}  # no client is known to mind
_BROKEN = {Kind.CLOSED, Kind.RESET}


@check(
    id="reply-form",
    claim="Replies have the form that the standard prescribes",
    severity=Severity.WARNING,
    source="RFC 5321 §4.2; RFC 1939 §3; RFC 9051 §2.2",
    advice="Update the server, or look for a proxy that rewrites its replies.",
)
def reply_form(session: Session) -> Judgement:
    """Lenient clients get by, strict ones stop: such servers work for some people and not for others."""
    if not session.exchanges or speaks_otherwise(session):
        return conversation_undecided(session)
    for exchange in session.exchanges:
        for quirk in exchange.reply.quirks:
            if quirk not in _HARMLESS:
                line = exchange.reply.lines[0] if exchange.reply.lines else ""
                return fail(f"{_WORDS.get(quirk, quirk)} ({exchange.stage.value})", line[:200])
    trouble = session.trouble
    if trouble is not None and trouble.kind is Kind.GARBAGE:
        return fail(f"{trouble.stage.value}: {trouble.detail}", trouble.detail[:200])
    return ok("all replies are well-formed")


@check(
    id="reply-bounded",
    claim="Replies end",
    severity=Severity.ERROR,
    source="RFC 5321 §4.5.3.1.5",
    advice="Something other than a mail server answers here; find out what.",
)
def reply_bounded(session: Session) -> Judgement:
    """A line or reply without an end exhausts clients that do not count."""
    if endless(session):
        assert session.trouble is not None
        return fail(f"{session.trouble.stage.value}: {session.trouble.detail}")
    return ok("every reply ended") if session.exchanges else conversation_undecided(session)


@check(
    id="reply-extra",
    claim="Every reply answers a command",
    severity=Severity.ERROR,
    source="RFC 5321 §4.2; RFC 9051 §2.2.2",
    advice="Update the server, or look for a proxy that inserts replies.",
)
def reply_extra(session: Session) -> Judgement:
    """After one reply too many, every later reply is taken for the answer to another command."""
    if not session.exchanges:
        return conversation_undecided(session)
    extra = next((exchange for exchange in session.exchanges if exchange.reply.status == "extra"), None)
    if extra is None:
        return ok("one reply to each command")
    return fail(f"nobody asked for {extra.reply.lines[0][:120]!r} ({extra.stage.value})", extra.reply.lines[0][:200])


@check(
    id="dialogue-complete",
    claim="The server stays until it is said goodbye to",
    severity=Severity.ERROR,
    source="RFC 5321 §3.8 and §4.1.1.10",
    advice="Look at the server's log at this time: a crash, a time limit or a policy ended the session.",
)
def dialogue_complete(session: Session) -> Judgement:
    """A connection that ends in the middle loses whatever was being said."""
    if session.greeting is None:
        return conversation_undecided(session)
    trouble = session.trouble
    if trouble is None:
        return ok("the conversation ended in good order")
    if trouble.stage in {Stage.GREETING, Stage.HANDSHAKE}:
        return not_applicable("another check speaks of it")
    if trouble.kind in _BROKEN:
        return fail(f"{trouble.stage.value}: {trouble.detail}")
    if trouble.kind is Kind.REJECTED and trouble.stage in {Stage.CAPABILITIES, Stage.CAPABILITIES_TLS}:
        return unknown(Cause.INTERRUPTED, f"the server refuses us: {trouble.detail}")
    if trouble.kind in {Kind.TEMPORARY, Kind.TIMEOUT}:
        return unknown(cause_of(trouble), f"{trouble.stage.value}: {trouble.detail}")
    return not_applicable("another check speaks of it")
