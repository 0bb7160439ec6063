"""What the lab's certificates and TLS servers are like, in words; ``pki`` makes them.

A certificate is described by what is special about it: ``Certificate()`` is a healthy one.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Issuer(StrEnum):
    """Who signs a certificate."""

    INTERMEDIATE = "intermediate"  # the lab's own, below its root
    EXPIRED = "expired"  # below the lab's root as well, out of date since yesterday
    STRANGER = "stranger"  # an authority whose root nobody trusts
    ITSELF = "itself"


class Chain(StrEnum):
    """What a server sends behind its own certificate."""

    COMPLETE = "complete"  # the intermediate, or whatever leads to a stranger's root, that root included
    MISSING = "missing"  # nothing
    REVERSED = "reversed"  # the root before the intermediate
    UNRELATED = "unrelated"  # the intermediate, then a certificate that has nothing to do with it


class KeyKind(StrEnum):
    """The key pair under a certificate."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"
    RSA_1024 = "rsa-1024"


class Purpose(StrEnum):
    """What the extended key usage allows (RFC 5280 §4.2.1.12)."""

    SERVER = "server"
    CLIENT = "client"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says; the defaults are healthy.

    *names* empty means the names of the host it is made for, *common_name* empty the first of the names. The two
    times are days from now.
    """

    names: tuple[str, ...] = ()
    common_name: str = ""
    organization: str = ""
    lists_names: bool = True  # False leaves the subject alternative names out
    begins_days: float = -0.5
    ends_days: float = 89.5  # half a day off, so that "89 days left" stays so for the whole run
    issuer: Issuer = Issuer.INTERMEDIATE
    chain: Chain = Chain.COMPLETE
    key: KeyKind = KeyKind.EC_P256
    sha1: bool = False
    purpose: Purpose = Purpose.SERVER
    garbled: bool = False  # True puts an extension in that cannot be read
    authority: bool = False  # True lets it sign others, which no server's certificate should


class Offer(StrEnum):
    """Which versions and ciphers a server takes."""

    MODERN = "modern"
    TLS13_ONLY = "tls13-only"
    TLS12_ONLY = "tls12-only"
    TLS11_ONLY = "tls11-only"
    TLS10_ONLY = "tls10-only"
    TLS10_TOO = "tls10-too"
    NO_FORWARD_SECRECY = "no-forward-secrecy"
    NULL = "null"
    ANONYMOUS = "anonymous"
