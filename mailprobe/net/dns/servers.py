"""Which resolver to ask: the system's, or the one the user names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mailprobe.model.errors import UsageError
from mailprobe.model.names import domain_name, host_and_port, is_address
from mailprobe.model.ports import port_number

_RESOLV_CONF = Path("/etc/resolv.conf")


class Server(msgspec.Struct, frozen=True):
    """One resolver. *transport* is ``udp`` (with TCP when an answer is cut), ``tls`` or ``https``.

    *host* is an address for ``udp``, an address or a name otherwise; *path* belongs to ``https``.
    """

    transport: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "" if self.transport == "udp" else f"{self.transport}://"
        return f"{scheme}{host}:{self.port}{self.path}"

    @property
    def trusted_path(self) -> bool:
        """True where nobody between the resolver and us can forge its AD flag (RFC 4035 §4.9.3)."""
        return self.transport != "udp" or self.host.startswith("127.") or self.host == "::1"


def parse_resolver(text: str) -> tuple[Server, ...]:
    """Read ``system``, ``address[:port]``, ``tls://host[:port]`` or ``https://host/path``.

    Raises:
        UsageError: none of these, or the system has no resolver.
    """
    if text == "system":
        return system_servers()
    scheme, separator, rest = text.partition("://")
    if not separator:
        host, port = host_and_port(text)
        if not is_address(host):
            raise UsageError(
                f"resolver {text!r}: give an address such as 127.0.0.1:5353, or tls://name, or https://name/path"
            )
        return (Server("udp", host, port or 53),)
    if scheme in {"udp", "tcp"} or scheme not in {"tls", "https"}:
        raise UsageError(f"resolver {text!r}: the scheme must be tls:// or https://; plain DNS is just address:port")
    if scheme == "tls":
        host, port = host_and_port(rest.rstrip("/"))
        return (Server("tls", host, port or 853),)  # RFC 7858 §3.1
    return (_https_server(text),)


def _https_server(text: str) -> Server:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", 443 if parts.port is None else port_number(str(parts.port))
    except (ValueError, UsageError) as error:
        raise UsageError(f"resolver {text!r}: {error}") from None
    host = host if is_address(host) else domain_name(host)
    path = (parts.path or "/dns-query") + (f"?{parts.query}" if parts.query else "")  # RFC 8484 §4.1
    if not re.fullmatch(r"[!-~]+", path):
        raise UsageError(f"resolver {text!r}: the path may hold printable ASCII without spaces; write others as %XX")
    return Server("https", host, port, path)


def system_servers() -> tuple[Server, ...]:
    """Give the resolvers of this machine.

    Raises:
        UsageError: there are none.
    """
    addresses = _from_resolv_conf() if os.name == "posix" else _from_dnspython()
    if not addresses:
        raise UsageError(f"no resolver in {_RESOLV_CONF}; name one, for example --resolver 127.0.0.1:53")
    return tuple(Server("udp", address, 53) for address in addresses)


def _from_resolv_conf() -> tuple[str, ...]:
    """Read the ``nameserver`` lines; glibc takes three at most (resolv.conf(5))."""
    try:
        lines = _RESOLV_CONF.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    addresses = [found[1] for found in words if len(found) > 1 and found[0] == "nameserver"]
    return tuple(address for address in addresses[:3] if is_address(address.partition("%")[0]))


def _from_dnspython() -> tuple[str, ...]:
    import dns.resolver

    try:
        return tuple(str(address) for address in dns.resolver.Resolver().nameservers)
    except dns.resolver.NoResolverConfiguration:
        return ()
