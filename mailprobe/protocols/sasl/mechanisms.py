"""Which mechanisms there are, and which of them to take."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mailprobe.protocols.sasl.exchange import (
    ChannelBinding,
    ClientExchange,
    Credentials,
    Known,
    SaslError,
    ServerExchange,
    ServerSteps,
)
from mailprobe.protocols.sasl.scram import ScramClient, scram
from mailprobe.protocols.sasl.simple import (
    CramClient,
    ExternalClient,
    LoginClient,
    PlainClient,
    cram,
    external,
    login,
    plain,
)
from mailprobe.protocols.sasl.tokens import TokenClient, oauthbearer, xoauth2

_BOUND = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
_PROVEN = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5")  # the password is not shown
_SHOWN = ("PLAIN", "LOGIN")
_NOBODY_ELSE = {"CRAM-MD5", "LOGIN"}  # have no word for acting for another user
_TOKENS = ("OAUTHBEARER", "XOAUTH2")

MECHANISMS = (*_BOUND, *_PROVEN, *_SHOWN, *_TOKENS, "EXTERNAL")  # what can be carried out, whatever a server lists

_CLIENTS: dict[str, Callable[[Credentials], ClientExchange]] = {
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
    "CRAM-MD5": CramClient,
    "EXTERNAL": ExternalClient,
}
_SERVERS: dict[str, Callable[[Known], ServerSteps]] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram,
    "EXTERNAL": external,
    "XOAUTH2": xoauth2,
    "OAUTHBEARER": oauthbearer,
}


def client_exchange(mechanism: str, credentials: Credentials, binding: ChannelBinding | None = None) -> ClientExchange:
    """Begin an exchange as a client.

    Raises:
        SaslError: the mechanism is unknown, or the credentials are not of its kind.
    """
    name = mechanism.upper()
    if name not in MECHANISMS:
        raise SaslError(f"the SASL mechanism {mechanism!r} is not known here")
    if name.startswith("SCRAM-"):
        return ScramClient(name, credentials, binding)
    if name in _TOKENS:
        return TokenClient(name, credentials)
    return _CLIENTS[name](credentials)


def server_exchange(
    mechanism: str,
    offered: Collection[str],
    secret: Callable[[str], str | None],
    bindings: tuple[ChannelBinding, ...] = (),
    identity: str | None = None,
) -> ServerExchange | None:
    """Begin an exchange as a server, or give None when the mechanism is not offered or cannot be carried out.

    *secret* gives a user's password, which is the token of the mechanisms with one, too; *identity* is whom
    EXTERNAL lets in.
    """
    if mechanism not in offered or mechanism not in MECHANISMS:
        return None
    known = Known(secret, bindings if set(offered) & set(_BOUND) else (), identity)
    if mechanism.startswith("SCRAM-"):
        return ServerExchange(scram(mechanism, known))
    return ServerExchange(_SERVERS[mechanism](known))


def strongest(
    offered: Collection[str], credentials: Credentials, *, secure: bool, binding: ChannelBinding | None = None
) -> str | None:
    """Give the best mechanism that both sides know, or None.

    *secure* False leaves out everything that shows a password or token; True is for verified TLS, and for users
    who have said in words that theirs may be shown.
    """
    names = {name.upper() for name in offered}
    wanted: list[str] = []
    if credentials.password is not None:
        wanted += _BOUND if binding is not None else ()
        wanted += _PROVEN
        wanted += _SHOWN if secure else ()
    if credentials.token is not None and secure:
        wanted += _TOKENS
    if credentials.password is None and credentials.token is None:
        wanted.append("EXTERNAL")
    if credentials.acting_for not in ("", credentials.user):
        names -= _NOBODY_ELSE
    return next((name for name in wanted if name in names), None)
