"""A certificate authority of the tests' own, independent of the lab's."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
TODAY = datetime.now(UTC).replace(microsecond=0)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


class Issued(NamedTuple):
    """A certificate, its key, and what a careful server sends behind it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def chain(self) -> tuple[bytes, ...]:
        return (self.der, *(each.public_bytes(Encoding.DER) for each in self.above))


def issue(
    common_name: str,
    *names: str,
    issuer: Issued | None = None,
    above: tuple[x509.Certificate, ...] = (),
    begins: timedelta = timedelta(days=-1),
    lifetime: timedelta = timedelta(days=90),
    at: datetime = TODAY,
    authority: bool = False,
    purposes: tuple[x509.ObjectIdentifier, ...] | None = SERVER,
    key: Key | None = None,
) -> Issued:
    """Make a certificate; without *names* it has no alternative name, without *issuer* it signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at + begins)
        .not_valid_after(at + begins + lifetime)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if purposes is not None and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key, above)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """A root with an intermediate below it."""

    def __init__(self, name: str = "tests", at: datetime = TODAY) -> None:
        ago, years = timedelta(days=-365), timedelta(days=3650)
        self._at = at
        self.root = issue(f"{name} root", authority=True, begins=ago, lifetime=years, at=at)
        self.intermediate = issue(
            f"{name} intermediate", issuer=self.root, authority=True, begins=ago, lifetime=years, at=at
        )

    def server(
        self,
        *names: str,
        begins: timedelta = timedelta(days=-1),
        lifetime: timedelta = timedelta(days=90),
        purposes: tuple[x509.ObjectIdentifier, ...] | None = SERVER,
        key: Key | None = None,
    ) -> Issued:
        """Make a server's certificate, with the intermediate to send behind it."""
        return issue(
            names[0],
            *names,
            issuer=self.intermediate,
            above=(self.intermediate.certificate,),
            begins=begins,
            lifetime=lifetime,
            at=self._at,
            purposes=purposes,
            key=key,
        )

    @cached_property
    def pem(self) -> bytes:
        return self.root.certificate.public_bytes(Encoding.PEM)

    def write(self, directory: Path) -> Path:
        """Write the root as a PEM file and give its path."""
        path = directory / "root.pem"
        path.write_bytes(self.pem)
        return path


def server_context(issued: Issued) -> ssl.SSLContext:
    """Make a server's context that sends the certificate and those above it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    private = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = b"".join(each.public_bytes(Encoding.PEM) for each in (issued.certificate, *issued.above))
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(private + public)
        file.flush()
        context.load_cert_chain(file.name)
    return context
