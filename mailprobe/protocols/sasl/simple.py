"""The mechanisms of one idea each: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195) and EXTERNAL (RFC 4422 §A)."""

from __future__ import annotations

import hmac
import secrets

from mailprobe.protocols.sasl.exchange import (
    ClientExchange,
    ClientSteps,
    Credentials,
    Known,
    Login,
    SaslError,
    ServerSteps,
    octets,
    password_of,
    refuse_acting,
    text,
)


class PlainClient(ClientExchange):
    """Shows the password."""

    def __init__(self, credentials: Credentials) -> None:
        self._message = b"\0".join(
            map(octets, (credentials.acting_for, credentials.user, password_of(credentials, "PLAIN")))
        )
        super().__init__()

    def _talk(self) -> ClientSteps:
        yield self._message


def plain(known: Known) -> ServerSteps:
    """Serve PLAIN."""
    response = yield b""
    fields = response.split(b"\0")
    if len(fields) != 3 or not fields[1]:
        raise SaslError("not authorization NUL user NUL password")
    if fields[0] not in (b"", fields[1]):
        raise SaslError("acting for another user is not possible")
    user = text(fields[1])
    return Login(user, known.fits(user, text(fields[2])))


class LoginClient(ClientExchange):
    """Shows the password to a server that asks name and password one by one, in whatever words."""

    def __init__(self, credentials: Credentials) -> None:
        refuse_acting(credentials, "LOGIN")
        self._user = octets(credentials.user)
        self._password = octets(password_of(credentials, "LOGIN"))
        super().__init__()

    def _talk(self) -> ClientSteps:
        yield None
        yield self._user
        yield self._password


def login(known: Known) -> ServerSteps:
    """Serve LOGIN (draft-murchison-sasl-login)."""
    user = text((yield b"Username:"))
    password = text((yield b"Password:"))
    return Login(user, known.fits(user, password))


class CramClient(ClientExchange):
    """Shows that it knows the password."""

    def __init__(self, credentials: Credentials) -> None:
        refuse_acting(credentials, "CRAM-MD5")
        self._user = octets(credentials.user)
        self._password = octets(password_of(credentials, "CRAM-MD5"))
        super().__init__()

    def _talk(self) -> ClientSteps:
        challenge = yield None
        yield self._user + b" " + _digest(self._password, challenge)


def cram(known: Known, challenge: bytes | None = None) -> ServerSteps:
    """Serve CRAM-MD5; *challenge* None means a fresh one in the form of a message id."""
    asked = challenge or f"<{secrets.token_hex(16)}@mailprobe>".encode()
    name, _, digest = (yield asked).rpartition(b" ")
    if not name:
        raise SaslError("not user and digest")
    user = text(name)
    secret = known.secret(user)
    wanted = _digest((secret or "").encode("utf-8", "surrogateescape"), asked)
    return Login(user, hmac.compare_digest(wanted, digest.lower()) and secret is not None)


def _digest(password: bytes, challenge: bytes) -> bytes:
    return hmac.new(password, challenge, "md5").hexdigest().encode()


class ExternalClient(ClientExchange):
    """Says nothing but who it wants to be: the transport has proven who it is."""

    def __init__(self, credentials: Credentials) -> None:
        self._name = octets(credentials.acting_for)
        super().__init__()

    def _talk(self) -> ClientSteps:
        yield self._name


def external(known: Known) -> ServerSteps:
    """Serve EXTERNAL."""
    wanted = text((yield b""))
    user = wanted or known.identity or ""
    return Login(user, known.identity == user and known.secret(user) is not None)
