"""STARTTLS: offered, working, and safe against those who sit in between."""

from __future__ import annotations

import re

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.undecided import cause_of, conversation_undecided, protocol_of
from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.ports import Protocol, Role, Service

_KEYWORD = {Protocol.SMTP: "STARTTLS", Protocol.POP3: "STLS", Protocol.IMAP: "STARTTLS"}
_MASKED = re.compile(r"X{4,}[A-Z]?|\*{4,}")  # what Cisco PIX and ASA write over keywords they filter


def _plain(session: Session) -> Judgement | None:
    """Give the judgement that a port is none that begins in clear; None when it is."""
    service = Service(session.service)
    if service is Service.UNKNOWN or service.implicit_tls:
        return not_applicable("TLS is not reached by STARTTLS here")
    return None


def _offered(session: Session, *, relay: bool) -> Judgement:
    is_relay = Service(session.service).role is Role.RELAY
    skipped = _plain(session)
    if skipped is not None or is_relay != relay:
        return skipped or not_applicable("another check speaks of this port")
    if session.greeting is not None and session.greeting.status == "PREAUTH":
        return not_applicable("PREAUTH rules STARTTLS out")
    if session.offers_starttls is None:
        return conversation_undecided(session)
    if not session.offers_starttls and _masked(session):
        return not_applicable("keywords are masked on the way, and STARTTLS may be one of them")
    keyword = _KEYWORD[protocol_of(session)]
    return verdict(session.offers_starttls, f"{keyword} is offered", f"{keyword} is not offered", keyword)


def _masked(session: Session) -> str | None:
    """Give a keyword that was overwritten on the way."""
    items = session.before_tls.items if session.before_tls is not None else ()
    return next((item.keyword for item in items if _MASKED.fullmatch(item.keyword)), None)


@check(
    id="starttls-offered",
    claim="The port offers STARTTLS",
    severity=Severity.ERROR,
    source="RFC 8314 §3; RFC 2595; RFC 3207",
    advice="Give the service a certificate and key and switch TLS on; until then clients should use 465, 993 or 995.",
)
def starttls_offered(session: Session) -> Judgement:
    """Without it passwords and letters cross the network readable, or well-configured clients refuse to connect."""
    return _offered(session, relay=False)


@check(
    id="relay-starttls-offered",
    claim="Port 25 offers STARTTLS",
    severity=Severity.WARNING,
    source="RFC 3207; RFC 7435; RFC 8461 §4.2",
    advice="Give the mail server a certificate and key (Postfix: smtpd_tls_security_level=may).",
)
def relay_starttls_offered(session: Session) -> Judgement:
    """Between servers TLS is opportunistic: where it is offered it is used, where it is not mail travels readable."""
    return _offered(session, relay=True)


@check(
    id="starttls-works",
    claim="STARTTLS leads to TLS",
    severity=Severity.ERROR,
    source="RFC 3207 §4; RFC 2595 §4; RFC 9051 §6.2.1",
    advice="Look at the server's log: mostly a certificate or key is missing or cannot be read. Else stop offering it.",
)
def starttls_works(session: Session) -> Judgement:
    """A server that offers STARTTLS and cannot do it loses letters: careful senders do not fall back to clear."""
    skipped = _plain(session)
    if skipped is not None or not session.offers_starttls:
        return skipped or not_applicable("STARTTLS is not offered")
    if session.tls is not None:
        return ok(f"{session.tls.version}, {session.tls.cipher}")
    trouble = session.trouble
    if trouble is None:
        return conversation_undecided(session)
    if trouble.stage not in {Stage.STARTTLS, Stage.HANDSHAKE}:
        return conversation_undecided(session)
    if trouble.kind is Kind.TIMEOUT or trouble.detail.startswith("421"):
        return unknown(cause_of(trouble), f"{trouble.stage.value}: {trouble.detail}")
    return fail(f"{trouble.stage.value}: {trouble.detail}", trouble.detail[:200])


