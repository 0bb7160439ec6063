"""The lab's certificate authority, made anew at each start, so that nothing in it can ever be out of date.

A certificate is made when a handshake first needs it. Keys live in files only while OpenSSL reads them, in a
directory that no one else can enter.
"""

from __future__ import annotations

import ssl
import threading
import warnings
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mailprobe.lab.certificates import Certificate, Chain, Issuer, KeyKind, Offer, Purpose

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


_V = ssl.TLSVersion

# Lowest and highest version and the cipher list; an empty list leaves the local default.
_OFFERS = {
    Offer.MODERN: (_V.TLSv1_2, _V.TLSv1_3, ""),
    Offer.TLS13_ONLY: (_V.TLSv1_3, _V.TLSv1_3, ""),
    Offer.TLS12_ONLY: (_V.TLSv1_2, _V.TLSv1_2, ""),
    Offer.TLS11_ONLY: (_V.TLSv1, _V.TLSv1_1, "ALL:@SECLEVEL=0"),
    Offer.TLS10_ONLY: (_V.TLSv1, _V.TLSv1, "ALL:@SECLEVEL=0"),
    Offer.TLS10_TOO: (_V.TLSv1, _V.TLSv1_3, "DEFAULT:@SECLEVEL=0"),
    Offer.NO_FORWARD_SECRECY: (_V.TLSv1_2, _V.TLSv1_2, "AES256-GCM-SHA384:AES128-GCM-SHA256"),
    Offer.NULL: (_V.TLSv1_2, _V.TLSv1_2, "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"),
    Offer.ANONYMOUS: (_V.TLSv1_2, _V.TLSv1_2, "AECDH-AES256-SHA:AECDH-AES128-SHA:@SECLEVEL=0"),
}
_NEEDS_RSA = (Offer.NO_FORWARD_SECRECY,)  # its key exchange is RSA


