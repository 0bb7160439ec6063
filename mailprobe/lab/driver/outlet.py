"""What goes out to one client: in clear at first, through TLS once it is there, and in one write where it can."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

from mailprobe.lab.tls_pipe import TlsPipe

OUTBOX_LIMIT = 65536


class Outlet:
    """Octets on their way to one client."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting = bytearray()
        self._tls: TlsPipe | None = None

    def through(self, tls: TlsPipe) -> None:
        """Encrypt from now on."""
        self._tls = tls

    def write(self, data: bytes) -> None:
        """Send octets, through TLS if it is there."""
        if self._tls is None:
            self._waiting += data
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:  # the client has ended TLS in the meantime
            self._transport.abort()
        self._waiting += self._tls.output()

    def clear(self, data: bytes) -> None:
        """Send octets as they are, even inside TLS."""
        self._waiting += data

    def end_tls(self) -> None:
        """Send the close_notify, if there is TLS."""
        if self._tls is not None:
            self._tls.end()
            self._waiting += self._tls.output()

    def flush_when_full(self) -> None:
        """Write when much is waiting."""
        if len(self._waiting) > OUTBOX_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        data = bytes(self._waiting)
        self._waiting.clear()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def reset(self) -> None:
        """End the connection with a TCP RST."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()
