"""EHLO and what it lists, per role: 25 takes mail from servers, 587 and 465 from users who log in."""

from __future__ import annotations

import re

from mailprobe.checks.registry import check, fail, not_applicable, ok, verdict
from mailprobe.checks.undecided import conversation_undecided, protocol_of
from mailprobe.model.evidence import Capabilities, Exchange, Kind, Session, Stage
from mailprobe.model.finding import Judgement, Severity
from mailprobe.model.ports import Protocol, Role, Service
from mailprobe.protocols.smtp.client import KNOWS_NO_EHLO, reply_text

SMALL_SIZE = 65_536  # RFC 5321 §4.5.3.1.7: a server must take at least 64K octets
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*", re.ASCII)  # RFC 5321 §4.1.1.1 ehlo-keyword
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4 size-value
_BASIC = ("PIPELINING", "8BITMIME", "SIZE", "ENHANCEDSTATUSCODES")
_PAIRS = {
    "SMTPUTF8": ("8BITMIME", "RFC 6531 §3.1"),
    "BINARYMIME": ("CHUNKING", "RFC 3030 §3"),
}
_WAYS_TO_LOG_IN = {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "GSSAPI", "NTLM"}


def role_of(session: Session) -> Role:
    """The role of the port of a session."""
    return Service(session.service).role


def final_capabilities(session: Session) -> Capabilities | None:
    """The list that counts: inside TLS where there is TLS, else the one in clear."""
    return session.after_tls if session.tls is not None else session.before_tls


def _listed(session: Session) -> Capabilities | Judgement:
    """Give what EHLO listed, or the judgement that there is no such list."""
    if protocol_of(session) is not Protocol.SMTP:
        return not_applicable("not SMTP")
    listed = final_capabilities(session)
    if listed is None:
        return conversation_undecided(session)
    return listed if listed.source == "ehlo" else not_applicable("the server knows HELO only")


def _introductions(session: Session) -> list[Exchange]:
    return [exchange for exchange in session.exchanges if exchange.sent.startswith(("EHLO", "HELO"))]


@check(
    id="ehlo-accepted",
    claim="The server knows EHLO",
    severity=Severity.WARNING,
    source="RFC 5321 §2.2.1 and §3.2",
    advice="Update the server, or switch off the protocol 'fix-up' of a firewall in front of it.",
)
def ehlo_accepted(session: Session) -> Judgement:
    """Without EHLO there are no extensions: no TLS, no size limit told in advance, no 8-bit mail."""
    if protocol_of(session) is not Protocol.SMTP or not _introductions(session):
        return (
            not_applicable("not SMTP") if protocol_of(session) is not Protocol.SMTP else conversation_undecided(session)
        )
    refused = next((item for item in _introductions(session) if item.reply.status in KNOWS_NO_EHLO), None)
    if refused is None:
        return conversation_undecided(session) if final_capabilities(session) is None else ok("EHLO is taken")
    return fail(f"EHLO was answered with {refused.reply.lines[-1]}", refused.reply.lines[-1])


@check(
    id="ehlo-name",
    claim="The reply to EHLO begins with the server's name",
    severity=Severity.WARNING,
    source="RFC 5321 §4.1.1.1",
    advice="Update the server, or look for a proxy that reorders the lines of its replies.",
)
def ehlo_name(session: Session) -> Judgement:
    """Clients skip the first line: a keyword that stands there, STARTTLS for example, is not seen."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    for exchange in _introductions(session):
        first = reply_text(exchange.reply.lines[0]).strip() if exchange.reply.lines else ""
        if first.upper() in {*_BASIC, "STARTTLS", "SMTPUTF8", "CHUNKING", "DSN", "VRFY", "HELP"} or not first:
            return fail(f"the first line is {first!r} instead of a name", first)
    return ok("the first line names the server")


@check(
    id="ehlo-keywords",
    claim="The EHLO keywords are well-formed",
    severity=Severity.WARNING,
    source="RFC 5321 §4.1.1.1; RFC 1870 §4",
    advice="Update the server, or look for a firewall that rewrites the list.",
)
def ehlo_keywords(session: Session) -> Judgement:
    """Strict clients stop at a keyword that has no keyword's form."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    for item in listed.items:
        if item.keyword != "AUTH=" and not _KEYWORD.fullmatch(item.keyword):
            return fail(f"{item.keyword!r} is no keyword", item.keyword)
        if item.keyword == "SIZE" and item.parameters and not _SIZE.fullmatch(item.parameters[0]):
            return fail(f"SIZE {item.parameters[0]!r} is no number", "SIZE")
    return ok(f"{len(listed.items)} keywords")


