"""The chain behind a certificate: complete, in order, trusted, soundly signed."""

from __future__ import annotations

from itertools import pairwise

from mailprobe.checks.leaf import leaf_for, leaf_of
from mailprobe.checks.registry import check, fail, not_applicable, ok, verdict
from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Session
from mailprobe.model.finding import Judgement, Severity
from mailprobe.records.certificate import ISSUER_MISSING, Certificate, missing_issuer, path, read

_WEAK_HASHES = {"md5", "sha1", "md2", "md4"}
# OpenSSL's X509_V_ERR numbers.
_DATES, _SELF_SIGNED_LEAF = {9, 10}, 18
_NO_ANCHOR = {19, *ISSUER_MISSING}


def _self_signed(session: Session, *, relay: bool) -> Judgement:
    leaf = leaf_for(session, relay=relay)
    if isinstance(leaf, Judgement):
        return leaf
    assert session.tls is not None
    trust = session.tls.trust
    alone = trust is not None and (trust.code == _SELF_SIGNED_LEAF or (leaf.self_issued and not trust.trusted))
    return verdict(not alone, f"issued by {leaf.issuer}", f"{leaf.subject} vouches for itself", leaf.subject)


_SELF_SIGNED_ADVICE = (
    "Get a certificate from a public authority (ACME costs nothing), or from your own, its root given to clients."
)


@check(
    id="certificate-self-signed",
    claim="The certificate is not self-signed",
    severity=Severity.ERROR,
    source="RFC 5280 §6.1; RFC 8314 §3",
    advice=_SELF_SIGNED_ADVICE,
)
def certificate_self_signed(session: Session) -> Judgement:
    """It proves nothing: anybody in between can make one just like it."""
    return _self_signed(session, relay=False)


@check(
    id="relay-certificate-self-signed",
    claim="The certificate on port 25 is not self-signed",
    severity=Severity.WARNING,
    source="RFC 7435 §3; RFC 8461 §4.2",
    advice=_SELF_SIGNED_ADVICE,
)
def relay_certificate_self_signed(session: Session) -> Judgement:
    """Opportunistic senders take it, senders that follow MTA-STS do not; with DANE it is fine."""
    return _self_signed(session, relay=True)


def _complete(session: Session, *, relay: bool) -> Judgement:
    leaf = leaf_for(session, relay=relay)
    if isinstance(leaf, Judgement):
        return leaf
    assert session.tls is not None
    trust = session.tls.trust
    if trust is None or trust.code == _SELF_SIGNED_LEAF:
        return not_applicable("there is no chain")
    missing = missing_issuer(session.tls)
    return verdict(
        missing is None,
        f"{len(session.tls.chain)} certificates",
        f"the certificate of its issuer {missing} is not sent: an intermediate is missing, or its root is unknown here",
        missing or "",
    )


_COMPLETE_ADVICE = (
    "Serve the leaf with its intermediates, leaf first: fullchain.pem, not cert.pem. Then reload the service."
)


@check(
    id="certificate-chain-complete",
    claim="The intermediate certificates are sent along",
    severity=Severity.ERROR,
    source="RFC 8446 §4.4.2; RFC 5246 §7.4.2",
    advice=_COMPLETE_ADVICE,
)
def certificate_chain_complete(session: Session) -> Judgement:
    """Browsers fetch what is missing, mail programs do not: to them the certificate comes from nobody they know."""
    return _complete(session, relay=False)


@check(
    id="relay-certificate-chain-complete",
    claim="Port 25 sends its intermediate certificates along",
    severity=Severity.WARNING,
    source="RFC 8446 §4.4.2; RFC 8461 §4.2",
    advice=_COMPLETE_ADVICE,
)
def relay_certificate_chain_complete(session: Session) -> Judgement:
    """Senders that verify cannot, and send nothing."""
    return _complete(session, relay=True)


