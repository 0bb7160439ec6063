"""Private keys for DKIM (RFC 6376 §3.3, RFC 8463): what is in the file, and the record that belongs to it."""

from __future__ import annotations

import base64
import binascii

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mailprobe.model.errors import RecordError

RSA_LEAST = 1024  # RFC 8301 §3.2: signers must not use less
_SEED_OCTETS = 32
_KEY_FILE_LIMIT = 65_536


class PrivateKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to sign with: *algorithm* is ``rsa-sha256`` or ``ed25519-sha256``.

    *secret* is the key as signing software takes it: PKCS#1 in PEM for RSA, the seed in base64 for Ed25519. *record* is
    the TXT record that lets others verify it.
    """

    algorithm: str
    bits: int
    secret: bytes
    record: str


def private_key(octets: bytes) -> PrivateKey:
    """Read the content of a key file: PEM, or for Ed25519 also its bare 32 octets in base64.

    Raises:
        RecordError: it is no private key for DKIM; the text says what it is instead.
    """
    if len(octets) > _KEY_FILE_LIMIT:
        raise RecordError(f"{len(octets)} octets are no key")
    seed = _seed(octets)
    key = Ed25519PrivateKey.from_private_bytes(seed) if seed else _from_pem(octets)
    if isinstance(key, RSAPrivateKey):
        return _rsa(key)
    if isinstance(key, Ed25519PrivateKey):
        return _ed25519(key)
    raise RecordError(f"a key of the kind {type(key).__name__.strip('_')}; DKIM knows RSA and Ed25519")


def _seed(octets: bytes) -> bytes:
    try:
        seed = base64.b64decode(octets.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return seed if len(seed) == _SEED_OCTETS else b""


def _from_pem(octets: bytes) -> object:
    if b"PRIVATE KEY-----" not in octets:
        what = "a public key or certificate" if b"-----BEGIN " in octets else "no key in PEM"
        raise RecordError(f"{what}; a private key is needed (-----BEGIN PRIVATE KEY-----)")
    try:
        return load_pem_private_key(octets, password=None)
    except TypeError:
        raise RecordError("the key is encrypted; write it out without a passphrase (openssl pkey)") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RecordError(f"the key cannot be read: {str(error).splitlines()[0][:120]}") from None


def _rsa(key: RSAPrivateKey) -> PrivateKey:
    if key.key_size < RSA_LEAST:
        raise RecordError(f"an RSA key of {key.key_size} bits; DKIM needs {RSA_LEAST} at least (RFC 8301 §3.2)")
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    return PrivateKey(algorithm="rsa-sha256", bits=key.key_size, secret=secret, record=record)


def _ed25519(key: Ed25519PrivateKey) -> PrivateKey:
    seed = base64.b64encode(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    record = f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"
    return PrivateKey(algorithm="ed25519-sha256", bits=256, secret=seed, record=record)