class Authority:
    """Makes certificates and server contexts; everything on first use, each once, from any thread.

    *directory* is where ``ca.pem`` goes and keys pass through; None for a temporary one.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._given = directory
        self._lock = threading.RLock()
        self._contexts: dict[object, ssl.SSLContext] = {}
        self._rsa_keys: dict[KeyKind, Key] = {}

    @cached_property
    def ca_file(self) -> Path:
        """A PEM file with the lab's root, the only certificate that clients of the lab trust."""
        from cryptography.hazmat.primitives.serialization import Encoding

        with self._lock:
            path = self._directory / "ca.pem"
            path.write_bytes(self._own.root.public_bytes(Encoding.PEM))
        return path

    def close(self) -> None:
        """Remove what was written."""
        if "_directory" not in self.__dict__:
            return
        (self._directory / "ca.pem").unlink(missing_ok=True)
        if self._given is None:
            self._directory.rmdir()

    @cached_property
    def _directory(self) -> Path:
        if self._given is not None:
            self._given.mkdir(parents=True, exist_ok=True)
            return self._given
        import tempfile  # here, because a lab without TLS needs none

        return Path(tempfile.mkdtemp(prefix="mailprobe-lab-"))  # for nobody else to enter

    def context(
        self,
        names: tuple[str, ...],
        certificate: Certificate = Certificate(),  # noqa: B008  frozen
        offer: Offer = Offer.MODERN,
        nameless: Certificate | None = None,
        *,
        needs_name: bool = False,
    ) -> ssl.SSLContext:
        """Give the server context of a host.

        Clients that send no SNI are served *nameless*, or an alert when the server *needs_name*.
        """
        key = (names, certificate, offer, nameless, needs_name)
        with self._lock:
            if key not in self._contexts:
                self._contexts[key] = self._make_context(names, certificate, offer)
                self._mind_name(self._contexts[key], names, offer, nameless, needs_name)
            return self._contexts[key]

    def _make_context(self, names: tuple[str, ...], certificate: Certificate, offer: Offer) -> ssl.SSLContext:
        context = bare_context(offer, weak=certificate.sha1 or certificate.key is KeyKind.RSA_1024)
        if offer in _NEEDS_RSA and certificate.key is KeyKind.EC_P256:
            certificate = msgspec.structs.replace(certificate, key=KeyKind.RSA_2048)
        if offer is not Offer.ANONYMOUS:
            self._load(context, self.issue(names, certificate))
        return context

    def _mind_name(
        self,
        context: ssl.SSLContext,
        names: tuple[str, ...],
        offer: Offer,
        nameless: Certificate | None,
        needs_name: bool,
    ) -> None:
        """Treat clients that send no SNI otherwise than the others."""
        other = None if nameless is None else self.context(names, nameless, offer)

        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            if name is None and other is not None:
                connection.context = other
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name is None and needs_name else None

        if other is not None or needs_name:
            context.sni_callback = choose

    def issue(self, names: tuple[str, ...], certificate: Certificate) -> bytes:
        """Make a key and a certificate; give both and the chain to send, as PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        with self._lock:
            key = self._key(certificate.key)
            if certificate.issuer is Issuer.ITSELF:
                sent = [_sign(certificate, names, key, None, key)]
            else:
                family = self._family(certificate.issuer)
                leaf = _sign(certificate, names, key, family.intermediate, family.intermediate_key)
                sent = [leaf, *self._chain(certificate, family)]
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + b"".join(each.public_bytes(Encoding.PEM) for each in sent)

    def _chain(self, certificate: Certificate, family: _Family) -> tuple[x509.Certificate, ...]:
        if certificate.chain is Chain.MISSING:
            return ()
        if certificate.chain is Chain.REVERSED:
            return (family.root, family.intermediate)
        if certificate.chain is Chain.UNRELATED:
            return (family.intermediate, self._stranger.intermediate)
        return (family.intermediate, family.root) if family is self._stranger else (family.intermediate,)

    def _load(self, context: ssl.SSLContext, pem: bytes) -> None:
        import tempfile

        with tempfile.NamedTemporaryFile(dir=self._directory, suffix=".pem") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)

    def _key(self, kind: KeyKind) -> Key:
        """Make a key pair; RSA ones are shared, because they take so long."""
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if kind is KeyKind.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        if kind not in self._rsa_keys:
            bits = 1024 if kind is KeyKind.RSA_1024 else 2048
            self._rsa_keys[kind] = rsa.generate_private_key(65537, bits)
        return self._rsa_keys[kind]

    def _family(self, issuer: Issuer) -> _Family:
        if issuer is Issuer.EXPIRED:
            return self._own_expired
        return self._own if issuer is Issuer.INTERMEDIATE else self._stranger

    @cached_property
    def _own(self) -> _Family:
        return _Family("mailprobe lab")

    @cached_property
    def _own_expired(self) -> _Family:
        return self._own.branch("expired intermediate", ends_days=-1.25)

    @cached_property
    def _stranger(self) -> _Family:
        return _Family("mailprobe stranger")


class _Family:
    """A root and the intermediate below it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._root_key = _ec_key()
        root = Certificate(common_name=f"{name} root", begins_days=-400, ends_days=3650, authority=True)
        self.root = _sign(root, (), self._root_key, None, self._root_key)
        self._add_intermediate("intermediate", ends_days=1825)

    def _add_intermediate(self, kind: str, ends_days: float) -> None:
        below = Certificate(common_name=f"{self._name} {kind}", begins_days=-366, ends_days=ends_days, authority=True)
        self.intermediate_key = _ec_key()
        self.intermediate = _sign(below, (), self.intermediate_key, self.root, self._root_key)

    def branch(self, kind: str, ends_days: float) -> _Family:
        """Give a family with the same root and another intermediate."""
        other = copy(self)
        other._add_intermediate(kind, ends_days)
        return other