@check(
    id="starttls-response-injection",
    claim="Nothing follows the go-ahead for STARTTLS in clear",
    severity=Severity.ERROR,
    source="RFC 3207 §4.2; CVE-2021-22947 and its kind",
    advice="Update the server; if it is current, somebody between you and it inserts lines.",
)
def starttls_response_injection(session: Session) -> Judgement:
    """Many clients read octets behind the go-ahead as if they had come inside TLS: a forged reply is believed."""
    skipped = _plain(session)
    if skipped is not None:
        return skipped
    if session.leftover:
        text = session.leftover[:120].decode("latin-1")
        return fail(f"{len(session.leftover)} octets followed the go-ahead in clear: {text!r}")
    if session.tls is None:
        return conversation_undecided(session)
    return ok("nothing followed the go-ahead")


@check(
    id="starttls-command-injection",
    claim="Commands sent before TLS are not run inside it",
    severity=Severity.ERROR,
    source="RFC 3207 §4.2; CVE-2011-0411 and its kind",
    advice="Update the server, or its TLS proxy: the input buffer must be emptied before the handshake.",
)
def starttls_command_injection(session: Session) -> Judgement:
    """Whoever sits in between can put commands before the client's own, and so get mail or passwords sent to him."""
    skipped = _plain(session)
    if skipped is not None:
        return skipped
    if session.tls is None:
        return not_applicable("STARTTLS does not lead to TLS here")
    injection = session.injection
    if injection is None:
        return not_applicable("not asked: this needs a connection of its own")
    if injection.executed is None:
        trouble = injection.trouble
        if trouble is None:
            return unknown(Cause.INTERRUPTED, f"the replies inside TLS do not tell: {injection.reply}")
        return unknown(cause_of(trouble), f"second connection, {trouble.stage.value}: {trouble.detail}")
    return verdict(
        not injection.executed,
        "what was sent behind STARTTLS was thrown away",
        f"a command sent in clear behind STARTTLS was answered inside TLS: {injection.reply!r}",
        injection.reply,
    )


@check(
    id="starttls-state-discarded",
    claim="A transaction begun in clear is forgotten with TLS",
    severity=Severity.ERROR,
    source="RFC 3207 §4.2",
    advice="Update the server: after the handshake it must be in the state of a new connection.",
)
def starttls_state_discarded(session: Session) -> Judgement:
    """A sender address set in clear, by whoever sits in between, must not count inside TLS."""
    if Service(session.service) is not Service.SMTP:
        return not_applicable("only port 25 takes a transaction without a login")
    if session.injection is None or session.injection.kept_state is None:
        return not_applicable("no transaction could be begun before TLS, or its fate was not learnt")
    return verdict(
        not session.injection.kept_state,
        "MAIL before TLS is forgotten",
        f"MAIL before TLS still counts inside it: {session.injection.reply!r}",
        session.injection.reply,
    )


@check(
    id="starttls-masked",
    claim="No keyword is masked on the way",
    severity=Severity.ERROR,
    source="practice: Cisco PIX and ASA SMTP inspection",
    advice="Switch off the firewall's SMTP inspection ('fixup protocol smtp', 'inspect esmtp').",
)
def starttls_masked(session: Session) -> Judgement:
    """A firewall that overwrites STARTTLS with XXXXXXXA keeps all mail readable, without either side knowing."""
    if protocol_of(session) is not Protocol.SMTP or Service(session.service).implicit_tls:
        return not_applicable("not SMTP in clear")
    if session.before_tls is None:
        return conversation_undecided(session)
    masked = _masked(session)
    banner = session.greeting.lines[0][4:] if session.greeting and session.greeting.lines else ""
    stars = banner.count("*") > len(banner) // 2 > 4
    what = masked or "the greeting"
    return verdict(masked is None and not stars, "none", f"{what} was overwritten on the way", masked or banner)


@check(
    id="starttls-not-repeated",
    claim="STARTTLS is not offered again inside TLS",
    severity=Severity.WARNING,
    source="RFC 3207 §4.2; RFC 9051 §6.2.1",
    advice="Update the server, or its TLS proxy: inside TLS the list must be made anew.",
)
def starttls_not_repeated(session: Session) -> Judgement:
    """A server that still offers it does not know that TLS is on: often a proxy does TLS and the server is not told."""
    if session.tls is None or session.after_tls is None:
        return conversation_undecided(session)
    keyword = _KEYWORD.get(protocol_of(session), "STARTTLS")
    return verdict(not session.after_tls.has(keyword), "not offered", f"{keyword} is offered inside TLS", keyword)
