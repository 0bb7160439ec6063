"""What is said of certificates, on the ports of users and on port 25."""

from __future__ import annotations

import warnings
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

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


def odd(serial: int = 7, garbled: x509.ObjectIdentifier | None = None) -> Issued:
    """Give a server's certificate with this serial number, or in which the extension of a kind is no DER."""
    plain = AUTHORITY.server(HOST).certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(plain.subject)
        .issuer_name(plain.issuer)
        .public_key(plain.public_key())
        .serial_number(7)
        .not_valid_before(plain.not_valid_before_utc)
        .not_valid_after(plain.not_valid_after_utc)
    )
    if garbled is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(garbled, b"junk"), critical=False)
    for extension in plain.extensions:
        if extension.oid != garbled:
            builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(AUTHORITY.intermediate.key, hashes.SHA256()).public_bytes(Encoding.DER)
    made = made.replace(b"\x02\x01\x07", b"\x02\x01" + serial.to_bytes(1, signed=True), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # the serial number is odd on purpose
        certificate = x509.load_der_x509_certificate(made)
    return Issued(certificate, AUTHORITY.intermediate.key, (AUTHORITY.intermediate.certificate,))


GARBLED = odd(garbled=ExtensionOID.AUTHORITY_INFORMATION_ACCESS)
GARBLED_NAMES = odd(garbled=ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
GARBLED_PURPOSE = odd(garbled=ExtensionOID.EXTENDED_KEY_USAGE)
EXPIRED_AUTHORITY = issue(
    "old intermediate", issuer=AUTHORITY.root, authority=True, begins=-90 * DAY, lifetime=60 * DAY, at=NOW
)
UNDER_EXPIRED = issue(HOST, HOST, issuer=EXPIRED_AUTHORITY, above=(EXPIRED_AUTHORITY.certificate,), at=NOW)
STRANGER = Authority("stranger", at=NOW)
OTHER = AUTHORITY.server("other.test")
SECOND = AUTHORITY.server(HOST)
SELF_SIGNED = issue(HOST, HOST, at=NOW)
STRANGE = STRANGER.server(HOST)
STRANGE_WHOLE = (*STRANGE.chain, STRANGER.root.der)
LACKING = (
    ((CERTIFICATE.der, CERTIFICATE.der), "CN=tests intermediate"),
    ((CERTIFICATE.der, STRANGER.intermediate.der), "CN=tests intermediate"),
    ((CERTIFICATE.der, b"junk"), "CN=tests intermediate"),
    (CERTIFICATE.chain, "CN=tests root"),
)
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
ANONYMOUS = session(587, tls=msgspec.structs.replace(tls(), chain=(), trust=None))
ANYWHERE = (
    "certificate-readable",
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


OF_A_READABLE = [*ANYWHERE[1:], *ON_PORTS, "certificate-without-sni"]


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
    fails("certificate-readable", unreadable(), None, "the certificate cannot be read"),
    fails("certificate-readable", serving(GARBLED), f"CN={HOST}", "cannot be read: authority information access"),
    fails("certificate-readable", serving(odd(serial=0)), f"CN={HOST}", "the serial number is 0, not positive"),
    fails("certificate-readable", serving(odd(serial=-1)), f"CN={HOST}", "the serial number is -1, not positive"),
    passes("certificate-readable", serving(odd(serial=1))),
    *(aside(check, unreadable(), "cannot be read") for check in OF_A_READABLE),
    *(aside(check, unreadable(25), "cannot be read") for check in ON_RELAYS),
    *(passes(check, serving(GARBLED)) for check in OF_A_READABLE),
    *(passes(check, serving(GARBLED, 25)) for check in ON_RELAYS),
    *(aside(check, serving(GARBLED_NAMES), "can") for check in ("certificate-name", "certificate-san")),
    aside("certificate-purpose", serving(GARBLED_PURPOSE), "cannot be read"),
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
            "the certificate of its issuer CN=tests intermediate is not sent",
        )
        for port in (25, 587)
    ),
    *(
        expected
        for port in (25, 587)
        for code in (2, 20, 21)
        for chain, missing in LACKING
        for expected in (
            fails(by_role("chain-complete", port), serving(CERTIFICATE, port, distrust(code), chain), missing),
            aside(by_role("trusted", port), serving(CERTIFICATE, port, distrust(code), chain), "incomplete"),
        )
    ),
    *(
        expected
        for port in (25, 587)
        for expected in (
            passes(by_role("chain-complete", port), serving(STRANGE, port, distrust(19, 2), STRANGE_WHOLE)),
            passes(
                by_role("chain-complete", port),
                serving(STRANGE, port, distrust(20, 2), STRANGE_WHOLE[::2] + STRANGE_WHOLE[1:2]),
            ),
            fails(by_role("trusted", port), serving(STRANGE, port, distrust(19, 2), STRANGE_WHOLE), "CN=stranger root"),
            fails(by_role("trusted", port), serving(STRANGE, port, distrust(20, 2), STRANGE_WHOLE), "CN=stranger root"),
        )
    ),
    passes("certificate-chain-complete", serving(CERTIFICATE, trust=distrust(10))),
    *(
        fails(by_role("trusted", port), serving(UNDER_EXPIRED, port, distrust(code, depth)), culprit, culprit)
        for port in (25, 587)
        for code in (9, 10)
        for depth, culprit in ((1, "CN=old intermediate"), (2, "CN=tests root"))
    ),
    passes("certificate-expired", serving(UNDER_EXPIRED, trust=distrust(10, 1))),
    fails("certificate-trusted", serving(CERTIFICATE, trust=distrust(24, 1)), "CN=tests intermediate", "error 24"),
    fails("certificate-trusted", serving(CERTIFICATE, trust=distrust(26)), f"CN={HOST}", "error 26"),
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
        fails(
            by_role("trusted", port),
            serving(STRANGE, port, distrust(19, 2), STRANGE_WHOLE),
            "CN=stranger root",
            "chain ends at",
        )
        for port in (25, 587)
    ),
    *(aside(by_role("trusted", port), half_readable(port), "incomplete") for port in (25, 587)),
    *(fails(by_role("chain-complete", port), half_readable(port), "CN=tests intermediate") for port in (25, 587)),
    aside("certificate-trusted", serving(SELF_SIGNED, trust=distrust(18)), "another check"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=distrust(10)), "another check"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=distrust(20), chain=(CERTIFICATE.der,)), "incomplete"),
    aside("certificate-trusted", serving(CERTIFICATE, trust=None), "not asked"),
    fails("certificate-key", serving(AUTHORITY.server(HOST, key=WEAK_RSA)), "RSA 1024", "2048 is the least"),
    fails("certificate-key", serving(AUTHORITY.server(HOST, key=ec.generate_private_key(ec.SECP192R1()))), "EC 192"),
    passes("certificate-key", serving(AUTHORITY.server(HOST, key=GOOD_RSA)), "RSA 2048"),
    fails("certificate-signature", serving(CERTIFICATE, chain=(WEAK, *CERTIFICATE.chain[1:])), None, "with sha1"),
    fails(
        "certificate-signature",
        serving(CERTIFICATE, chain=(CERTIFICATE.der, sha1(AUTHORITY.intermediate))),
        None,
        "CN=tests intermediate is signed with sha1",
    ),
    passes("certificate-signature", serving(CERTIFICATE, chain=(*CERTIFICATE.chain, sha1(AUTHORITY.root)))),
    aside("certificate-signature", half_readable(587), "cannot be read"),
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
    fails("certificate-without-sni", session(587, nameless=tls(b"junk", server_name=None)), None, "cannot be read"),
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
