"""Which resolver is meant."""

from __future__ import annotations

import pytest

from mailprobe.model.errors import UsageError
from mailprobe.net.dns.servers import Server, parse_resolver


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("127.0.0.1", Server("udp", "127.0.0.1", 53), "127.0.0.1:53"),
        ("127.0.0.1:5353", Server("udp", "127.0.0.1", 5353), "127.0.0.1:5353"),
        ("::1", Server("udp", "::1", 53), "[::1]:53"),
        ("[::1]:5353", Server("udp", "::1", 5353), "[::1]:5353"),
        ("tls://dns.test", Server("tls", "dns.test", 853), "tls://dns.test:853"),
        ("tls://192.0.2.1:8853/", Server("tls", "192.0.2.1", 8853), "tls://192.0.2.1:8853"),
        ("tls://[::1]:853", Server("tls", "::1", 853), "tls://[::1]:853"),
        ("https://dns.test", Server("https", "dns.test", 443, "/dns-query"), "https://dns.test:443/dns-query"),
        ("https://dns.test/", Server("https", "dns.test", 443, "/"), "https://dns.test:443/"),
        ("https://DNS.test:8443/q", Server("https", "dns.test", 8443, "/q"), "https://dns.test:8443/q"),
        ("https://[::1]/q", Server("https", "::1", 443, "/q"), "https://[::1]:443/q"),
        ("https://dns.test/q?key=1", Server("https", "dns.test", 443, "/q?key=1"), "https://dns.test:443/q?key=1"),
    ],
)
def test_a_resolver_is_read(text: str, server: Server, shown: str) -> None:
    assert parse_resolver(text) == (server,)
    assert str(server) == shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty name"),
        ("dns.test", "give an address"),
        ("dns.test:53", "give an address"),
        ("127.0.0.1:0", "from 1 to 65535"),
        ("127.0.0.1:65536", "from 1 to 65535"),
        ("127.0.0.1:abc", "from 1 to 65535"),
        ("[::1", "no address in brackets"),
        ("udp://127.0.0.1", "the scheme must be"),
        ("tcp://127.0.0.1", "the scheme must be"),
        ("http://dns.test/", "the scheme must be"),
        ("://", "the scheme must be"),
        ("tls://", "empty name"),
        ("tls://dns.test:0", "from 1 to 65535"),
        ("tls://dns..test", "empty label"),
        ("https://", "empty name"),
        ("https://dns.test:0/", "resolver 'https://dns.test:0/'"),
        ("https://dns.test:65536/", "resolver 'https://dns.test:65536/'"),
        ("https://dns.test:abc/", "resolver 'https://dns.test:abc/'"),
        ("https://[::1/", "resolver 'https://"),
        ("https://dns.test/a b", "resolver 'https://dns.test/a b'"),
        ("https://dns.test/ä", "resolver 'https://dns.test/ä'"),
        ("https://dns.test/\x7f", "resolver 'https://"),
    ],
)
def test_what_is_no_resolver_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_resolver(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("server", "trusted"),
    [
        (Server("udp", "127.0.0.1", 53), True),
        (Server("udp", "127.53.0.53", 53), True),
        (Server("udp", "::1", 53), True),
        (Server("udp", "192.0.2.1", 53), False),
        (Server("tls", "192.0.2.1", 853), True),
        (Server("https", "dns.test", 443, "/"), True),
    ],
)
def test_only_some_ways_to_a_resolver_cannot_be_forged(server: Server, trusted: bool) -> None:
    assert server.trusted_path is trusted
