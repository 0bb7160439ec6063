"""What is said of certificates, on the ports of users and on port 25."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from mailprobe.model.evidence import Kind, Session, Stage, Trust
from mailprobe.model.finding import Cause
from tests.certificates import Authority, Issued, issue
from tests.checks.factories import (
    ADDRESS,
    AUTHORITY,
    CERTIFICATE,
    HOST,
    NOW,
    TRUSTED,
    USER_PORTS,
    Case,
    aside,
    bare_host,
    busy,
    distrust,
    fails,
    host,
    names,
    passes,
    refused,
    session,
    silent,
    stopped,
    tls,
    trouble,
    undecided,
)

DAY = timedelta(days=1)
STRANGER = Authority("stranger", at=NOW)
OTHER = AUTHORITY.server("other.test")
SECOND = AUTHORITY.server(HOST)
SELF_SIGNED = issue(HOST, HOST, at=NOW)
STRANGE = STRANGER.server(HOST)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
GOOD_RSA = rsa.generate_private_key(65537, 2048)


def serving(
    issued: Issued, port: int = 587, trust: Trust | None = TRUSTED, chain: tuple[bytes, ...] | None = None
) -> Session:
    """A session in which this certificate was sent, with or without SNI."""
    sent = issued.chain if chain is None else chain
    return session(port, tls=tls(*sent, trust=trust), nameless=tls(*sent, server_name=None))


def lasting(begins: timedelta, lifetime: timedelta) -> Session:
    return serving(AUTHORITY.server(HOST, begins=begins, lifetime=lifetime))


def unreadable(port: int = 587) -> Session:
    return serving(CERTIFICATE, port, chain=(b"junk",))


def half_readable(port: int) -> Session:
    return serving(CERTIFICATE, port, distrust(20), chain=(CERTIFICATE.der, b"junk"))


def nameless(issued: Issued | None, kind: Kind | None = None, stage: Stage = Stage.HANDSHAKE) -> Session:
    other = None if issued is None else tls(*issued.chain, server_name=None)
    return session(587, nameless=other, nameless_trouble=trouble(stage, kind) if kind else None)


def at(found: Session, address: str) -> Session:
    return msgspec.structs.replace(found, address=address)


ANONYMOUS = session(587, tls=msgspec.structs.replace(tls(), chain=(), trust=None))
ANYWHERE = (
    "certificate-expired",
    "certificate-not-yet-valid",
    "certificate-expires-soon",
    "certificate-lifetime",
    "certificate-san",
    "certificate-chain-order",
    "certificate-key",
    "certificate-signature",
    "certificate-purpose",
)
BY_ROLE = ("name", "self-signed", "chain-complete", "trusted")
ON_PORTS = [f"certificate-{check}" for check in BY_ROLE]
ON_RELAYS = [f"relay-certificate-{check}" for check in BY_ROLE]


def by_role(check: str, port: int) -> str:
    return f"relay-certificate-{check}" if port == 25 else f"certificate-{check}"


CASES: list[Case] = [
    *(passes(check, session(port)) for check in ANYWHERE for port in (25, *USER_PORTS)),
    *(passes(check, session(port)) for check in ON_PORTS for port in USER_PORTS),
    *(passes(check, session(25)) for check in ON_RELAYS),
    *(aside(check, session(25), "another check") for check in ON_PORTS),
    *(aside(check, session(port), "another check") for check in ON_RELAYS for port in USER_PORTS),
    *(
        expected
        for check in (*ANYWHERE, *ON_PORTS, "certificate-without-sni")
        for expected in (
            undecided(check, silent(587), Cause.NO_ANSWER),
            undecided(check, busy(587), Cause.RATE_LIMITED),
            undecided(check, silent(465), Cause.NO_ANSWER),
            undecided(check, stopped(993, Stage.HANDSHAKE, Kind.CLOSED), Cause.INTERRUPTED),
            aside(check, refused(587)),
            aside(check, ANONYMOUS),
        )
    ),
    *(undecided(check, silent(25), Cause.NO_ANSWER) for check in ON_RELAYS),
    *(aside(check, refused(25)) for check in ON_RELAYS),
    *(fails(check, unreadable(), None, "cannot be read") for check in (*ANYWHERE, *ON_PORTS)),
    *(fails(check, unreadable(25), None, "cannot be read") for check in ON_RELAYS),
    fails("certificate-expired", lasting(-90 * DAY, 60 * DAY), f"CN={HOST}", "expired on 2026-01-30, 30 days ago"),
    passes("certificate-expired", lasting(-90 * DAY, 90 * DAY)),
    fails("certificate-not-yet-valid", lasting(DAY, 90 * DAY), f"CN={HOST}", "only from 2026-03-02 12:00 UTC"),
    passes("certificate-not-yet-valid", lasting(0 * DAY, 90 * DAY)),
    fails("certificate-expires-soon", lasting(-80 * DAY, 90 * DAY), f"CN={HOST}", "only 10 days left of 90"),
    passes("certificate-expires-soon", lasting(-70 * DAY, 90 * DAY)),
    passes("certificate-expires-soon", lasting(-3 * DAY, 6 * DAY), "3 days left"),
    fails("certificate-expires-soon", lasting(-5 * DAY, 6 * DAY), f"CN={HOST}"),
    aside("certificate-expires-soon", lasting(-90 * DAY, 60 * DAY), "has expired"),
    fails("certificate-lifetime", lasting(-DAY, 3650 * DAY), f"CN={HOST}", "3650 days"),
    passes("certificate-lifetime", lasting(-DAY, 398 * DAY)),
    *(fails(by_role("name", port), serving(OTHER, port), "other.test", f"not for {HOST}") for port in (25, 587)),
    *(aside(by_role("name", port), serving(issue(HOST, at=NOW), port), "no alternative name") for port in (25, 587)),
    passes("certificate-name", serving(AUTHORITY.server("*.a.test"))),
    fails("certificate-name", serving(AUTHORITY.server("*.test")), "*.test"),
    fails("certificate-san", serving(issue(HOST, issuer=AUTHORITY.intermediate, at=NOW)), f"CN={HOST}", "common name"),
    *(
        fails(
            by_role("self-signed", port), serving(SELF_SIGNED, port, distrust(18)), f"CN={HOST}", "vouches for itself"
        )
        for port in (25, 587)
    ),
    passes("certificate-self-signed", serving(SELF_SIGNED)),
    passes("certificate-self-signed", serving(STRANGE, trust=distrust(20, 1))),
    *(
        fails(
            by_role("chain-complete", port),
            serving(CERTIFICATE, port, distrust(20), (CERTIFICATE.der,)),
            None,
            "missing",
        )
        for port in (25, 587)
    ),
    aside("certificate-chain-complete", serving(SELF_SIGNED, trust=distrust(18)), "no chain"),
    aside("certificate-chain-complete", serving(SELF_SIGNED, trust=None)),
    fails(
        "certificate-chain-order",
        serving(CERTIFICATE, chain=(CERTIFICATE.der, AUTHORITY.root.der, AUTHORITY.intermediate.der)),
        "CN=tests root",
        "did not issue it",
    ),
    fails("certificate-chain-order", serving(CERTIFICATE, chain=(CERTIFICATE.der, *OTHER.chain)), "CN=other.test"),
    fails("certificate-chain-order", half_readable(587), None, "cannot be read"),
    passes("certificate-chain-order", serving(CERTIFICATE, chain=(*CERTIFICATE.chain, AUTHORITY.root.der)), "3 certi"),
    *(
        fails(by_role("trusted", port), serving(STRANGE, port, distrust(20, 1)), "CN=stranger root", "chain ends at")
        for port in (25, 587)
    ),
    *(fails(by_role("trusted", port), half_readable(port), None, "cannot be read") for port in (25, 587)),
    aside("certificate-trusted", serving(SELF_SIGNED, trust=distrust(18)), "another check"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=distrust(10)), "another check"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=distrust(20), chain=(CERTIFICATE.der,)), "incomplete"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=None), "not asked"),
    fails("certificate-key", serving(AUTHORITY.server(HOST, key=WEAK_RSA)), "RSA 1024", "2048 is the least"),
    fails("certificate-key", serving(AUTHORITY.server(HOST, key=ec.generate_private_key(ec.SECP192R1()))), "EC 192"),
    passes("certificate-key", serving(AUTHORITY.server(HOST, key=GOOD_RSA)), "RSA 2048"),
    fails("certificate-signature", half_readable(587), None, "cannot be read"),
    fails(
        "certificate-purpose",
        serving(AUTHORITY.server(HOST, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))),
        f"CN={HOST}",
        "not serverAuth",
    ),
    fails(
        "certificate-purpose", serving(AUTHORITY.intermediate), "CN=tests intermediate", "an authority's certificate"
    ),
    passes("certificate-purpose", serving(AUTHORITY.server(HOST, purposes=None))),
    passes("certificate-without-sni", session(587), "the same"),
    passes("certificate-without-sni", nameless(SECOND)),
    fails("certificate-without-sni", nameless(OTHER), "CN=other.test"),
    fails("certificate-without-sni", nameless(None, Kind.TLS_ALERT), None, "the handshake fails"),
    fails("certificate-without-sni", session(587, nameless=ANONYMOUS.tls), None, "no certificate"),
    aside("certificate-without-sni", nameless(None, Kind.TEMPORARY, Stage.GREETING), "not let in"),
    aside("certificate-without-sni", nameless(None)),
    aside("certificate-without-sni", session(587, tls=tls(server_name=None))),
    passes("certificate-same-everywhere", host(session(25), session(993)), "one certificate on 2 ports"),
    fails("certificate-same-everywhere", host(session(25), session(993), serving(SECOND, 587)), f"{ADDRESS}:587"),
    fails(
        "certificate-same-everywhere",
        host(session(25), at(session(993), "192.88.99.26"), at(serving(OTHER, 25), "192.88.99.26")),
        "192.88.99.26:25",
    ),
    aside("certificate-same-everywhere", host(refused(25), ANONYMOUS)),
    aside("certificate-same-everywhere", bare_host()),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()


_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier of ECDSA, RFC 5758 §3.2
_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def sha1(issued: Issued) -> bytes:
    """Give a certificate that says it is signed with SHA-1; the signature itself is nobody's."""
    signed = issued.certificate.tbs_certificate_bytes
    content = signed[3 if signed[1] == 0x81 else 4 :]
    return _sequence(_sequence(content.replace(_SHA256, _SHA1)) + _SHA1 + b"\x03\x02\x00\x00")


def _sequence(content: bytes) -> bytes:
    return (
        b"\x30\x82" + len(content).to_bytes(2) + content
        if len(content) > 255
        else b"\x30\x81" + bytes([len(content)]) + content
    )


WEAK = sha1(CERTIFICATE)
WEAK_CASES = [
    fails("certificate-signature", serving(CERTIFICATE, chain=(WEAK, *CERTIFICATE.chain[1:])), None, "with sha1"),
    fails(
        "certificate-signature",
        serving(CERTIFICATE, chain=(CERTIFICATE.der, sha1(AUTHORITY.intermediate))),
        None,
        "CN=tests intermediate is signed with sha1",
    ),
    passes("certificate-signature", serving(CERTIFICATE, chain=(*CERTIFICATE.chain, sha1(AUTHORITY.root)))),
]


@pytest.mark.parametrize("case", WEAK_CASES, ids=names(WEAK_CASES))
def test_a_signature_is_looked_at_wherever_it_counts(case: Case) -> None:
    case.hold()
