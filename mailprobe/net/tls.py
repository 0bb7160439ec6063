"""TLS contexts, made once and shared, and the facts of a finished handshake.

The survey accepts everything the local OpenSSL can speak and verifies nothing: whether the handshake works and
whether the certificate is good are two facts, and the second is asked of `mailprobe.net.trust`.
"""

from __future__ import annotations

import functools
import ssl
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

from mailprobe.model.evidence import Tls, Trust

Context = ssl.SSLContext

# Everything, the good ones first: a server that takes a weak or anonymous suite has nothing better.
_ALL_CIPHERS = "ALL:COMPLEMENTOFALL:+aNULL:+eNULL:@SECLEVEL=0"


@functools.cache
def survey_context() -> ssl.SSLContext:
    """Offer every version and cipher that the local OpenSSL has, and verify nothing."""
    return _open_context(ssl.TLSVersion.TLSv1, ssl.TLSVersion.MAXIMUM_SUPPORTED)


@functools.cache
def legacy_context() -> ssl.SSLContext:
    """Offer TLS 1.1 at most, to learn whether a server still takes it (RFC 8996)."""
    return _open_context(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)


@functools.cache
def verified_context(ca_file: str | None) -> ssl.SSLContext:
    """Verify as a careful client does; for resolvers over TLS and HTTPS, never for the survey."""
    context = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 set it; without it the answer is the same on every Python, and private authorities pass.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _open_context(lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(_ALL_CIPHERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are asked for on purpose
        context.minimum_version = lowest
        context.maximum_version = highest
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    return context


def facts(tls: ssl.SSLObject, server_name: str | None, verify: Callable[[tuple[bytes, ...]], Trust | None]) -> Tls:
    """Write down a finished handshake; *verify* is asked about the chain when there is one."""
    cipher = tls.cipher()
    chain = sent_chain(tls)
    return Tls(
        version=tls.version() or "",
        cipher=cipher[0] if cipher else "",
        bits=cipher[2] if cipher else 0,
        server_name=server_name,
        chain=chain,
        trust=verify(chain) if chain else None,
    )


def sent_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Give the certificates in the order in which the server sent them, as DER; empty for anonymous suites."""
    public: Callable[[], Iterable[bytes]] | None = getattr(tls, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return tuple(public() or ())
    inner: Any = getattr(tls, "_sslobj")  # noqa: B009 - private up to Python 3.12, where nothing else tells
    return tuple(certificate.public_bytes(2) for certificate in inner.get_unverified_chain() or ())


def channel_binding(tls: ssl.SSLObject) -> tuple[Literal["tls-unique", "tls-server-end-point"], bytes] | None:
    """Give what only the two ends of this TLS connection know, and the name of its kind, or None.

    Up to TLS 1.2 that is ``tls-unique`` (RFC 5929 §3). Python cannot export keys, as ``tls-exporter`` for TLS 1.3
    (RFC 9266) needs, so there it is ``tls-server-end-point``: the certificate's hash (RFC 5929 §4.1).
    """
    if tls.version() != "TLSv1.3":
        unique = tls.get_channel_binding("tls-unique")
        if unique:
            return "tls-unique", unique
    chain = sent_chain(tls)
    digest = _end_point(chain[0]) if chain else None
    return ("tls-server-end-point", digest) if digest else None


def _end_point(der: bytes) -> bytes | None:
    import hashlib

    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        algorithm = x509.load_der_x509_certificate(der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:  # Ed25519 has none, and RFC 5929 no word for that
        return None
    name = "sha256" if algorithm.name in {"md5", "sha1"} else algorithm.name
    return hashlib.new(name, der).digest()
