"""Logging in with an OAuth token: OAUTHBEARER (RFC 7628) and Google's XOAUTH2 before it."""

from __future__ import annotations

import msgspec

from mailprobe.protocols.sasl.exchange import (
    ClientExchange,
    ClientSteps,
    Credentials,
    Known,
    Login,
    SaslError,
    ServerSteps,
    octets,
    text,
)

_XOAUTH2_FAILURE = b'{"status":"401","schemes":"bearer","scope":"mail"}'
_FAILURE = b'{"status":"invalid_token","scope":"mail"}'  # RFC 7628 §3.2.2
_SEPARATOR = b"\x01"


class TokenClient(ClientExchange):
    """Shows a token. A server that refuses it says why first, and wants an answer to that before its no."""

    def __init__(self, mechanism: str, credentials: Credentials) -> None:
        if not credentials.token:
            raise SaslError(f"{mechanism} needs a token")
        name, token = octets(credentials.acting_for or credentials.user), octets(credentials.token)
        if _SEPARATOR in name + token:
            raise SaslError("a name or token with a control character cannot be sent")
        if mechanism == "XOAUTH2":
            self._message = b"user=%b\x01auth=Bearer %b\x01\x01" % (name, token)
            self._answer = b""
        else:
            escaped = name.replace(b"=", b"=3D").replace(b",", b"=2C")
            self._message = b"n,a=%b,\x01auth=Bearer %b\x01\x01" % (escaped, token)
            self._answer = _SEPARATOR  # RFC 7628 §3.2.3
        super().__init__()

    def finish(self, data: bytes = b"") -> None:
        """Check that the server has not just refused the token."""
        super().finish(data)
        if self.complaint:
            raise SaslError("the server says yes to a token that it has refused")

    def _talk(self) -> ClientSteps:
        problem = yield self._message
        self.complaint = _read_problem(problem)
        yield self._answer


def _read_problem(data: bytes) -> str:
    """Make one line of the server's JSON."""
    try:
        decoded = msgspec.json.decode(data, type=dict[str, object])
        said = ", ".join(f"{key} {value}" for key, value in decoded.items() if isinstance(value, str | int))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = data.decode("ascii", "replace")
    shown = "".join(character if character.isprintable() else "?" for character in said[:200])
    return shown or "no reason given"


def xoauth2(known: Known) -> ServerSteps:
    """Serve XOAUTH2."""
    response = yield b""
    fields = dict(field.partition(b"=")[::2] for field in response.split(_SEPARATOR))
    return (yield from _judge(known, fields.get(b"user", b""), fields.get(b"auth", b""), _XOAUTH2_FAILURE))


def oauthbearer(known: Known) -> ServerSteps:
    """Serve OAUTHBEARER."""
    response = yield b""
    header, *pairs = response.split(_SEPARATOR)
    flag, authzid, *_ = [*header.split(b","), b"", b""]
    if flag not in (b"n", b"y") or pairs[-2:] != [b"", b""]:
        raise SaslError("malformed first message")
    fields = dict(pair.partition(b"=")[::2] for pair in pairs)
    name = authzid.removeprefix(b"a=").replace(b"=2C", b",").replace(b"=3D", b"=")
    return (yield from _judge(known, name, fields.get(b"auth", b""), _FAILURE))


def _judge(known: Known, name: bytes, shown: bytes, failure: bytes) -> ServerSteps:
    scheme, _, token = shown.partition(b" ")
    if not name or scheme.lower() != b"bearer" or not token:
        raise SaslError("no user, or no bearer token")
    user = text(name)
    allowed = known.fits(user, text(token))
    if not allowed:
        yield failure
    return Login(user, allowed)