def _ec_key() -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def bare_context(offer: Offer, *, weak: bool = False) -> ssl.SSLContext:
    """Make a server context without a certificate; *weak* lets OpenSSL load a certificate it would refuse.

    Raises:
        ssl.SSLError: this OpenSSL cannot do what the offer asks for.
    """
    lowest, highest, ciphers = _OFFERS[offer]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nobody resumes; without tickets, nothing is left unread when a client hangs up
    if weak and not ciphers:
        ciphers = "DEFAULT:@SECLEVEL=0"
    if ciphers:
        context.set_ciphers(ciphers)
    if lowest >= _V.TLSv1_2:
        context.minimum_version, context.maximum_version = lowest, highest
        return context
    with warnings.catch_warnings():  # that they are deprecated is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    return context


def unavailable(offer: Offer) -> str:
    """Say why the local OpenSSL cannot serve an offer, as a handshake with itself tells; empty when it can."""
    if offer in (Offer.MODERN, Offer.TLS12_ONLY, Offer.TLS13_ONLY):
        return ""
    try:
        context = bare_context(offer)
    except (ssl.SSLError, ValueError) as error:
        return f"{ssl.OPENSSL_VERSION} cannot do {offer.value}: {error}"
    oldest = {"TLSv1", "TLSv1.0", "TLSv1.1"}
    old = offer in (Offer.TLS11_ONLY, Offer.TLS10_ONLY)
    usable = any(not old or cipher["protocol"] in (*oldest, "SSLv3") for cipher in context.get_ciphers())
    return "" if usable else f"{ssl.OPENSSL_VERSION} has no cipher for {offer.value}"


def _sign(
    certificate: Certificate,
    names: tuple[str, ...],
    key: Key,
    issuer: x509.Certificate | None,
    issuer_key: Key,
) -> x509.Certificate:
    """Make a certificate with its issuer's key; without an issuer it stands for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    names = certificate.names or names
    subject = _subject(certificate, names)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=certificate.begins_days))
        .not_valid_after(now + timedelta(days=certificate.ends_days))
    )
    for extension, critical in _extensions(certificate, names, key, issuer_key):
        builder = builder.add_extension(extension, critical)
    made = builder.sign(issuer_key, hashes.SHA256())
    return _resigned_with_sha1(made, issuer_key) if certificate.sha1 else made


def _subject(certificate: Certificate, names: tuple[str, ...]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.COMMON_NAME, certificate.common_name or names[0])]
    if certificate.organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, certificate.organization))
    return x509.Name(parts)


def _extensions(
    certificate: Certificate, names: tuple[str, ...], key: Key, issuer_key: Key
) -> list[tuple[x509.ExtensionType, bool]]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=certificate.key is not KeyKind.EC_P256,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate.authority,
        crl_sign=certificate.authority,
        encipher_only=False,
        decipher_only=False,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=certificate.authority, path_length=None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]
    if names:
        server = certificate.purpose is Purpose.SERVER
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        extensions.append((x509.ExtendedKeyUsage([purpose]), False))
    if names and certificate.lists_names:
        extensions.append((x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False))
    if certificate.garbled:
        kind = ExtensionOID.AUTHORITY_INFORMATION_ACCESS
        extensions.append((x509.UnrecognizedExtension(kind, b"http://ca.lab.test/"), False))  # no DER at all
    return extensions


_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # AlgorithmIdentifier, RFC 5758 §3.2
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def _resigned_with_sha1(made: x509.Certificate, issuer_key: Key) -> x509.Certificate:
    """Sign again with SHA-1, which the builder refuses: another algorithm name, new lengths, a new signature."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("only the lab's own EC authorities sign with SHA-1")
    wire = made.tbs_certificate_bytes
    content = wire[2 + (wire[1] & 0x7F if wire[1] & 0x80 else 0) :]
    content = content.replace(_ECDSA_SHA256, _ECDSA_SHA1, 1)
    to_be_signed = _der(0x30, content)
    signature = issuer_key.sign(to_be_signed, ec.ECDSA(hashes.SHA1()))
    whole = _der(0x30, to_be_signed + _ECDSA_SHA1 + _der(0x03, b"\0" + signature))
    return x509.load_der_x509_certificate(whole)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content
