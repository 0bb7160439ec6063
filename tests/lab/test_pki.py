"""The certificate authority: each defect is there, and nothing else is wrong."""

from __future__ import annotations

import ssl
import subprocess
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mailprobe.lab.certificates import Certificate, Chain, Issuer, KeyKind, Offer, Purpose
from mailprobe.lab.pki import Authority, bare_context, unavailable

NAMES = ("mx.a.lab.test", "a.lab.test")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def chain(authority: Authority, certificate: Certificate) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.issue(NAMES, certificate))


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str | None) -> ssl.SSLObject:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client


def tolerant() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


def problem(authority: Authority, certificate: Certificate) -> int:
    """Give the X509_V_ERR code that a client which trusts only the lab meets."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.hostname_checks_common_name = False
    try:
        handshake(authority.context(NAMES, certificate), context, NAMES[0])
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
    return 0


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (Certificate(), 0),
        (Certificate(begins_days=-91, ends_days=-1), 10),
        (Certificate(begins_days=1, ends_days=91), 9),
        (Certificate(begins_days=-85, ends_days=5), 0),
        (Certificate(ends_days=700), 0),
        (Certificate(names=("other.lab.test",)), 62),
        (Certificate(names=("*.a.lab.test",)), 0),
        (Certificate(names=("*.lab.test",)), 62),
        (Certificate(lists_names=False), 62),
        (Certificate(issuer=Issuer.ITSELF), 18),
        (Certificate(issuer=Issuer.EXPIRED), 10),
        (Certificate(garbled=True), 0),
        (Certificate(issuer=Issuer.STRANGER), 19),
        (Certificate(issuer=Issuer.STRANGER, chain=Chain.MISSING), 20),
        (Certificate(chain=Chain.MISSING), 20),
        (Certificate(chain=Chain.REVERSED), 0),
        (Certificate(chain=Chain.UNRELATED), 0),
        (Certificate(key=KeyKind.RSA_2048), 0),
        (Certificate(key=KeyKind.RSA_1024), 66),
        (Certificate(sha1=True), 68),
        (Certificate(purpose=Purpose.CLIENT), 26),
        (Certificate(authority=True), 0),
        (Certificate(organization="\x1b[2J"), 0),
    ],
)
def test_verification_meets_the_one_defect(authority: Authority, certificate: Certificate, code: int) -> None:
    assert problem(authority, certificate) == code


def test_healthy_certificate_is_what_public_authorities_issue(authority: Authority) -> None:
    leaf, intermediate = chain(authority, Certificate())
    leaf.verify_directly_issued_by(intermediate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)
    assert leaf.not_valid_before_utc < datetime.now(UTC) < leaf.not_valid_after_utc
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90)
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_order_of_the_chain(authority: Authority) -> None:
    def subjects(kind: Chain) -> list[str]:
        made = chain(authority, Certificate(chain=kind))[1:]
        return [each.subject.rfc4514_string().removeprefix("CN=mailprobe ") for each in made]

    assert subjects(Chain.COMPLETE) == ["lab intermediate"]
    assert subjects(Chain.MISSING) == []
    assert subjects(Chain.REVERSED) == ["lab root", "lab intermediate"]
    assert subjects(Chain.UNRELATED) == ["lab intermediate", "stranger intermediate"]


def test_sha1_signature_is_a_valid_one(authority: Authority) -> None:
    leaf, intermediate = chain(authority, Certificate(sha1=True))
    assert isinstance(leaf.signature_hash_algorithm, hashes.SHA1)
    key = intermediate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(hashes.SHA1()))


def test_small_key(authority: Authority) -> None:
    key = chain(authority, Certificate(key=KeyKind.RSA_1024))[0].public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 1024


def test_subject_can_hold_terminal_escapes(authority: Authority) -> None:
    leaf = chain(authority, Certificate(organization="\x1b]0;owned\x07"))[0]
    assert "\x1b]0;owned\x07" in [attribute.value for attribute in leaf.subject]


@pytest.mark.parametrize("offer", Offer)
def test_offers(authority: Authority, offer: Offer) -> None:
    if unavailable(offer):
        with pytest.raises(ssl.SSLError):
            bare_context(offer)
        return
    client = handshake(authority.context(NAMES, offer=offer), tolerant(), NAMES[0])
    cipher = client.cipher()
    assert cipher is not None
    expected = {
        Offer.TLS12_ONLY: "TLSv1.2",
        Offer.TLS11_ONLY: "TLSv1.1",
        Offer.TLS10_ONLY: "TLSv1",
        Offer.NULL: "ECDHE-ECDSA-NULL-SHA",
        Offer.NO_FORWARD_SECRECY: "AES256-GCM-SHA384",
        Offer.ANONYMOUS: "AECDH-AES256-SHA",
    }
    assert expected.get(offer, "TLSv1.3") in (client.version(), cipher[0])


def test_old_versions_beside_new_ones(authority: Authority) -> None:
    context = tolerant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1
    assert handshake(authority.context(NAMES, offer=Offer.TLS10_TOO), context, None).version() == "TLSv1"
    with pytest.raises(ssl.SSLError):
        handshake(authority.context(NAMES), context, None)


def test_other_certificate_without_a_name(authority: Authority) -> None:
    context = authority.context(NAMES, nameless=Certificate(names=("other.lab.test",)))

    def shown(name: str | None) -> str:
        der = handshake(context, tolerant(), name).getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()

    assert shown(NAMES[0]) == f"CN={NAMES[0]}"
    assert shown(None) == "CN=other.lab.test"


def test_contexts_are_made_once(authority: Authority) -> None:
    assert authority.context(NAMES) is authority.context(NAMES)
    assert authority.context(NAMES) is not authority.context(("b.lab.test",))


def test_only_the_root_stays_on_disk(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.context(NAMES)
    assert list(tmp_path.iterdir()) == []
    assert [authority.ca_file] == list(tmp_path.iterdir())
    assert b"PRIVATE" not in authority.ca_file.read_bytes()


def test_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(authority.issue(NAMES, Certificate()))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAMES[1]]
    command += ["-CAfile", str(authority.ca_file), "-untrusted", str(leaf), str(leaf)]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert shown.stdout.endswith(": OK\n"), shown.stderr
