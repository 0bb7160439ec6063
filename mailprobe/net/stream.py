"""A connection whose every octet is ours, in clear or inside TLS, over TCP or a unix socket.

TLS runs over two memory buffers (`ssl.MemoryBIO`), never through ``start_tls`` of a library: octets that a
server sends between its go-ahead and the handshake stay visible, and a handshake that meets something else than TLS
keeps what it met.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
from collections.abc import Callable
from typing import cast

from mailprobe.model.errors import NetworkError
from mailprobe.model.evidence import Kind
from mailprobe.net.limits import SESSION_OCTETS_LIMIT

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux has it; elsewhere ACKs come when they come
# Alerts that OpenSSL names without the word (RFC 6066 §9).
_ALERTS_OF_EXTENSIONS = {
    "TLSV1_UNSUPPORTED_EXTENSION",
    "TLSV1_CERTIFICATE_UNOBTAINABLE",
    "TLSV1_UNRECOGNIZED_NAME",
    "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
    "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
}
_FAMILY = re.compile(r"(sslv3|tlsv1|tlsv13) (alert )?")
_READ_OCTETS = 65_536
_FIRST_OCTETS = 2_048  # of a failed handshake, kept to recognise what answered
_TLS_CONTENT_TYPES = range(20, 25)  # RFC 8446 §5.1 and heartbeat, RFC 6520 §3
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETDOWN}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRINUSE}


class Stream(asyncio.BufferedProtocol):
    """One connection. Make it with `open_stream` or `open_socket`; close it always."""

    def __init__(self, on_close: Callable[[], None], octets_limit: int = SESSION_OCTETS_LIMIT) -> None:
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_READ_OCTETS)
        self._received = bytearray()
        self._total = 0
        self._octets_limit = octets_limit
        self._paused = False  # the peer takes less than we have for it
        self._end: NetworkError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._closed = False
        self._on_arrival: Callable[[], None] | None = None

    # -- what asyncio calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's signature
        """Lend the loop our own buffer: for a read of its own it allocates 256 KiB, which takes longer than reading."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has been put into the buffer."""
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Keep octets until they are read; end the connection over the session limit."""
        self._received += data
        self._total += len(data)
        if self._total > self._octets_limit and self._end is None:
            self._end = NetworkError(Kind.LIMIT, f"more than {self._octets_limit} octets in one session")
            assert self._transport is not None
            self._transport.abort()
        self._wake()

    def eof_received(self) -> bool:
        """Note the peer's FIN; our side stays open for what is still to be said."""
        self._end = self._end or NetworkError(Kind.CLOSED, "the server closed the connection")
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note how the connection ended."""
        if self._end is None:
            reset = isinstance(exc, ConnectionError)
            self._end = (
                NetworkError(Kind.RESET, "the server reset the connection")
                if reset
                else NetworkError(Kind.CLOSED, "the server closed the connection")
            )
        self._wake()

    def pause_writing(self) -> None:
        """Learn that the peer takes less than we have for it."""
        self._paused = True

    def resume_writing(self) -> None:
        """Learn that it has taken nearly everything."""
        self._paused = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what our side calls -----------------------------------------------------------------------------------

    @property
    def local_address(self) -> str:
        """The address that this connection leaves from; empty for a unix socket."""
        assert self._transport is not None
        name = self._transport.get_extra_info("sockname")
        return str(name[0]) if isinstance(name, tuple) else ""

    def allow(self, octets: int) -> None:
        """Let the peer send so many octets more than the session was to have, such as those of a letter asked for."""
        self._octets_limit += octets

    def write(self, data: bytes) -> None:
        """Send *data* in one segment where it fits: two small writes would meet delayed ACK."""
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):  # after the peer's end; reading reports that end
                self._tls.write(data)
            data = self._outgoing.read()
        self._send(data)

    async def sent(self, limit_s: float) -> None:
        """Wait until what was written is nearly out, or until the peer has something to say, which comes first.

        *limit_s* is for each time the peer takes some of it, not for the whole.

        Raises:
            NetworkError: the limit passed (TIMEOUT). That the connection has ended is told by reading.
        """
        while self._paused and not self._received and self._end is None:
            before = self.unsent
            try:
                async with asyncio.timeout(limit_s):
                    await self._wait()
            except TimeoutError:
                if self.unsent >= before:
                    raise NetworkError(Kind.TIMEOUT, f"the server took nothing for {limit_s:.1f} s") from None

    async def read(self, limit_s: float) -> bytes:
        """Return at least one octet.

        Raises:
            NetworkError: the limit passed (TIMEOUT), the peer ended (CLOSED, RESET), or too many octets (LIMIT).
        """
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    data = self._take() if self._tls is None else self._decrypt(self._tls)
                    if data:
                        return data
                    await self._wait()
        except TimeoutError:
            raise NetworkError(Kind.TIMEOUT, f"nothing more within {limit_s:.1f} s") from None

    def call_on_arrival(self, on_arrival: Callable[[], None] | None) -> None:
        """Call *on_arrival* from now on when octets have come or the connection has ended, for many short reads.

        It asks `read_now`, and keeps the time itself: a timer and a waiting task for each read cost more than the read.
        """
        self._on_arrival = on_arrival

    def read_now(self) -> bytes:
        """Return what has arrived, empty when nothing has. The limit on octets counts anew from here.

        Raises:
            NetworkError: nothing has arrived and nothing will: CLOSED, RESET, LIMIT, or what `give_up` said.
        """
        self._total = 0
        data = self._take() if self._tls is None else self._decrypt(self._tls)
        if not data and self._end is not None:
            raise self._end
        return data

    def give_up(self, error: NetworkError) -> None:
        """End the connection at once for a reason of ours."""
        self._end = self._end or error
        if self._transport is not None:
            self._transport.abort()

    @property
    def unsent(self) -> int:
        """How many octets the peer has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def handshake(self, context: ssl.SSLContext, server_name: str | None, limit_s: float) -> None:
        """Change to TLS as client, sending *server_name* as SNI unless None.

        Raises:
            NetworkError: TLS_ALERT, NOT_TLS (with the octets met in *unread*), TLS_FAILED, or as `read`.
        """
        first = bytearray()
        try:
            tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        except ValueError as error:  # names that OpenSSL or Python's codec cannot take
            raise NetworkError(Kind.LOCAL, f"TLS cannot be asked for {server_name!r}: {error}") from None
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        self._send(self._outgoing.read())
                        data = await self._take_some()
                        if len(first) < _FIRST_OCTETS:
                            first += data[:_FIRST_OCTETS]
                        self._incoming.write(data)
        except ssl.SSLError as error:
            self._send(self._outgoing.read())  # our alert
            raise _handshake_error(error, bytes(first)) from None
        except TimeoutError:
            raise NetworkError(Kind.TIMEOUT, f"the handshake took more than {limit_s:.1f} s", bytes(first)) from None
        except NetworkError as error:
            raise NetworkError(error.kind, f"{error} during the handshake", bytes(first)) from None
        self._tls = tls
        self._send(self._outgoing.read())

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The finished TLS session, None in clear."""
        return self._tls

    def unread(self) -> bytes:
        """Remove and return the octets that arrived in clear and were not read."""
        return self._take()

    def close(self) -> None:
        """End the connection in good order, with close_notify inside TLS; safe to call again."""
        if self._closed:
            return
        self._closed = True
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._send(self._outgoing.read())
        if self._transport is not None and self.unsent:
            self._transport.abort()  # the peer takes nothing, and closing would wait until it does
        elif self._transport is not None:
            self._transport.close()
        self._on_close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            self._ask_for_quick_acks(self._transport)

    def _ask_for_quick_acks(self, transport: asyncio.Transport) -> None:
        """Have the kernel acknowledge at once; it forgets this whenever we send, so say it again.

        Many servers write session tickets and then a reply, two small writes, of which Nagle's algorithm (RFC 896)
        holds back the second until the first is acknowledged: 40 ms in each conversation.
        """
        if _QUICK_ACK is not None:
            channel = transport.get_extra_info("socket")
            if channel is not None:
                with contextlib.suppress(OSError):  # the connection has ended meanwhile; reading reports that
                    channel.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _take(self) -> bytes:
        data = bytes(self._received)
        self._received.clear()
        return data

    async def _take_some(self) -> bytes:
        while not self._received:
            await self._wait()
        return self._take()

    def _decrypt(self, tls: ssl.SSLObject) -> bytes:
        if self._received:
            self._incoming.write(self._take())
        try:
            return tls.read(65_536)
        except ssl.SSLWantReadError:
            self._send(self._outgoing.read())
            return b""
        except ssl.SSLZeroReturnError:
            raise NetworkError(Kind.CLOSED, "the server closed the TLS session") from None
        except ssl.SSLError as error:
            if _is_alert(error):
                raise NetworkError(Kind.TLS_ALERT, _reason(error)) from None
            raise NetworkError(Kind.TLS_FAILED, f"inside TLS: {_reason(error)}") from None

    async def _wait(self) -> None:
        if self._received:
            return
        if self._end is not None:
            raise self._end
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._on_arrival is not None:
            self._on_arrival()
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def open_stream(
    address: str,
    port: int,
    *,
    source: str | None,
    limit_s: float,
    on_close: Callable[[], None],
    octets_limit: int = SESSION_OCTETS_LIMIT,
) -> Stream:
    """Connect to an IP address. The peer may send *octets_limit* in all, until `Stream.allow` says more.

    Raises:
        NetworkError: REFUSED, UNREACHABLE, RESET, TIMEOUT, or LOCAL when this machine could not try.
    """
    loop = asyncio.get_running_loop()
    local = (source, 0) if source else None
    try:
        async with asyncio.timeout(limit_s):
            _, stream = await loop.create_connection(
                lambda: Stream(on_close, octets_limit), address, port, local_addr=local
            )
    except TimeoutError:
        raise NetworkError(Kind.TIMEOUT, f"no connection within {limit_s:.1f} s") from None
    except OSError as error:
        raise _connect_error(error, source) from None
    return stream


async def open_socket(path: str, *, limit_s: float, octets_limit: int = SESSION_OCTETS_LIMIT) -> Stream:
    """Connect to a unix socket; who may is up to its permissions.

    Raises:
        NetworkError: REFUSED when nobody listens, LOCAL when there is no such socket or it may not be used, TIMEOUT.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            _, stream = await loop.create_unix_connection(lambda: Stream(lambda: None, octets_limit), path)
    except TimeoutError:
        raise NetworkError(Kind.TIMEOUT, f"no connection within {limit_s:.1f} s") from None
    except ConnectionRefusedError:
        raise NetworkError(Kind.REFUSED, f"connection refused: nobody listens at {path}") from None
    except BlockingIOError:  # the queue of connections is full, and unix sockets do not wait (EAGAIN)
        raise NetworkError(Kind.REFUSED, f"connection refused: too many wait at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise NetworkError(Kind.LOCAL, f"this machine could not connect to {path}: {reason}") from None
    except AttributeError:  # pragma: no cover - Windows has none
        raise NetworkError(Kind.LOCAL, "this machine has no unix sockets") from None
    return stream


def _connect_error(error: OSError, source: str | None) -> NetworkError:
    reason = error.strerror or str(error)
    if isinstance(error, ConnectionRefusedError):
        return NetworkError(Kind.REFUSED, "connection refused")
    if isinstance(error, ConnectionError):
        return NetworkError(Kind.RESET, "the server reset the connection")
    if error.errno == errno.ETIMEDOUT:
        return NetworkError(Kind.TIMEOUT, "no answer to the connection request")
    if source and (error.errno == errno.EADDRNOTAVAIL or "bind" in str(error)):
        return NetworkError(Kind.LOCAL, f"cannot send from {source}: {reason}")
    if error.errno in _NO_ROUTE:
        return NetworkError(Kind.UNREACHABLE, f"unreachable from here: {reason}")
    if error.errno in _NOT_ALLOWED:
        return NetworkError(Kind.LOCAL, f"this machine could not connect: {reason}")
    return NetworkError(Kind.UNREACHABLE, reason)


def _handshake_error(error: ssl.SSLError, first: bytes) -> NetworkError:
    if first and first[0] not in _TLS_CONTENT_TYPES:
        return NetworkError(Kind.NOT_TLS, "the server answered the TLS hello with something that is no TLS", first)
    if _is_alert(error):
        return NetworkError(Kind.TLS_ALERT, _reason(error), first)
    return NetworkError(Kind.TLS_FAILED, _reason(error), first)


def _is_alert(error: ssl.SSLError) -> bool:
    return "ALERT" in (error.reason or "") or error.reason in _ALERTS_OF_EXTENSIONS


def _reason(error: ssl.SSLError) -> str:
    text = (error.reason or str(error)).replace("_", " ").lower()
    if not _is_alert(error):
        return text
    return f"the server sent the TLS alert '{_FAMILY.sub('', text, count=1)}'"