@check(
    id="smtp-extension-pairs",
    claim="Extensions that need another one come with it",
    severity=Severity.WARNING,
    source="RFC 6531 §3.1; RFC 3030 §3",
    advice="Switch the missing extension on, or the one that needs it off.",
)
def smtp_extension_pairs(session: Session) -> Judgement:
    """SMTPUTF8 is defined on top of 8BITMIME, BINARYMIME on top of CHUNKING; alone they cannot be used."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    for keyword, (needed, source) in _PAIRS.items():
        if listed.has(keyword) and not listed.has(needed):
            return fail(f"{keyword} is offered without {needed} ({source})", keyword)
    return ok("complete")


@check(
    id="smtp-size-useful",
    claim="The size limit lets ordinary letters through",
    severity=Severity.WARNING,
    source="RFC 1870 §4; RFC 5321 §4.5.3.1.7",
    advice="Raise the limit (Postfix: message_size_limit).",
)
def smtp_size_useful(session: Session) -> Judgement:
    """Every server must take 64K octets; a smaller limit refuses letters with the smallest attachment."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    size = next((text for text in listed.parameters("SIZE") if _SIZE.fullmatch(text)), None)
    if size is None or int(size) == 0:
        return not_applicable("no limit is told")
    return verdict(int(size) >= SMALL_SIZE, f"SIZE {size}", f"letters over {size} octets are refused", f"SIZE {size}")


