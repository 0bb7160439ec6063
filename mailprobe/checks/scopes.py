"""Which addresses cannot be reached from the Internet (RFC 6890 and the IANA special-purpose registries)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

# (network, kind, word): *special* leads nowhere from anywhere, *private* only inside its own network.
_SCOPES = tuple(
    (ip_network(network), kind, word)
    for network, kind, word in (
        ("0.0.0.0/8", "special", "unspecified"),
        ("127.0.0.0/8", "special", "loopback"),
        ("169.254.0.0/16", "special", "link-local"),
        ("192.0.2.0/24", "special", "documentation"),
        ("198.51.100.0/24", "special", "documentation"),
        ("203.0.113.0/24", "special", "documentation"),
        ("224.0.0.0/4", "special", "multicast"),
        ("240.0.0.0/4", "special", "reserved"),
        ("10.0.0.0/8", "private", "private"),
        ("172.16.0.0/12", "private", "private"),
        ("192.168.0.0/16", "private", "private"),
        ("100.64.0.0/10", "private", "carrier-grade NAT"),
        ("198.18.0.0/15", "private", "benchmarking"),
        ("::/128", "special", "unspecified"),
        ("::1/128", "special", "loopback"),
        ("::ffff:0:0/96", "special", "IPv4-mapped"),
        ("fe80::/10", "special", "link-local"),
        ("ff00::/8", "special", "multicast"),
        ("2001:db8::/32", "special", "documentation"),
        ("3fff::/20", "special", "documentation"),
        ("100::/64", "special", "discard-only"),
        ("fc00::/7", "private", "unique local"),
    )
)


def scope_of(address: str, internal_networks: tuple[str, ...]) -> tuple[str, str] | None:
    """Return ``(kind, word)`` of an address that is not public, None for a public or a declared internal one."""
    value = ip_address(address)
    if any(value in ip_network(network, strict=False) for network in internal_networks):
        return None
    return next(((kind, word) for network, kind, word in _SCOPES if value in network), None)