@check(
    id="certificate-chain-order",
    claim="Each certificate is followed by its issuer's",
    severity=Severity.WARNING,
    source="RFC 5246 §7.4.2; RFC 8446 §4.4.2",
    advice="Put the leaf first, then the certificate that issued it, and so on; leave out what does not belong.",
)
def certificate_chain_order(session: Session) -> Judgement:
    """TLS 1.3 tolerates disorder, TLS 1.2 does not, and some clients take the first certificate for the leaf anyway."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    assert session.tls is not None
    try:
        chain = [read(der) for der in session.tls.chain]
    except RecordError as error:
        return fail(str(error))
    for below, above in pairwise(chain):
        if below.issuer_der != above.subject_der:
            return fail(f"after {below.subject} comes {above.subject}, which did not issue it", above.subject)
    return ok(f"{len(chain)} certificates in order")


def _trusted(session: Session, *, relay: bool) -> Judgement:
    leaf = leaf_for(session, relay=relay)
    if isinstance(leaf, Judgement):
        return leaf
    assert session.tls is not None
    trust = session.tls.trust
    if trust is None:
        return not_applicable("the trust store was not asked")
    if trust.code == _SELF_SIGNED_LEAF or (trust.code in _DATES and trust.depth == 0):
        return not_applicable("another check speaks of it")
    if missing_issuer(session.tls) is not None:
        return not_applicable("the chain is incomplete")
    seen = path(session.tls.chain)
    if trust.code in _NO_ANCHOR:
        return fail(f"{trust.reason}: the chain ends at {seen[-1].issuer}", seen[-1].issuer)
    culprit = _at(seen, trust.depth)
    return verdict(trust.trusted, f"trusted ({trust.store})", f"{trust.reason}: {culprit}", culprit)


def _at(seen: tuple[Certificate, ...], depth: int) -> str:
    """Name the certificate at a depth; the highest ones may not have been sent but come from the trust store."""
    return seen[depth].subject if 0 <= depth < len(seen) else seen[-1].issuer


_TRUST_ADVICE = (
    "Serve a valid chain of an authority that clients know, or give its root to all of them (and here: --ca-file)."
)


@check(
    id="certificate-trusted",
    claim="The chain ends at an authority that this machine trusts",
    severity=Severity.ERROR,
    source="RFC 5280 §6.1; RFC 8314 §3",
    advice=_TRUST_ADVICE,
)
def certificate_trusted(session: Session) -> Judgement:
    """A certificate from an unknown authority is worth no more than a self-signed one."""
    return _trusted(session, relay=False)


@check(
    id="relay-certificate-trusted",
    claim="The chain on port 25 ends at an authority that this machine trusts",
    severity=Severity.WARNING,
    source="RFC 5280 §6.1; RFC 8461 §4.2",
    advice=_TRUST_ADVICE,
)
def relay_certificate_trusted(session: Session) -> Judgement:
    """Senders that follow MTA-STS deliver nothing to such a server."""
    return _trusted(session, relay=True)


@check(
    id="certificate-signature",
    claim="The signatures do not rest on MD5 or SHA-1",
    severity=Severity.ERROR,
    source="RFC 9155; RFC 9325 §4.1",
    advice="Have the certificate issued again with SHA-256 or better.",
)
def certificate_signature(session: Session) -> Judgement:
    """Such signatures can be forged; OpenSSL 3 refuses them at its default level."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    assert session.tls is not None
    # A root's signature on itself proves nothing and is not looked at by anybody.
    above = [each for each in map(_read_or_none, session.tls.chain[1:]) if each is None or not each.self_issued]
    weak = next((each for each in (leaf, *above) if each and each.signature_hash in _WEAK_HASHES), None)
    if weak is not None:
        return fail(f"{weak.subject} is signed with {weak.signature_hash}")
    if None in above:
        return not_applicable("a certificate above the server's own cannot be read")
    return ok(leaf.signature_hash or leaf.key)


def _read_or_none(der: bytes) -> Certificate | None:
    try:
        return read(der)
    except RecordError:
        return None
