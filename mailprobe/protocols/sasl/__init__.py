"""SASL (RFC 4422), both sides of every mechanism, without its transport."""

from __future__ import annotations

from mailprobe.protocols.sasl.exchange import (
    ChannelBinding,
    ClientExchange,
    Credentials,
    Login,
    SaslError,
    ServerExchange,
    decode_response,
    encode_challenge,
)
from mailprobe.protocols.sasl.mechanisms import MECHANISMS, client_exchange, server_exchange, strongest

__all__ = [
    "MECHANISMS",
    "ChannelBinding",
    "ClientExchange",
    "Credentials",
    "Login",
    "SaslError",
    "ServerExchange",
    "client_exchange",
    "decode_response",
    "encode_challenge",
    "server_exchange",
    "strongest",
]
