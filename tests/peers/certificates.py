"""A certificate authority of our own, made anew for each test run, and the certificates a mail host may show."""

from __future__ import annotations

import datetime
from enum import StrEnum
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Kind(StrEnum):
    """What is right or wrong with a certificate; everything else about it is in order."""

    VALID = "valid"  # leaf and intermediate, root in the CA file
    EXPIRED = "expired"  # the leaf ended yesterday
    SELF_SIGNED = "self-signed"
    INCOMPLETE = "incomplete"  # the intermediate is not sent


class CertificateFiles(msgspec.Struct, frozen=True):
    """A PEM private key and the PEM certificates sent with it, leaf first."""

    key: Path
    chain: Path


class _Issuer(msgspec.Struct, frozen=True):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class CertificateAuthority:
    """A root and an intermediate; certificates last 90 days and began two days ago."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._issued = 0
        self._now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._root = self._authority("mailprobe test root", None)
        self._intermediate = self._authority("mailprobe test intermediate", self._root)
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(_pem(self._root.certificate))

    def issue(self, kind: Kind, *names: str) -> CertificateFiles:
        """Write a key and a chain for these DNS names, into files that no later call touches.

        A server may read them long after its start: Postfix does so in each process that it starts.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin = self._now - (91 if kind is Kind.EXPIRED else 2) * _DAY
        issuer = None if kind is Kind.SELF_SIGNED else self._intermediate
        leaf = _leaf(key, names, issuer, (begin, begin + 90 * _DAY))
        complete = kind in (Kind.VALID, Kind.EXPIRED)
        chain = [leaf, self._intermediate.certificate] if complete else [leaf]
        self._issued += 1
        stem = f"{names[0]}-{kind.value}-{self._issued}"
        files = CertificateFiles(self._directory / f"{stem}.key", self._directory / f"{stem}.pem")
        files.key.write_bytes(_pem_key(key))
        files.key.chmod(0o600)
        files.chain.write_bytes(b"".join(map(_pem, chain)))
        return files

    def _authority(self, name: str, issuer: _Issuer | None) -> _Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        path_length = 1 if issuer is None else 0
        builder = _builder(name, key, issuer, (self._now - 30 * _DAY, self._now + 3650 * _DAY))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        return _Issuer(key, builder.sign(key if issuer is None else issuer.key, hashes.SHA256()))


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    issuer: _Issuer | None,
    period: tuple[datetime.datetime, datetime.datetime],
) -> x509.Certificate:
    builder = _builder(names[0], key, issuer, period)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(key if issuer is None else issuer.key, hashes.SHA256())


def _builder(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: _Issuer | None,
    period: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = key.public_key() if issuer is None else issuer.key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
