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
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Tls, Trust
from mailprobe.records.certificate import Certificate, missing_issuer, names_host, path, read

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
        ("mx.a.test.", "mx.a.test", False),
        ("mx.a.test.", "mx.a.test.", False),
        ("*.a.test.", "mx.a.test", False),
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
_COMMON_NAME, _COUNTRY = b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x06\x0c"  # with the tag of UTF8String
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


def test_a_country_written_out_is_read_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    certificate = read(der(common_name="mx.a.test").replace(_COMMON_NAME, _COUNTRY))
    assert certificate.subject == "C=mx.a.test"
    assert not recwarn.list


WHOLE = der(
    x509.SubjectAlternativeName([x509.DNSName("mx.a.test"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]),
    x509.BasicConstraints(ca=False, path_length=None),
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
)


GARBLED_ACCESS = x509.UnrecognizedExtension(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"junk")
GARBLED_NAMES = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x82\x01\xff")


def test_an_extension_that_cannot_be_read_leaves_the_others_readable() -> None:
    certificate = read(
        der(
            GARBLED_ACCESS,
            x509.SubjectAlternativeName([x509.DNSName("mx.a.test")]),
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
        )
    )
    assert certificate.unreadable == ("authority information access",)
    assert (certificate.names, certificate.is_ca, certificate.for_servers) == (("mx.a.test",), True, False)
    assert certificate.issuer_urls == ()


def test_alternative_names_that_cannot_be_read_are_there_all_the_same() -> None:
    certificate = read(der(GARBLED_NAMES, GARBLED_ACCESS))
    assert certificate.unreadable == ("subject alternative name", "authority information access")
    assert (certificate.has_san, certificate.names) == (True, ())


def test_an_extension_that_stands_there_twice_is_not_read() -> None:
    first, second = x509.ObjectIdentifier("2.5.29.17"), x509.ObjectIdentifier("2.5.29.37")
    names = x509.SubjectAlternativeName([x509.DNSName("mx.a.test")])
    made = der(names, x509.UnrecognizedExtension(second, names.public_bytes()))
    octets = {oid: bytes((0x06, 3, 0x55, 0x1D, int(oid.dotted_string.rpartition(".")[2]))) for oid in (first, second)}
    certificate = read(made.replace(octets[second], octets[first]))
    assert certificate.unreadable == ("subject alternative name",)
    assert certificate.names == ()


def test_an_unknown_extension_is_no_fault() -> None:
    kind = x509.ObjectIdentifier("1.3.6.1.4.1.99999.200000.1")
    assert read(der(x509.UnrecognizedExtension(kind, b"junk"))).unreadable == ()
    assert read(der(x509.UnrecognizedExtension(kind, b"junk"), GARBLED_ACCESS)).unreadable == (
        "authority information access",
    )


LEAF, MIDDLE, ROOT = (
    der(issuer="middle"),
    der(common_name="middle", issuer="root"),
    der(common_name="root", issuer="root"),
)
FOREIGN = der(common_name="foreign", issuer="elsewhere")


@pytest.mark.parametrize(
    ("chain", "length", "missing"),
    [
        ((LEAF,), 1, "CN=middle"),
        ((LEAF, LEAF), 1, "CN=middle"),
        ((LEAF, FOREIGN), 1, "CN=middle"),
        ((LEAF, b"junk"), 1, "CN=middle"),
        ((LEAF, MIDDLE), 2, "CN=root"),
        ((LEAF, ROOT), 1, "CN=middle"),
        ((LEAF, MIDDLE, ROOT), 3, None),
        ((LEAF, ROOT, FOREIGN, MIDDLE), 3, None),
        ((ROOT,), 1, None),
        ((LEAF, der(common_name="middle", issuer="mx.a.test")), 2, None),
    ],
)
def test_a_chain_is_followed_by_the_names_of_issuers(
    chain: tuple[bytes, ...], length: int, missing: str | None
) -> None:
    assert len(path(chain)) == length
    for code in (2, 20, 21):
        assert missing_issuer(sent(chain, code)) == missing
    for code in (0, 10, 18, 19):
        assert missing_issuer(sent(chain, code)) is None


def test_a_chain_without_a_readable_leaf_leads_nowhere() -> None:
    with pytest.raises(RecordError):
        path((b"junk", LEAF))


def sent(chain: tuple[bytes, ...], code: int) -> Tls:
    trust = Trust(trusted=code == 0, code=code, reason="", depth=0, store="system")
    return Tls(version="TLSv1.3", cipher="", bits=256, server_name=None, chain=chain, trust=trust)


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
