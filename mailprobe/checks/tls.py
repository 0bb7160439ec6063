"""The handshake: does it work, which version, which cipher."""

from __future__ import annotations

import re

from mailprobe.checks.registry import check, fail, not_applicable, ok, unknown, verdict
from mailprobe.checks.undecided import cause_of, conversation_undecided
from mailprobe.model.evidence import Kind, Session, Stage
from mailprobe.model.finding import Judgement, Severity
from mailprobe.model.ports import Service

_OLD = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"}
_BROKEN_CIPHER = re.compile(r"NULL|^ADH|^AECDH|EXP|RC4|RC2|DES|MD5|SEED|IDEA", re.IGNORECASE)


@check(
    id="tls-handshake",
    claim="The handshake works where TLS starts at once",
    severity=Severity.ERROR,
    source="RFC 8314 §3; RFC 8446",
    advice="Look at the server's log: mostly the key or certificate cannot be read, or no cipher is common.",
)
def tls_handshake(session: Session) -> Judgement:
    """No handshake, no mail: clients on this port know no other way."""
    if not Service(session.service).implicit_tls:
        return not_applicable("STARTTLS port")
    if session.answered_in_clear:
        return not_applicable("the port answers in clear")
    if session.tls is not None:
        return ok(f"{session.tls.version}, {session.tls.cipher}")
    trouble = session.trouble
    if trouble is None or trouble.stage is not Stage.HANDSHAKE:
        return conversation_undecided(session)
    if trouble.kind is Kind.TIMEOUT:
        return unknown(cause_of(trouble), trouble.detail)
    return fail(trouble.detail, trouble.detail[:200])


@check(
    id="tls-version",
    claim="TLS 1.2 or newer is used",
    severity=Severity.ERROR,
    source="RFC 8996; RFC 8997; RFC 9325 §3.1.1",
    advice="Enable TLS 1.2 and 1.3; the server software or its OpenSSL may have to be updated.",
)
def tls_version(session: Session) -> Judgement:
    """Offered everything, the server chose an old version: it has nothing better, and current clients refuse it."""
    if session.tls is None:
        return conversation_undecided(session)
    version = session.tls.version
    return verdict(version not in _OLD, version, f"{version} is the newest version the server has", version)


@check(
    id="tls-legacy",
    claim="TLS 1.0 and 1.1 are refused",
    severity=Severity.WARNING,
    source="RFC 8996 §4 and §5; RFC 8997",
    advice="Set the lowest version to 1.2 (Postfix: smtpd_tls_protocols = >=TLSv1.2; Dovecot: ssl_min_protocol).",
)
def tls_legacy(session: Session) -> Judgement:
    """Old versions rest on MD5 and SHA-1; they should be off wherever users log in."""
    legacy = session.legacy
    if legacy is None:
        return not_applicable("not asked on this port; --thorough asks STARTTLS ports, too")
    if legacy.version is not None:
        return fail(f"{legacy.version} is accepted as well", legacy.version)
    if legacy.refused:
        return ok("refused")
    trouble = legacy.trouble
    if trouble is None or trouble.kind is Kind.TLS_FAILED:
        return not_applicable("the local OpenSSL cannot offer them")
    return unknown(cause_of(trouble), f"{trouble.stage.value}: {trouble.detail}")


@check(
    id="tls-cipher",
    claim="The cipher keeps the conversation secret",
    severity=Severity.ERROR,
    source="RFC 9325 §4.1; RFC 7465",
    advice="Use the cipher list that the server software or its distribution recommends.",
)
def tls_cipher(session: Session) -> Judgement:
    """NULL encrypts nothing, anonymous suites prove nobody, RC4, DES and export suites are broken."""
    if session.tls is None:
        return conversation_undecided(session)
    cipher = session.tls.cipher
    return verdict(not _BROKEN_CIPHER.search(cipher), cipher, f"{cipher} was chosen", cipher)


@check(
    id="tls-forward-secrecy",
    claim="The key exchange has forward secrecy",
    severity=Severity.WARNING,
    source="RFC 9325 §4.1",
    advice="Offer ECDHE suites before all others.",
)
def tls_forward_secrecy(session: Session) -> Judgement:
    """Without it, recorded conversations can be read by anybody who gets the server's key later."""
    if session.tls is None:
        return conversation_undecided(session)
    secret = session.tls.version == "TLSv1.3" or session.tls.cipher.startswith(("ECDHE", "DHE", "ADH", "AECDH"))
    return verdict(secret, session.tls.cipher, f"{session.tls.cipher} has no forward secrecy", session.tls.cipher)