@check(
    id="smtp-basic-extensions",
    claim="The extensions that every current server has are offered",
    severity=Severity.INFO,
    source="RFC 2920; RFC 6152; RFC 1870; RFC 2034",
    advice="Switch them on, or look for a firewall that removes them.",
)
def smtp_basic_extensions(session: Session) -> Judgement:
    """A server without them is very old, or something in between filters its replies."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    missing = [keyword for keyword in _BASIC if not listed.has(keyword)]
    return verdict(not missing, "all there", f"missing: {', '.join(missing)}", ", ".join(missing))


@check(
    id="relay-auth-offered",
    claim="Port 25 offers no login",
    severity=Severity.WARNING,
    source="RFC 8314 §3.3; RFC 6409 §4.3",
    advice="Offer AUTH on 587 and 465 only (Postfix: smtpd_sasl_auth_enable=no for the smtp service).",
)
def relay_auth_offered(session: Session) -> Judgement:
    """Users log in on 587 and 465. AUTH on 25 only invites password guessing."""
    if role_of(session) is not Role.RELAY:
        return not_applicable("not port 25")
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    offered = listed.has("AUTH") or listed.has("AUTH=")
    return verdict(not offered, "no AUTH", f"AUTH {' '.join(listed.parameters('AUTH'))} is offered".rstrip(), "AUTH")


@check(
    id="submission-auth-offered",
    claim="A submission port lets users log in",
    severity=Severity.ERROR,
    source="RFC 6409 §4.3",
    advice="Enable SASL for the submission service, with PLAIN inside TLS.",
)
def submission_auth_offered(session: Session) -> Judgement:
    """Mail programs come here to send, and a server that cannot tell users from strangers must refuse them all."""
    if role_of(session) is not Role.SUBMISSION:
        return not_applicable("not a submission port")
    if session.tls is None and session.offers_starttls is not None:
        return not_applicable("there was no TLS to log in under")
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    offered = listed.parameters("AUTH") + listed.parameters("AUTH=")
    return verdict(bool(offered), f"AUTH {' '.join(offered)}", "no AUTH is offered inside TLS")


@check(
    id="auth-usable",
    claim="AUTH lists mechanisms in the current form",
    severity=Severity.WARNING,
    source="RFC 4954 §3",
    advice="Name the mechanisms after AUTH and a space; drop the `AUTH=` form (Postfix: broken_sasl_auth_clients=no).",
)
def auth_usable(session: Session) -> Judgement:
    """`AUTH` without a mechanism cannot be used; `AUTH=` is read by clients of the last century only."""
    listed = _listed(session)
    if isinstance(listed, Judgement):
        return listed
    if listed.has("AUTH"):
        return verdict(bool(listed.parameters("AUTH")), "mechanisms are listed", "AUTH lists no mechanism", "AUTH")
    if listed.has("AUTH="):
        return fail("only the old form AUTH= is offered", "AUTH=")
    return not_applicable("no AUTH")


@check(
    id="auth-digest-md5",
    claim="No mechanism is offered that needs stored clear passwords",
    severity=Severity.WARNING,
    source="RFC 6331; RFC 8314 §3; practice",
    advice="Offer PLAIN and LOGIN inside TLS, and SCRAM if the server stores it; drop CRAM-MD5 and DIGEST-MD5.",
)
def auth_digest_md5(session: Session) -> Judgement:
    """Clients choose CRAM-MD5 over PLAIN; where passwords are stored hashed it fails with the right password."""
    listed = final_capabilities(session)
    if listed is None:
        return conversation_undecided(session)
    offered = set(listed.parameters("AUTH") + listed.parameters("SASL"))
    if not offered:
        return not_applicable("no mechanism is listed")
    old = sorted(offered & {"CRAM-MD5", "DIGEST-MD5"})
    return verdict(not old, "none", f"{', '.join(old)} is offered", ", ".join(old))


@check(
    id="auth-before-tls",
    claim="No login is offered before TLS",
    severity=Severity.ERROR,
    source="RFC 8314 §3.3; RFC 4954 §4",
    advice="Offer AUTH inside TLS only (Postfix: smtpd_tls_auth_only=yes).",
)
def auth_before_tls(session: Session) -> Judgement:
    """Where a server offers a login in clear, some client uses it, and the password crosses the network readable."""
    if protocol_of(session) is not Protocol.SMTP or Service(session.service).implicit_tls:
        return not_applicable("not an SMTP port in clear")
    if session.before_tls is None:
        return conversation_undecided(session)
    offered = session.before_tls.parameters("AUTH") + session.before_tls.parameters("AUTH=")
    readable = [name for name in offered if name in _WAYS_TO_LOG_IN - {"GSSAPI", "NTLM", "EXTERNAL"}]
    return verdict(
        not readable,
        "no AUTH in clear",
        f"AUTH {' '.join(readable)} is offered in clear",
        f"AUTH {' '.join(readable)}",
    )


@check(
    id="capabilities-refreshed",
    claim="The server introduces itself anew inside TLS",
    severity=Severity.WARNING,
    source="RFC 3207 §4.2; RFC 2595 §4; RFC 9051 §6.2.1",
    advice="Update the server: after TLS it must answer EHLO, CAPA or CAPABILITY again.",
)
def capabilities_refreshed(session: Session) -> Judgement:
    """What was said in clear does not count inside TLS; unless it is said again, clients are left with nothing."""
    if session.tls is None:
        return conversation_undecided(session)
    if session.after_tls is not None and session.after_tls.items:
        return ok(f"{len(session.after_tls.items)} capabilities inside TLS")
    trouble = session.trouble
    if trouble is not None and trouble.stage is not Stage.CAPABILITIES_TLS:
        return conversation_undecided(session)
    if trouble is not None and trouble.kind is not Kind.REJECTED:
        return conversation_undecided(session)
    if session.before_tls is None and not Service(session.service).implicit_tls:
        return not_applicable("the server tells no capabilities in clear either")
    if trouble is None and protocol_of(session) is Protocol.POP3 and session.before_tls is None:
        return not_applicable("the server knows no CAPA")
    return fail(f"no capabilities inside TLS{f': {trouble.detail}' if trouble else ''}")
