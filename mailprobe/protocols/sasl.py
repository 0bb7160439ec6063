"""The server side of SASL PLAIN (RFC 4616) and LOGIN, without its transport."""

from __future__ import annotations

import base64
import binascii

import msgspec

MECHANISMS = ("PLAIN", "LOGIN")  # what can be carried out, whatever a server lists


class Login(msgspec.Struct, frozen=True):
    """A finished exchange: who wants to be let in, and with what."""

    user: str
    password: str


class SaslError(ValueError):
    """A client's response has not the form that the mechanism asks for."""


def decode_response(line: bytes) -> bytes:
    """Decode the base64 of one response; ``=`` alone is the empty one (RFC 4954 §4).

    Raises:
        SaslError: it is not base64.
    """
    if line == b"=":
        return b""
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise SaslError("not base64") from None


def encode_challenge(challenge: bytes) -> bytes:
    """Encode a challenge for the wire."""
    return base64.b64encode(challenge)


class SaslExchange:
    """One exchange of one mechanism."""

    def __init__(self, mechanism: str) -> None:
        self._plain = mechanism == "PLAIN"
        self._user: bytes | None = None

    def challenge(self) -> bytes:
        """Give the challenge that stands before the next response."""
        if self._plain:
            return b""
        return b"Username:" if self._user is None else b"Password:"

    def respond(self, response: bytes) -> Login | None:
        """Take a response; give the login, or None when another challenge follows.

        Raises:
            SaslError: the response has the wrong form.
        """
        if self._plain:
            return _read_plain(response)
        if self._user is None:
            self._user = response
            return None
        return Login(_text(self._user), _text(response))


def _read_plain(response: bytes) -> Login:
    fields = response.split(b"\0")
    if len(fields) != 3 or not fields[1]:
        raise SaslError("not authorization NUL user NUL password")
    if fields[0] not in (b"", fields[1]):
        raise SaslError("acting for another user is not possible")
    return Login(_text(fields[1]), _text(fields[2]))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
