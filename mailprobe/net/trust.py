"""What a trust store says of a chain, apart from the handshake that brought it.

OpenSSL's own verifier is asked, because its view is the view of most mail clients and servers. Names are not
its business here: whether a certificate names the host is judged from the certificate.
"""

from __future__ import annotations

import ssl
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Trust

if TYPE_CHECKING:
    from OpenSSL.crypto import X509Store


class TrustStore:
    """The trust anchors of one run: the system's, or those of one PEM file. Loaded once, when first needed."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._verdicts: dict[tuple[bytes, ...], Trust] = {}
        self._store: X509Store | None = None
        self._loading = threading.Lock()

    @property
    def name(self) -> str:
        """Where the anchors come from, for the evidence."""
        return str(self._ca_file) if self._ca_file else "system"

    def verify(self, chain: tuple[bytes, ...], at: datetime) -> Trust:
        """Verify a chain as sent, leaf first, at a point in time. The same chain is verified once per run.

        Raises:
            UsageError: the file with the trust anchors cannot be used.
        """
        if chain not in self._verdicts:
            self._verdicts[chain] = self._verify(chain, at)
        return self._verdicts[chain]

    def _verify(self, chain: tuple[bytes, ...], at: datetime) -> Trust:
        from OpenSSL import crypto

        try:
            leaf, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain)
        except (crypto.Error, ValueError) as error:
            return self._trust(1, f"a certificate in the chain cannot be read: {error}", 0)
        store = self.load()
        store.set_time(at.replace(tzinfo=None))
        try:
            crypto.X509StoreContext(store, leaf, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            code, depth, reason = error.errors[0], error.errors[1], error.errors[2]
            return self._trust(code, str(reason), depth)
        return self._trust(0, "ok", 0)

    def _trust(self, code: int, reason: str, depth: int) -> Trust:
        return Trust(trusted=code == 0, code=code, reason=reason, depth=depth, store=self.name)

    def load(self) -> X509Store:
        """Load the trust anchors, unless they are there; any thread may do it ahead of time.

        Raises:
            UsageError: there are none, or the file with them cannot be used.
        """
        with self._loading:
            if self._store is None:
                self._store = self._loaded()
            return self._store

    def _loaded(self) -> X509Store:
        from OpenSSL import crypto

        store = crypto.X509Store()
        system = ssl.get_default_verify_paths()
        cafile = str(self._ca_file) if self._ca_file else system.cafile
        capath = None if self._ca_file else system.capath
        if not (cafile or capath):
            raise UsageError("no system trust store was found; give one with --ca-file")
        try:
            store.load_locations(cafile, capath)
        except crypto.Error:
            raise UsageError(f"{cafile or capath}: no certificates in PEM form there; check --ca-file") from None
        return store
