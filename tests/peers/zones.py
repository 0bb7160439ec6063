"""The zones that the tests' name server serves."""

from __future__ import annotations

import datetime

import dns.dnssec
import dns.name
import dns.zone
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm
from dns.rdtypes.dnskeybase import Flag

MAIL_DOMAIN = "example.test"
MAIL_HOST = "mail.example.test"

# Not 127.0.0.1: a client's connection to 127.0.0.25 comes from 127.0.0.1, and Dovecot takes a connection whose two
# ends are the same address for secured, and so would offer logins in clear to every client here.
MAIL_ADDRESS = "127.0.0.25"

_HEAD = """$ORIGIN {name}.
$TTL 3600
@ IN SOA ns.test. hostmaster.test. 1 3600 600 86400 300
@ IN NS ns.test.
"""

_BODIES = {
    # Everything below test. that stands in no zone of its own is NXDOMAIN.
    "test": "ns IN A 127.0.0.1\n",
    MAIL_DOMAIN: f"""@ IN MX 10 {MAIL_HOST}.
@ IN TXT "v=spf1 mx -all"
mail IN A {MAIL_ADDRESS}
""",
    "nullmx.test": "@ IN MX 0 .\n",
    "cnamemx.test": f"@ IN MX 10 alias\nalias IN CNAME {MAIL_HOST}.\n",
    "danglingmx.test": "@ IN MX 10 nowhere\n",
    "nomx.test": f"@ IN A {MAIL_ADDRESS}\n",
    "nomail.test": '@ IN TXT "no MX and no address"\n',
    "alias.test": f"www IN CNAME {MAIL_DOMAIN}.\n",
    "threemx.test": f"@ IN MX 20 second\n@ IN MX 10 {MAIL_HOST}.\n@ IN MX 20 third\n"
    f"second IN A {MAIL_ADDRESS}\nthird IN A {MAIL_ADDRESS}\n",
    # 60 strings of 100 octets do not fit into any UDP answer that a resolver here accepts.
    "many.test": "".join(f'@ IN TXT "{number:03d} {"x" * 96}"\n' for number in range(60))
    + "".join(f"@ IN MX {number} mx{number:02d}\nmx{number:02d} IN A {MAIL_ADDRESS}\n" for number in range(1, 41)),
    "0.0.127.in-addr.arpa": f"25 IN PTR {MAIL_HOST}.\n1 IN PTR localhost.\n",
}


class SignedZone(msgspec.Struct, frozen=True):
    """A zone file with signatures, and its key as a DNSKEY record to trust."""

    text: str
    anchor: str


def plain_zones() -> dict[str, str]:
    """Give the unsigned zones: zone name to zone file."""
    return {name: _HEAD.format(name=name) + body for name, body in _BODIES.items()}


def signed_zone(name: str, *, bogus: bool = False) -> SignedZone:
    """Sign a zone that holds one MX record; when *bogus*, change that record behind the signature's back."""
    body = f"@ IN MX 10 {MAIL_HOST}.\n"
    zone = dns.zone.from_text(_HEAD.format(name=name) + body, origin=dns.name.from_text(name), relativize=False)
    private = ec.generate_private_key(ec.SECP256R1())
    flags = Flag.ZONE | Flag.SEP
    key = dns.dnssec.make_dnskey(private.public_key(), Algorithm.ECDSAP256SHA256, flags=flags)
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    dns.dnssec.sign_zone(zone, keys=[(private, key)], inception=now - day, expiration=now + 30 * day, dnskey_ttl=3600)
    text = zone.to_text(relativize=False)
    assert isinstance(text, str)
    if bogus:
        text = text.replace(f"MX 10 {MAIL_HOST}.", f"MX 20 {MAIL_HOST}.")
    return SignedZone(text, f"{name}. DNSKEY {key.to_text()}")
