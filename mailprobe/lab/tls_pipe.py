"""TLS without a socket: octets in, octets out."""

from __future__ import annotations

import contextlib
import ssl

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
