"""Certificates: which hosts they name, what they say, and octets that are none."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import RecordError
from mailprobe.records.certificate import Certificate, names_host, read

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=90)
KEY = ec.generate_private_key(ec.SECP256R1())
PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


def der(
    *extensions: x509.ExtensionType, key: PrivateKey = KEY, common_name: str = "mx.a.test", issuer: str = "ca.test"
) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def for_names(*names: str) -> Certificate:
    return read(der(x509.SubjectAlternativeName([x509.DNSName(name) for name in names])))


@pytest.mark.parametrize(
    ("pattern", "host", "named"),
    [
        ("mx.a.test", "mx.a.test", True),
        ("MX.A.Test", "mx.a.test", True),
        ("mx.a.test", "MX.A.TEST", True),
        ("mx.a.test", "mx.a.test.", True),
        ("mx.a.test.", "mx.a.test", True),
        ("mx.a.test", "a.test", False),
        ("mx.a.test", "b.mx.a.test", False),
        ("*.a.test", "mx.a.test", True),
        ("*.a.test", "a.test", False),
        ("*.a.test", "b.mx.a.test", False),
        ("*.a.test", "mx.b.test", False),
        ("m*.a.test", "mx.a.test", False),
        ("mx.*.test", "mx.a.test", False),
        ("*.test", "a.test", False),
        ("*", "a", False),
        ("*.*.test", "mx.a.test", False),
        ("192.0.2.1", "192.0.2.1", False),
        ("*.0.2.1", "192.0.2.1", False),
        ("mx.a.test", "", False),
    ],
)
def test_a_name_is_matched_label_by_label(pattern: str, host: str, named: bool) -> None:
    assert names_host(for_names(pattern), host) is named


def test_any_of_several_names_will_do() -> None:
    assert names_host(for_names("a.test", "b.test"), "b.test")


def test_the_common_name_never_counts() -> None:
    assert not names_host(read(der(common_name="mx.a.test")), "mx.a.test")
    assert not names_host(for_names("other.test"), "mx.a.test")


def test_an_address_must_be_there_as_an_address() -> None:
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    ]
    certificate = read(der(x509.SubjectAlternativeName(names)))
    assert names_host(certificate, "192.0.2.1")
    assert names_host(certificate, "2001:0DB8:0::1")
    assert not names_host(certificate, "192.0.2.2")


def test_a_certificate_says_what_it_is() -> None:
    certificate = read(
        der(
            x509.SubjectAlternativeName([x509.DNSName("MX.a.test")]),
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        AuthorityInformationAccessOID.CA_ISSUERS,
                        x509.UniformResourceIdentifier("http://ca.test/ca.der"),
                    )
                ]
            ),
        )
    )
    assert certificate.subject == "CN=mx.a.test"
    assert certificate.issuer == "CN=ca.test"
    assert certificate.common_name == "mx.a.test"
    assert certificate.names == ("mx.a.test",)
    assert (certificate.not_before, certificate.not_after) == (BEGIN, END)
    assert (certificate.signature_hash, certificate.serial) == ("sha256", 7)
    assert certificate.is_ca
    assert not certificate.for_servers
    assert certificate.issuer_urls == ("http://ca.test/ca.der",)
    assert not certificate.self_issued
    assert certificate.lifetime_days() == 90.0
    assert certificate.days_left(END + timedelta(days=1)) == -1.0
    assert len(certificate.sha256) == 64


def test_a_certificate_may_say_next_to_nothing() -> None:
    certificate = read(der(common_name=""))
    assert (certificate.subject, certificate.common_name, certificate.names) == ("", "", ())
    assert (certificate.has_san, certificate.is_ca, certificate.purposes) == (False, False, None)
    assert certificate.for_servers


def test_one_name_for_subject_and_issuer_is_self_issued() -> None:
    assert read(der(issuer="mx.a.test")).self_issued


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
def test_two_purposes_let_a_server_use_it(purpose: x509.ObjectIdentifier) -> None:
    assert read(der(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, purpose]))).for_servers


@pytest.mark.parametrize(
    ("key", "name", "bits", "digest"),
    [
        (KEY, "EC", 256, "sha256"),
        (rsa.generate_private_key(65537, 1024), "RSA", 1024, "sha256"),
        (dsa.generate_private_key(1024), "DSA", 1024, "sha256"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519", 0, ""),
        (ed448.Ed448PrivateKey.generate(), "Ed448", 0, ""),
    ],
)
def test_keys_have_names_and_lengths(key: PrivateKey, name: str, bits: int, digest: str) -> None:
    certificate = read(der(key=key))
    assert (certificate.key, certificate.key_bits, certificate.signature_hash) == (name, bits, digest)


_EC_KEY = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey
_ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
_P256 = bytes.fromhex("06082a8648ce3d030107")


@pytest.mark.parametrize("known", [_EC_KEY, _P256])
def test_a_key_of_an_unknown_kind_leaves_the_rest_readable(known: bytes) -> None:
    certificate = read(der().replace(known, known[:-1] + b"\x7e"))
    assert certificate.subject == "CN=mx.a.test"
    assert certificate.key_bits == 0
    assert certificate.key not in {"EC", ""}


def test_a_signature_of_an_unknown_kind_leaves_the_rest_readable() -> None:
    certificate = read(der().replace(_ECDSA_SHA256, _ECDSA_SHA256[:-1] + b"\x7e"))
    assert (certificate.subject, certificate.signature_hash) == ("CN=mx.a.test", "")


@pytest.mark.parametrize(
    "octets", [b"", b"junk", b"\x30\x00", der()[:-1], der() + b"\0", b"\x30\x82\xff\xff" + b"x" * 9]
)
def test_octets_that_are_no_certificate_are_refused(octets: bytes) -> None:
    with pytest.raises(RecordError, match="the certificate cannot be read"):
        read(octets)


def test_a_certificate_of_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RecordError):
        read(der().replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020109"), 1))


def test_a_serial_number_that_is_none_is_read_without_a_word() -> None:
    assert read(der().replace(b"\x02\x01\x07", b"\x02\x01\x00", 1)).serial == 0


WHOLE = der(
    x509.SubjectAlternativeName([x509.DNSName("mx.a.test"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]),
    x509.BasicConstraints(ca=False, path_length=None),
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_octets_give_a_certificate_or_a_record_error(damage: list[tuple[int, int]]) -> None:
    octets = bytearray(WHOLE)
    for place, value in damage:
        octets[place] = value
    try:
        certificate = read(bytes(octets))
    except RecordError:
        return
    names_host(certificate, "mx.a.test")
    msgspec.structs.astuple(certificate)
