"""The first words of a server, and whether they are in the right language."""

from __future__ import annotations

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.undecided import cause_of, conversation_undecided, endless, protocol_of, speaks_otherwise
from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Cause, Judgement, Severity
from mailprobe.model.names import is_address
from mailprobe.model.ports import Protocol, Service
from mailprobe.protocols.smtp.client import server_name

PROMPT_MS = 5_000.0
_MAIL = {"smtp", "pop3", "imap"}


def _reached(session: Session) -> bool:
    trouble = session.trouble
    return trouble is None or trouble.stage is not Stage.CONNECT


@check(
    id="greeting-sent",
    claim="The server greets",
    severity=Severity.ERROR,
    source="RFC 5321 §3.1; RFC 1939 §4; RFC 9051 §7.1",
    advice="Look at the server's log and at firewalls, proxies and load balancers in front of it.",
)
def greeting_sent(session: Session) -> Judgement:
    """The server speaks first; a client that gets a connection and no greeting can do nothing but give up."""
    if not _reached(session):
        return conversation_undecided(session)
    if session.greeting is not None or session.speaks is not None:
        return ok("it greets")
    trouble = session.trouble
    if trouble is None or trouble.stage is not Stage.GREETING or endless(session):
        return not_applicable("the conversation did not come to the greeting")
    if trouble.kind is Kind.TIMEOUT:
        return unknown(Cause.NO_ANSWER, f"connected, but {trouble.detail}")
    return fail(f"connected, but {trouble.detail} before any greeting", f"{session.address}:{session.port}")


@check(
    id="greeting-prompt",
    claim="The greeting comes within five seconds",
    severity=Severity.WARNING,
    source="RFC 5321 §4.5.3.2.1",
    advice="Look for slow DNS or blocklist lookups before the greeting, or for a deliberate pause.",
)
def greeting_prompt(session: Session) -> Judgement:
    """A pause on purpose keeps spam robots away, but monitoring and impatient clients give up as well."""
    spent = session.timings.get(Stage.GREETING.value)
    if session.greeting is None or spent is None:
        slow = session.trouble is not None and session.trouble.kind is Kind.TIMEOUT and session.speaks in _MAIL
        if slow and spent is not None:
            return fail(f"the greeting was not complete after {spent / 1000:.1f} s")
        return conversation_undecided(session)
    return verdict(spent <= PROMPT_MS, f"after {spent:.0f} ms", f"the greeting took {spent / 1000:.1f} s")


@check(
    id="greeting-welcoming",
    claim="The greeting lets clients in",
    severity=Severity.ERROR,
    source="RFC 5321 §3.1; RFC 1939 §4; RFC 9051 §7.1.5",
    advice="Read the server's words: they name the reason: a block list, a missing reverse name, maintenance.",
)
def greeting_welcoming(session: Session) -> Judgement:
    """A server that greets with 554, -ERR or BYE gives no service; one that greets with 421 gives none now."""
    if session.greeting is None:
        return conversation_undecided(session)
    trouble = session.trouble
    words = session.greeting.lines[-1] if session.greeting.lines else ""
    if trouble is not None and trouble.stage is Stage.GREETING and trouble.kind is Kind.TEMPORARY:
        return unknown(cause_of(trouble), f"the server asks to come back later: {words}")
    if trouble is not None and trouble.stage is Stage.GREETING and trouble.kind is Kind.REJECTED:
        return fail(f"the server refuses service: {words}", words)
    return ok(words)


@check(
    id="port-protocol",
    claim="The port speaks the protocol that belongs there",
    severity=Severity.ERROR,
    source="IANA service name and port number registry",
    advice="Move the other service away, or correct the port forwarding.",
)
def port_protocol(session: Session) -> Judgement:
    """Another protocol on a mail port is a forwarding mistake; clients only see a confusing error."""
    if protocol_of(session) is Protocol.UNKNOWN or session.speaks in {None, "tls"}:
        return conversation_undecided(session)
    expected = protocol_of(session).value
    first = session.exchanges[0].reply.lines[:1] if session.exchanges else ()
    seen = f": {first[0][:80]!r}" if first else ""
    return verdict(
        not speaks_otherwise(session),
        f"speaks {expected}",
        f"port {session.port} speaks {_words(session.speaks)}, not {expected.upper()}{seen}",
        f"{session.address}:{session.port}",
    )


def _words(speaks: str | None) -> str:
    return "something unknown" if speaks == "other" else str(speaks).upper()


@check(
    id="port-tls-mode",
    claim="TLS begins where clients expect it",
    severity=Severity.ERROR,
    source="RFC 8314 §3",
    advice="On 465, 993 and 995 TLS starts at once (Postfix: smtpd_tls_wrappermode=yes); elsewhere after STARTTLS.",
)
def port_tls_mode(session: Session) -> Judgement:
    """A client that speaks TLS to a port in clear, or the other way round, sees "wrong version number" or nothing."""
    service = Service(session.service)
    if service is Service.UNKNOWN or not _reached(session):
        return conversation_undecided(session)
    if session.answered_in_clear:
        offered = "STARTTLS is served where TLS is expected" if session.offers_starttls else "and offers no TLS"
        return fail(f"port {session.port} answers in clear: {offered}", f"{session.address}:{session.port}")
    if session.speaks == "tls" and not service.implicit_tls:
        return fail(
            f"port {session.port} starts TLS at once where a greeting in clear is expected",
            f"{session.address}:{session.port}",
        )
    if session.speaks in _MAIL:
        return ok("in clear first" if not service.implicit_tls else "TLS at once")
    return conversation_undecided(session)


@check(
    id="helo-fqdn",
    claim="The server greets with a full host name",
    severity=Severity.WARNING,
    source="RFC 5321 §4.2 and §4.3.1",
    advice="Set the server's name to its full public name (Postfix: myhostname).",
)
def helo_fqdn(session: Session) -> Judgement:
    """The greeting begins with the server's domain name; the same name goes out as HELO, where receivers check it."""
    if protocol_of(session) is not Protocol.SMTP or session.greeting is None:
        return conversation_undecided(session)
    if not session.greeting.status.startswith("2"):
        return conversation_undecided(session)
    name = server_name(session.greeting).removesuffix(".")
    full = "." in name and not name.lower().endswith((".localdomain", ".local")) and not is_address(name)
    literal = name.startswith("[") and name.endswith("]")
    return verdict(
        full or literal, f"greets as {name}", f"greets as {name or 'nobody'!r}, which is no full host name", name
    )
