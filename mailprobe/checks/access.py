"""POP3 and IMAP: how users get at their mail, and what they would give away."""

from __future__ import annotations

import re

from mailprobe.checks.registry import check, fail, not_applicable, ok, verdict
from mailprobe.checks.smtp import final_capabilities
from mailprobe.checks.undecided import conversation_undecided, protocol_of
from mailprobe.model.evidence import Session
from mailprobe.model.finding import Judgement, Severity
from mailprobe.model.ports import Protocol, Service
from mailprobe.protocols.imap.client import response_code
from mailprobe.protocols.pop3.client import apop_stamp

# Data that belongs to a mailbox, or an alert: a server has no cause to send it before anybody logged in.
_MAILBOX_DATA = re.compile(
    r"\* (?:[0-9]+ (?:EXISTS|RECENT|EXPUNGE|FETCH)|(?:LIST|LSUB|SEARCH|STATUS|FLAGS|NAMESPACE)\b)", re.IGNORECASE
)
_ALERT = re.compile(r"\* (?:OK|NO|BAD|PREAUTH) \[ALERT\]", re.IGNORECASE)
_READABLE = {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"}


def _greeted(session: Session, protocol: Protocol) -> Judgement | None:
    """Give the judgement that a session is of another protocol or was not greeted; None when it can be judged."""
    if protocol_of(session) is not protocol:
        return not_applicable(f"not {protocol.value.upper()}")
    return conversation_undecided(session) if session.greeting is None else None


@check(
    id="imap-preauth",
    claim="IMAP begins without being logged in",
    severity=Severity.ERROR,
    source="RFC 9051 §7.1.4 and §6.2.1",
    advice="Never greet a network connection with PREAUTH.",
)
def imap_preauth(session: Session) -> Judgement:
    """After PREAUTH the STARTTLS command is forbidden, so whoever forges that greeting keeps the session readable."""
    undecided = _greeted(session, Protocol.IMAP)
    if undecided is not None:
        return undecided
    assert session.greeting is not None
    return verdict(
        session.greeting.status != "PREAUTH",
        "not logged in",
        f"the greeting is {session.greeting.lines[0]}",
        "PREAUTH",
    )


@check(
    id="imap-revision",
    claim="The server speaks IMAP4rev1 or IMAP4rev2",
    severity=Severity.ERROR,
    source="RFC 9051 §7.2.2; RFC 3501 §7.2.1",
    advice="Update the server: the list of capabilities must begin with its revision.",
)
def imap_revision(session: Session) -> Judgement:
    """The revision tells clients which language to speak; without it they refuse or guess."""
    if protocol_of(session) is not Protocol.IMAP:
        return not_applicable("not IMAP")
    listed = final_capabilities(session) or session.before_tls
    if listed is None:
        return conversation_undecided(session)
    found = [item.keyword for item in listed.items if item.keyword in {"IMAP4REV1", "IMAP4REV2"}]
    return verdict(bool(found), ", ".join(found), "neither IMAP4rev1 nor IMAP4rev2 is listed")


@check(
    id="imap-login-before-tls",
    claim="IMAP refuses logins in clear",
    severity=Severity.ERROR,
    source="RFC 9051 §6.2.3 and §11.1; RFC 8314 §3",
    advice="Refuse plain logins before TLS (Dovecot: disable_plaintext_auth=yes, or auth_allow_cleartext=no).",
)
def imap_login_before_tls(session: Session) -> Judgement:
    """Without LOGINDISABLED a client may send name and password over a connection that anybody can read."""
    if protocol_of(session) is not Protocol.IMAP or Service(session.service).implicit_tls:
        return not_applicable("not IMAP in clear")
    if session.before_tls is None:
        return conversation_undecided(session)
    if not session.before_tls.has("LOGINDISABLED"):
        return fail("LOGINDISABLED is missing: LOGIN works in clear")
    readable = sorted(set(session.before_tls.parameters("AUTH")) & _READABLE)
    return verdict(
        not readable, "LOGINDISABLED", f"AUTH={', '.join(readable)} is offered in clear", ", ".join(readable)
    )


@check(
    id="pop3-login-before-tls",
    claim="POP3 refuses logins in clear",
    severity=Severity.ERROR,
    source="RFC 2595 §2.2; RFC 8314 §3",
    advice="Refuse plain logins before TLS (Dovecot: disable_plaintext_auth=yes, or auth_allow_cleartext=no).",
)
def pop3_login_before_tls(session: Session) -> Judgement:
    """USER, or SASL PLAIN, in clear lets a client send name and password readable."""
    if protocol_of(session) is not Protocol.POP3 or Service(session.service).implicit_tls:
        return not_applicable("not POP3 in clear")
    if session.before_tls is None:
        return conversation_undecided(session)
    if session.before_tls.has("USER"):
        return fail("USER is offered in clear", "USER")
    readable = sorted(set(session.before_tls.parameters("SASL")) & _READABLE)
    return verdict(
        not readable, "no login in clear", f"SASL {', '.join(readable)} is offered in clear", ", ".join(readable)
    )


@check(
    id="login-after-tls",
    claim="Users can log in inside TLS",
    severity=Severity.ERROR,
    source="RFC 9051 §6.2.3; RFC 2449 §6.2 and §6.3",
    advice="Enable PLAIN for connections inside TLS.",
)
def login_after_tls(session: Session) -> Judgement:
    """A mailbox that nobody can open, though TLS is up, is of no use."""
    if protocol_of(session) not in {Protocol.IMAP, Protocol.POP3}:
        return not_applicable("not a mailbox port")
    if session.tls is None:
        return not_applicable("there was no TLS")
    if session.after_tls is None or not session.after_tls.items:
        return conversation_undecided(session)
    listed = session.after_tls
    if protocol_of(session) is Protocol.IMAP:
        usable = not listed.has("LOGINDISABLED") or bool(listed.parameters("AUTH"))
        return verdict(usable, "a login is offered", "LOGINDISABLED stays, and no AUTH= is offered", "LOGINDISABLED")
    usable = listed.has("USER") or bool(listed.parameters("SASL"))
    apop = session.greeting is not None and apop_stamp(session.greeting) is not None
    return verdict(usable or apop, "a login is offered", "neither USER nor SASL is offered")


@check(
    id="imap-untagged-before-tls",
    claim="Nothing about mailboxes is said before TLS",
    severity=Severity.ERROR,
    source="RFC 9051 §6.2.1 and §11.1",
    advice="Look for somebody in between who inserts lines; update the server.",
)
def imap_untagged_before_tls(session: Session) -> Judgement:
    """Lines inserted before TLS can show users mail, folders or alerts that never were on the server."""
    if protocol_of(session) is not Protocol.IMAP or Service(session.service).implicit_tls:
        return not_applicable("not IMAP in clear")
    if session.greeting is None:
        return conversation_undecided(session)
    lines = [line for exchange in session.exchanges if not exchange.secure for line in exchange.reply.lines]
    odd = next((line for line in lines if _MAILBOX_DATA.match(line) or _ALERT.match(line)), None)
    return verdict(odd is None, "nothing", f"before TLS the server said {(odd or '')[:160]!r}", (odd or "")[:200])


@check(
    id="imap-referral",
    claim="The greeting sends nobody elsewhere",
    severity=Severity.WARNING,
    source="RFC 2221 §4; practice",
    advice="Remove the referral, and let clients be configured with the right server.",
)
def imap_referral(session: Session) -> Judgement:
    """A referral in clear can lead clients, and their passwords, to any server that somebody in between likes."""
    undecided = _greeted(session, Protocol.IMAP)
    if undecided is not None:
        return undecided
    assert session.greeting is not None
    code = response_code(session.greeting)
    if code is not None and code[0] == "REFERRAL":
        return fail(f"the greeting refers to {code[1][:120]}", code[1][:200])
    return ok("no referral")


@check(
    id="pop3-capa",
    claim="POP3 tells its capabilities",
    severity=Severity.INFO,
    source="RFC 2449 §5",
    advice="Update the server; without CAPA clients must try things out.",
)
def pop3_capa(session: Session) -> Judgement:
    """Without CAPA no client can know about STLS, UIDL or SASL but by trying."""
    undecided = _greeted(session, Protocol.POP3)
    if undecided is not None:
        return undecided
    asked = [exchange for exchange in session.exchanges if exchange.sent == "CAPA"]
    if not asked or not asked[0].reply.status:
        return conversation_undecided(session)
    refused = next((exchange for exchange in asked if exchange.reply.status != "+OK"), None)
    return verdict(refused is None, "CAPA works", f"CAPA was answered with {refused.reply.lines[0] if refused else ''}")


@check(
    id="pop3-apop",
    claim="APOP is not offered",
    severity=Severity.INFO,
    source="RFC 1939 §7; RFC 6151 §2",
    advice="Switch APOP off; inside TLS a plain login is safe.",
)
def pop3_apop(session: Session) -> Judgement:
    """APOP rests on MD5, needs passwords stored in clear, and can be attacked by whoever sits in between."""
    undecided = _greeted(session, Protocol.POP3)
    if undecided is not None:
        return undecided
    assert session.greeting is not None
    stamp = apop_stamp(session.greeting)
    return verdict(stamp is None, "no APOP stamp", f"the greeting offers APOP with {stamp}", stamp or "")
