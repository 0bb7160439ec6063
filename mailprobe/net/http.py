"""One HTTP/1.1 request over a stream: enough for a resolver over HTTPS, with every octet bounded."""

from __future__ import annotations

import h11
import msgspec

from mailprobe.model.errors import NetworkError
from mailprobe.model.evidence import Kind
from mailprobe.net.limits import Deadline
from mailprobe.net.stream import Stream

BODY_LIMIT = 131_072


class Response(msgspec.Struct, frozen=True):
    """A whole response; header names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def exchange(
    stream: Stream, *, method: str, host: str, path: str, headers: dict[str, str], body: bytes, deadline: Deadline
) -> Response:
    """Send one request and read its response. Redirects are not followed.

    Raises:
        NetworkError: GARBAGE for what is no HTTP, LIMIT for too long a body, or as `Stream.read`.
    """
    connection = h11.Connection(h11.CLIENT)
    lines = {"Host": host, "Connection": "close", "Content-Length": str(len(body)), **headers}
    request = h11.Request(method=method, target=path, headers=list(lines.items()))
    parts = (connection.send(request), connection.send(h11.Data(data=body)), connection.send(h11.EndOfMessage()))
    stream.write(b"".join(part for part in parts if part))
    try:
        return await _response(connection, stream, deadline)
    except h11.RemoteProtocolError as error:
        raise NetworkError(Kind.GARBAGE, f"no HTTP response: {error}") from None


async def _response(connection: h11.Connection, stream: Stream, deadline: Deadline) -> Response:
    head: h11.Response | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await _more(stream, deadline, begun=head is not None))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise NetworkError(Kind.LIMIT, f"an HTTP body of more than {BODY_LIMIT} octets")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers)
            return Response(head.status_code, headers, body)


async def _more(stream: Stream, deadline: Deadline, *, begun: bool) -> bytes:
    try:
        return await stream.read(deadline.remaining(60.0))
    except NetworkError as error:
        if error.kind is Kind.CLOSED and begun:
            return b""  # for h11 the end is an event, and may be the end of the body
        raise
