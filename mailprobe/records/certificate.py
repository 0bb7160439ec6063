"""X.509 certificates (RFC 5280): DER -> the facts that mail cares about."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Tls
from mailprobe.records.extensions import BAD, extensions, name_of


class Certificate(msgspec.Struct, frozen=True):
    """What a certificate says.

    *names* and *addresses* come from the subject alternative name, *has_san* tells whether there is one at all.
    *key* is ``RSA``, ``EC``, ``DSA``, ``Ed25519``, ``Ed448`` or the type's own name, its OID where the library does
    not know it; *key_bits* 0 where it has no meaning. *signature_hash* is ``sha256`` and the like, empty where the
    algorithm has none of its own, or one that is not known.
    *purposes* are the extended key usages as dotted OIDs, None when the extension is absent. *unreadable* names the
    extensions that could not be read; what they would have said is missing from the other fields.
    """

    subject: str
    issuer: str
    common_name: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    has_san: bool
    not_before: datetime
    not_after: datetime
    key: str
    key_bits: int
    signature_hash: str
    serial: int
    sha256: str
    is_ca: bool
    purposes: tuple[str, ...] | None
    issuer_urls: tuple[str, ...]
    unreadable: tuple[str, ...]
    subject_der: bytes
    issuer_der: bytes

    @property
    def self_issued(self) -> bool:
        """True when subject and issuer are the same name."""
        return self.subject_der == self.issuer_der

    @property
    def for_servers(self) -> bool:
        """True when the extended key usage lets a server use it (RFC 5280 §4.2.1.12)."""
        allowed = {
            ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,
        }
        return self.purposes is None or bool(allowed & set(self.purposes))

    def lifetime_days(self) -> float:
        """Give the days from its first to its last moment."""
        return (self.not_after - self.not_before).total_seconds() / 86_400

    def days_left(self, now: datetime) -> float:
        """Give the days until it expires; negative afterwards."""
        return (self.not_after - now).total_seconds() / 86_400


SAN, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE = (
    name_of(oid)
    for oid in (
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
    )
)
ISSUER_MISSING = {2, 20, 21}  # OpenSSL's X509_V_ERR numbers for an issuer's certificate that is nowhere


@functools.lru_cache(maxsize=4_096)
def read(der: bytes) -> Certificate:
    """Read a certificate.

    Raises:
        RecordError: the octets are no certificate, or one that breaks RFC 5280 beyond reading.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd serials and names; the reader is not its author
            return _read(x509.load_der_x509_certificate(der))
    except (*BAD, x509.InvalidVersion) as error:
        raise RecordError(f"the certificate cannot be read: {error}") from None


def _read(certificate: x509.Certificate) -> Certificate:
    found = extensions(certificate)
    san = found.find(x509.SubjectAlternativeName)
    constraints = found.find(x509.BasicConstraints)
    usage = found.find(x509.ExtendedKeyUsage)
    key, bits = _key(certificate)
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        common_name=_common_name(certificate.subject),
        names=tuple(name.lower() for name in san.get_values_for_type(x509.DNSName)) if san else (),
        addresses=tuple(str(address) for address in san.get_values_for_type(x509.IPAddress)) if san else (),
        has_san=san is not None or SAN in found.unreadable,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=key,
        key_bits=bits,
        signature_hash=_signature_hash(certificate),
        serial=certificate.serial_number,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        is_ca=constraints is not None and constraints.ca,
        purposes=tuple(purpose.dotted_string for purpose in usage) if usage else None,
        issuer_urls=_issuer_urls(found.find(x509.AuthorityInformationAccess)),
        unreadable=found.unreadable,
        subject_der=certificate.subject.public_bytes(),
        issuer_der=certificate.issuer.public_bytes(),
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def _key(certificate: x509.Certificate) -> tuple[str, int]:
    try:
        key = certificate.public_key()
    except (ValueError, NotImplementedError, UnsupportedAlgorithm):
        return certificate.public_key_algorithm_oid.dotted_string, 0
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA", key.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", 0
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448", 0
    return type(key).__name__.removesuffix("PublicKey"), 0


def _signature_hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:  # newer than the library, or a national standard
        return ""
    return algorithm.name if algorithm is not None else ""


def _issuer_urls(access: x509.AuthorityInformationAccess | None) -> tuple[str, ...]:
    ours = AuthorityInformationAccessOID.CA_ISSUERS
    found = (item for item in access or () if item.access_method == ours)
    return tuple(str(item.access_location.value) for item in found)


def names_host(certificate: Certificate, host: str) -> bool:
    """Tell whether a certificate is for a host (RFC 9525 §6.3).

    Only the subject alternative name counts, never the common name. A wildcard stands for exactly one whole label,
    the first. An address must be there as an address. The final dot that *host* may have belongs in no certificate.
    """
    try:
        return str(ip_address(host)) in certificate.addresses
    except ValueError:
        wanted = host.lower().removesuffix(".").split(".")
    return any(_matches(pattern.split("."), wanted) for pattern in certificate.names)


def _matches(pattern: list[str], wanted: list[str]) -> bool:
    if len(pattern) != len(wanted) or pattern[1:] != wanted[1:]:
        return False
    return pattern[0] == wanted[0] or (pattern[0] == "*" and len(pattern) > 2)


def path(chain: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Follow a chain as sent from the leaf upwards, by the names of issuers, whatever the order.

    Certificates that cannot be read, or that lead nowhere, are passed over.

    Raises:
        RecordError: the leaf cannot be read.
    """
    found = [read(chain[0])]
    others = _readable(chain[1:])
    while not found[-1].self_issued:
        wanted = found[-1].issuer_der
        above = next((each for each in others if each.subject_der == wanted and each not in found), None)
        if above is None:
            break
        found.append(above)
    return tuple(found)


def missing_issuer(tls: Tls) -> str | None:
    """Name the issuer whose certificate had to be sent and was not; None when nothing is missing.

    Raises:
        RecordError: the leaf cannot be read.
    """
    if tls.trust is None or tls.trust.code not in ISSUER_MISSING:
        return None
    top = path(tls.chain)[-1]
    sent = {each.subject_der for each in _readable(tls.chain)}
    return None if top.issuer_der in sent else top.issuer


def _readable(chain: Sequence[bytes]) -> list[Certificate]:
    found = []
    for der in chain:
        try:
            found.append(read(der))
        except RecordError:
            continue
    return found
