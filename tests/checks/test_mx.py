"""What is said of MX records and the names they point to."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Dnssec, Record, Status, Target
from mailprobe.model.finding import Cause
from tests.checks.factories import (
    ADDRESS,
    DOMAIN,
    Case,
    answer,
    aside,
    bare_host,
    domain,
    failed,
    fails,
    host_target,
    names,
    passes,
    scene,
    undecided,
)

HEALTHY = domain("10 mx.a.test.", "20 mx2.a.test.")
MISSING = domain(status=Status.NXDOMAIN)
NULL = domain("0 .", hosts=())
NO_MX = domain(implicit=(answer(DOMAIN, "A", ADDRESS), answer(DOMAIN, "AAAA")))
NO_WAY = domain(implicit=(answer(DOMAIN, "A"), answer(DOMAIN, "AAAA")))
MX_FAILED = [domain(status=status) for status in (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.FAILED)]
GONE = bare_host("gone.a.test", answers=(failed("gone.a.test", "A", Status.NXDOMAIN),))
BARE = bare_host("bare.a.test", answers=(answer("bare.a.test", "A"), answer("bare.a.test", "AAAA")))
HOST_FAILED = bare_host("mx.a.test", answers=(failed("mx.a.test", "A"), answer("mx.a.test", "AAAA")))
HALF_FAILED = bare_host("mx.a.test", ADDRESS, answers=(answer("mx.a.test", "A", ADDRESS), failed("mx.a.test", "AAAA")))
ALIASED = bare_host("mx.a.test", ADDRESS, answers=(answer("mx.a.test", "A", "CNAME other.test.", ADDRESS),))


SHORT_LIVED = (Record(name="a.test.", type="MX", ttl=60, data="10 mx.a.test."),)


def at(*addresses: str) -> Target:
    return domain("10 mx.a.test.", hosts=(bare_host("mx.a.test", *addresses),))


ABOUT_TARGETS = (
    "mx-target-cname",
    "mx-target-literal",
    "mx-target-syntax",
    "mx-target-resolves",
    "mx-target-localhost",
    "mx-target-public",
    "mx-target-private",
    "mx-duplicate",
    "mx-ttl",
)
ABOUT_DOMAINS = ("domain-exists", "mx-usable", "mx-present", "mx-null-alone", "mx-null-preference", "domain-alias")

CASES: list[Case] = [
    *(passes(check, HEALTHY) for check in ABOUT_TARGETS),
    *(passes(check, HEALTHY) for check in ("domain-exists", "mx-usable", "mx-present", "domain-alias", "dns-complete")),
    *(aside(check, host_target(), "a host was asked") for check in (*ABOUT_TARGETS, *ABOUT_DOMAINS)),
    *(aside(check, NULL) for check in ABOUT_TARGETS),
    *(aside(check, NO_MX) for check in ABOUT_TARGETS),
    *(
        undecided(check, target, Cause.RESOLVER_FAILED, "a.test MX")
        for check in (*ABOUT_TARGETS, *ABOUT_DOMAINS, "dns-complete")
        for target in MX_FAILED
    ),
    fails("domain-exists", MISSING, DOMAIN, "192.0.2.53:53 answered NXDOMAIN"),
    passes("domain-exists", NO_WAY),
    aside("mx-usable", MISSING),
    passes("mx-usable", NULL, "null MX"),
    passes("mx-usable", NO_MX, "implicit MX"),
    fails("mx-usable", NO_WAY, DOMAIN),
    undecided("mx-usable", domain(implicit=(failed(DOMAIN, "A"), answer(DOMAIN, "AAAA"))), Cause.RESOLVER_FAILED),
    aside("mx-present", MISSING),
    fails("mx-present", NO_MX, None, "no MX record"),
    passes("mx-null-alone", NULL),
    aside("mx-null-alone", HEALTHY),
    fails("mx-null-alone", domain("0 .", "10 mx.a.test."), ".", "beside mx.a.test"),
    fails("mx-null-alone", domain("0 .", "10 .", hosts=()), ".", "beside another one"),
    passes("mx-null-preference", NULL),
    aside("mx-null-preference", HEALTHY),
    fails("mx-null-preference", domain("10 .", hosts=()), "10 .", "preference 10"),
    fails("mx-target-cname", domain("10 mx.a.test.", hosts=(ALIASED,)), "mx.a.test. CNAME other.test."),
    undecided("mx-target-cname", domain("10 mx.a.test.", hosts=(HALF_FAILED,)), Cause.RESOLVER_FAILED),
    fails(
        "mx-target-literal",
        domain("10 192.0.2.1.", hosts=(bare_host("192.0.2.1", "192.0.2.1", answers=()),)),
        "192.0.2.1",
    ),
    fails("mx-target-syntax", domain("10 mx_1.a.test."), "mx_1.a.test"),
    fails("mx-target-syntax", domain("10 -mx.a.test."), "-mx.a.test"),
    fails("mx-target-syntax", domain(r"10 a\032b.test."), r"a\032b.test"),
    fails("mx-target-syntax", domain("10 mx.1."), "mx.1"),
    passes("mx-target-syntax", domain("10 192.0.2.1.")),
    fails("mx-target-resolves", domain("10 gone.a.test.", hosts=(GONE,)), "gone.a.test", "NXDOMAIN"),
    fails("mx-target-resolves", domain("10 bare.a.test.", hosts=(BARE,)), "bare.a.test", "neither A nor AAAA"),
    fails("mx-target-resolves", domain("10 mx.a.test.", "20 gone.a.test.", hosts=(HOST_FAILED, GONE)), "gone.a.test"),
    undecided("mx-target-resolves", domain("10 mx.a.test.", hosts=(HOST_FAILED,)), Cause.RESOLVER_FAILED, "SERVFAIL"),
    fails("mx-target-localhost", domain("10 localhost."), "localhost"),
    fails("mx-target-localhost", domain("10 mx.localdomain."), "mx.localdomain"),
    passes("mx-target-localhost", domain("10 localhost.a.test.")),
    *(
        fails("mx-target-public", at(address), address, word)
        for address, word in [
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("169.254.1.1", "link-local"),
            ("192.0.2.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("::1", "loopback"),
            ("fe80::1", "link-local"),
            ("2001:db8::1", "documentation"),
            ("::ffff:127.0.0.1", "IPv4-mapped"),
        ]
    ),
    *(
        fails("mx-target-private", at(address), address, word)
        for address, word in [
            ("10.0.0.1", "private"),
            ("172.31.0.1", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("fd00::1", "unique local"),
        ]
    ),
    passes("mx-target-public", at("10.0.0.1")),
    passes("mx-target-private", at("127.0.0.1")),
    passes("mx-target-public", at("127.53.0.1"), scene=scene(internal=("127.53.0.0/16",))),
    passes("mx-target-private", at("10.1.2.3"), scene=scene(internal=("10.1.2.3/8",))),
    undecided("mx-target-public", domain("10 mx.a.test.", hosts=(HOST_FAILED,)), Cause.RESOLVER_FAILED),
    aside("mx-target-public", domain("10 gone.a.test.", hosts=(GONE,)), "no target has an address"),
    aside("mx-target-private", domain("10 gone.a.test.", hosts=(GONE,)), "no target has an address"),
    fails("mx-duplicate", domain("10 mx.a.test.", "20 MX.a.test."), "mx.a.test", "listed 2 times"),
    passes("mx-duplicate", domain("10 mx.a.test.", "10 mx2.a.test.")),
    fails("mx-ttl", domain("10 mx.a.test.", records=SHORT_LIVED, flags=("qr", "aa")), None, "60 s"),
    aside("mx-ttl", domain("10 mx.a.test.", records=SHORT_LIVED), "in a resolver's cache"),
    fails("domain-alias", domain("CNAME b.test.", "10 mx.b.test."), "a.test. CNAME b.test."),
    fails("domain-alias", domain("CNAME b.test."), "a.test. CNAME b.test."),
    fails("dns-complete", domain(status=Status.SERVFAIL, dnssec=Dnssec.BOGUS), DOMAIN, "DNSSEC"),
    undecided("dns-complete", domain("10 mx.a.test.", hosts=(HALF_FAILED,)), Cause.RESOLVER_FAILED, "mx.a.test AAAA"),
    aside("dns-complete", host_target(bare_host("192.0.2.1", "192.0.2.1", answers=()))),
    passes("dns-complete", MISSING),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_case_holds(case: Case) -> None:
    case.hold()
