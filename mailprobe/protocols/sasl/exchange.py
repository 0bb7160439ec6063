"""What all mechanisms share: an exchange on either side, told as a generator from its first message to its last.

A client's generator yields its responses and is sent the challenges; its first value is the initial response, or
None where the server speaks first. A server's generator yields its challenges, is sent the responses, and returns
the login.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Generator
from typing import Literal

import msgspec


class SaslError(ValueError):
    """The other side's message has not the form that the mechanism asks for, or ours cannot be made."""


class Credentials(msgspec.Struct, frozen=True):
    """Who logs in, with a password or an OAuth token; *acting_for* is whose rights are asked for, empty: the same."""

    user: str
    password: str | None = None
    token: str | None = None
    acting_for: str = ""


class ChannelBinding(msgspec.Struct, frozen=True):
    """What both ends of one TLS connection know and nobody in between (RFC 5929, RFC 9266)."""

    kind: Literal["tls-unique", "tls-server-end-point", "tls-exporter"]
    data: bytes


class Login(msgspec.Struct, frozen=True):
    """How an exchange ended on the server: who wanted in, and whether they are."""

    user: str
    allowed: bool


class Known(msgspec.Struct, frozen=True):
    """What a server knows of its users and of this connection.

    *secret* gives a user's password or token. *bindings* is empty unless a mechanism with channel binding is
    offered. *identity* is the user whom the transport has proven, by a client certificate say.
    """

    secret: Callable[[str], str | None]
    bindings: tuple[ChannelBinding, ...] = ()
    identity: str | None = None

    def fits(self, user: str, given: str) -> bool:
        """Tell whether the user exists and has that secret, in a time that says nothing about it."""
        secret = self.secret(user)
        same = hmac.compare_digest((secret or "").encode("utf-8", "surrogateescape"), _raw(given))
        return secret is not None and same


ClientSteps = Generator[bytes | None, bytes, None]
ServerSteps = Generator[bytes, bytes, Login]


class ClientExchange:
    """The client's side of one exchange; a mechanism is a subclass with its ``_talk``.

    *notes* are slugs of what was tolerated, *complaint* is what the server said of a token that it refused.
    """

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self.complaint = ""
        self._steps = self._talk()
        self._initial = next(self._steps)
        self._begun = self._initial is None

    def initial(self) -> bytes | None:
        """Give the initial response, or None when the server speaks first.

        Where it cannot go with the command, it is what `respond` gives for the first challenge, an empty one.
        """
        self._begun = True
        return self._initial

    def respond(self, challenge: bytes) -> bytes:
        """Give the response to a challenge.

        Raises:
            SaslError: the challenge is not what the mechanism asks for, or the server cannot prove who it is.
        """
        if not self._begun:
            self._begun = True
            return self._initial or b""
        try:
            response = self._steps.send(challenge)
        except StopIteration:
            raise SaslError("the server asks once more than the mechanism has answers") from None
        assert response is not None, "only the first response may be missing"
        return response

    def finish(self, data: bytes = b"") -> None:
        """Check a success, and the *data* that came with it.

        Raises:
            SaslError: the server has not proven that it knows the secret.
        """
        if data:
            self.respond(data)

    def _talk(self) -> ClientSteps:
        raise NotImplementedError


class ServerExchange:
    """The server's side of one exchange."""

    def __init__(self, steps: ServerSteps) -> None:
        self._steps = steps
        self._challenge = next(steps)

    def challenge(self) -> bytes:
        """Give the challenge that stands before the next response."""
        return self._challenge

    def respond(self, response: bytes) -> Login | None:
        """Take a response; give the login, or None when another challenge follows.

        Raises:
            SaslError: the response has the wrong form.
        """
        try:
            self._challenge = self._steps.send(response)
        except StopIteration as end:
            login: Login = end.value
            return login
        return None


def decode_response(line: bytes) -> bytes:
    """Decode the base64 of one message; ``=`` alone is the empty one (RFC 4954 §4).

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
    """Encode one message for the wire."""
    return base64.b64encode(challenge)


def octets(text: str) -> bytes:
    """Encode what a client sends of its own.

    Raises:
        SaslError: it holds NUL, which separates fields, or half of a surrogate pair.
    """
    if "\0" in text:
        raise SaslError("a name or password with a NUL octet cannot be sent")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SaslError("a name or password that is no text cannot be sent") from None


def text(data: bytes) -> str:
    """Decode what a client sent, whatever it is."""
    return data.decode("utf-8", "surrogateescape")


def password_of(credentials: Credentials, mechanism: str) -> str:
    """Give the password.

    Raises:
        SaslError: there is none.
    """
    if credentials.password is None:
        raise SaslError(f"{mechanism} needs a password")
    return credentials.password


def refuse_acting(credentials: Credentials, mechanism: str) -> None:
    """Make sure that nobody acts for another where the mechanism has no word for it.

    Raises:
        SaslError: somebody does.
    """
    if credentials.acting_for not in ("", credentials.user):
        raise SaslError(f"{mechanism} cannot log in as {credentials.user} to act for {credentials.acting_for}")


def _raw(given: str) -> bytes:
    return given.encode("utf-8", "surrogateescape")
