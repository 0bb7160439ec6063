"""TLS without a socket: octets in, octets out."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

from mailprobe.protocols.sasl import ChannelBinding

READ_SIZE = 65536


class TlsPipe:
    """The server side of one TLS connection. Every method leaves what is to be sent in ``output``."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def ends_with_client(self) -> bool:
        """True when the client's part ends the handshake, and what the server still sends answers nothing."""
        return self._object.version() == "TLSv1.3"

    @property
    def version(self) -> str:
        """The version that was agreed on, such as ``TLSv1.3``; empty before the handshake is finished."""
        return self._object.version() or ""

    @property
    def identity(self) -> str | None:
        """The common name in the client's certificate, None without one that is trusted."""
        certificate: Mapping[str, Any] = self._object.getpeercert() or {}
        names = (value for entry in certificate.get("subject", ()) for key, value in entry if key == "commonName")
        return next(names, None)

    def bindings(self, certificate: bytes | None) -> tuple[ChannelBinding, ...]:
        """Give what both ends know of this connection; *certificate* is the server's own, as DER.

        ``tls-unique`` says nothing reliable in TLS 1.3 (RFC 8446 §C.5), and Python has no ``tls-exporter``.
        """
        found = [] if certificate is None else [ChannelBinding("tls-server-end-point", end_point(certificate))]
        unique = None if self.ends_with_client else self._object.get_channel_binding("tls-unique")
        if unique:
            found.append(ChannelBinding("tls-unique", unique))
        return tuple(found)

    def feed(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._incoming.write(data)

    def output(self) -> bytes:
        """Remove and give the octets for the wire."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Go on with the handshake; True when it is finished.

        Raises:
            ssl.SSLError: it failed; the alert is in the output.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self) -> tuple[bytes, bool]:
        """Give what can be decrypted now, and whether the client's close_notify has come.

        Raises:
            ssl.SSLError: the records make no sense, or hold an alert.
        """
        clear = bytearray()
        try:
            while chunk := self._object.read(READ_SIZE):
                clear += chunk
        except ssl.SSLWantReadError:
            return bytes(clear), False
        except ssl.SSLZeroReturnError:
            pass
        return bytes(clear), True

    def write(self, data: bytes) -> None:
        """Encrypt octets."""
        if data:
            self._object.write(data)

    def end(self) -> None:
        """Make a close_notify."""
        with contextlib.suppress(ssl.SSLError):  # it would like the client's, too
            self._object.unwrap()


def end_point(certificate: bytes) -> bytes:
    """Give the channel binding ``tls-server-end-point`` of a certificate in DER (RFC 5929 §4.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    named = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    weak = named is None or isinstance(named, hashes.MD5 | hashes.SHA1)
    digest = hashes.Hash(hashes.SHA256() if weak or named is None else named)
    digest.update(certificate)
    return digest.finalize()
