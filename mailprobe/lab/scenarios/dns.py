"""What can be wrong with MX records, addresses and reverse names, and with the answers themselves."""

from __future__ import annotations

from mailprobe.lab.dns_zones import Fault
from mailprobe.lab.scenario import Change, Reach, Scenario
from mailprobe.model.finding import Verdict

_NOTHING: dict[str, tuple[str, ...]] = {"@ MX": (), "@ A": (), "mx A": ()}
_TWO_HOSTS = {"@ MX": ("10 mx.{d}.", "20 mx2.{d}."), "mx2 A": ("{b}",)}
_SMTP = (25, 587, 465)

RECORDS = (
    Scenario(
        name="domain-missing",
        check="domain-exists",
        verdict=Verdict.FAIL,
        wrong="the domain does not exist",
        zone=_NOTHING,
    ),
    Scenario(
        name="mx-implicit",
        check="mx-present",
        verdict=Verdict.FAIL,
        wrong="no MX record; mail goes to the domain's own address",
        zone={"@ MX": ()},
    ),
    Scenario(
        name="mx-none-no-address",
        check="mx-usable",
        verdict=Verdict.FAIL,
        wrong="neither an MX record nor an address",
        twin="mx-implicit",
        zone={"@ MX": (), "@ A": ()},
    ),
    Scenario(
        name="mx-null",
        check="mx-usable",
        verdict=Verdict.OK,
        wrong="a null MX: the domain says that it takes no mail",
        zone={"@ MX": ("0 .",)},
    ),
    Scenario(
        name="mx-null-beside-others",
        check="mx-null-alone",
        verdict=Verdict.FAIL,
        wrong="a null MX beside a real one",
        twin="mx-null",
        zone={"@ MX": ("0 .", "10 mx.{d}.")},
    ),
    Scenario(
        name="mx-null-preference",
        check="mx-null-preference",
        verdict=Verdict.FAIL,
        wrong="a null MX with a preference other than 0",
        twin="mx-null",
        zone={"@ MX": ("10 .",)},
    ),
    Scenario(
        name="mx-target-cname",
        check="mx-target-cname",
        verdict=Verdict.FAIL,
        wrong="the MX record names an alias",
        zone={"@ MX": ("10 alias.{d}.",), "alias CNAME": ("mx.{d}.",)},
    ),
    Scenario(
        name="mx-target-cname-chain",
        check="mx-target-cname",
        verdict=Verdict.FAIL,
        wrong="the MX record names an alias of an alias of an alias",
        zone={
            "@ MX": ("10 one.{d}.",),
            "one CNAME": ("two.{d}.",),
            "two CNAME": ("three.{d}.",),
            "three CNAME": ("mx.{d}.",),
        },
    ),
    Scenario(
        name="mx-target-literal",
        check="mx-target-literal",
        verdict=Verdict.FAIL,
        wrong="the MX record holds an address instead of a name",
        zone={"@ MX": ("10 {a}.",)},
    ),
    Scenario(
        name="mx-target-underscore",
        check="mx-target-syntax",
        verdict=Verdict.FAIL,
        wrong="the MX record names a host with an underscore",
        zone={"@ MX": ("10 mx_1.{d}.",), "mx_1 A": ("{a}",)},
    ),
    Scenario(
        name="mx-target-nxdomain",
        check="mx-target-resolves",
        verdict=Verdict.FAIL,
        wrong="the MX record names a host that does not exist",
        zone={"@ MX": ("10 gone.{d}.",)},
    ),
    Scenario(
        name="mx-target-no-address",
        check="mx-target-resolves",
        verdict=Verdict.FAIL,
        wrong="the MX record names a host without an address",
        zone={"@ MX": ("10 bare.{d}.",), "bare TXT": ('"no address here"',)},
    ),
    Scenario(
        name="mx-target-servfail",
        check="mx-target-resolves",
        verdict=Verdict.UNKNOWN,
        wrong="the DNS fails for the host named in the MX record",
        faults={"mx": Fault.SERVFAIL},
    ),
    Scenario(
        name="mx-target-loopback",
        check="mx-target-public",
        verdict=Verdict.FAIL,
        wrong="the exchanger's address is 127.0.0.1",
        zone={"mx A": ("127.0.0.1",)},
    ),
    Scenario(
        name="mx-target-documentation",
        check="mx-target-public",
        verdict=Verdict.FAIL,
        wrong="the exchanger's address was copied from a manual",
        zone={"mx A": ("192.0.2.25",)},
    ),
    Scenario(
        name="mx-target-private",
        check="mx-target-private",
        verdict=Verdict.FAIL,
        wrong="the exchanger's address is a private one",
        zone={"mx A": ("10.53.0.25",)},
    ),
    Scenario(
        name="mx-target-localhost",
        check="mx-target-localhost",
        verdict=Verdict.FAIL,
        wrong="the MX record names localhost",
        zone={"@ MX": ("10 localhost.",)},
    ),
    Scenario(
        name="mx-two",
        check="mx-duplicate",
        verdict=Verdict.OK,
        wrong="two exchangers of equal preference",
        zone={"@ MX": ("10 mx.{d}.", "10 mx2.{d}."), "mx2 A": ("{b}",)},
        addresses=2,
    ),
    Scenario(
        name="mx-duplicate",
        check="mx-duplicate",
        verdict=Verdict.FAIL,
        wrong="the same exchanger twice, with two preferences",
        zone={"@ MX": ("10 mx.{d}.", "20 mx.{d}.")},
    ),
    Scenario(
        name="mx-ttl-short",
        check="mx-ttl",
        verdict=Verdict.FAIL,
        wrong="the zone's own server says that the records live for one minute",
        ttl=60,
        faults={"@": Fault.AUTHORITATIVE},
        twin="mx-ttl-long",
    ),
    Scenario(
        name="mx-ttl-long",
        check="mx-ttl",
        verdict=Verdict.OK,
        wrong="nothing: the zone's own server says that the records live for an hour",
        faults={"@": Fault.AUTHORITATIVE},
    ),
    Scenario(
        name="domain-alias",
        check="domain-alias",
        verdict=Verdict.FAIL,
        wrong="the mail domain is an alias",
        zone={"@ MX": (), "@ A": (), "@ CNAME": ("real.{d}.",), "real MX": ("10 mx.{d}.",), "real A": ("{a}",)},
    ),
)

HOSTS = (
    Scenario(
        name="ptr-missing",
        check="ptr-present",
        verdict=Verdict.FAIL,
        wrong="the exchanger's address has no reverse name",
        zone={"{a} PTR": ()},
    ),
    Scenario(
        name="ptr-servfail",
        check="ptr-present",
        verdict=Verdict.UNKNOWN,
        wrong="the DNS fails for the reverse name",
        faults={"{a} PTR": Fault.SERVFAIL},
    ),
    Scenario(
        name="ptr-mismatch",
        check="ptr-confirmed",
        verdict=Verdict.FAIL,
        wrong="the reverse name leads to another address",
        zone={"{a} PTR": ("dsl.{d}.",), "dsl A": ("{b}",)},
        addresses=2,
    ),
    Scenario(
        name="helo-single-label",
        check="helo-fqdn",
        verdict=Verdict.FAIL,
        wrong="the server calls itself mailserver",
        changes=(Change(ports=_SMTP, config={"hostname": "mailserver"}),),
    ),
    Scenario(
        name="helo-dangling",
        check="helo-resolves",
        verdict=Verdict.FAIL,
        wrong="the server calls itself by a name that does not exist",
        changes=(Change(ports=_SMTP, config={"hostname": "nowhere.{d}"}),),
    ),
    Scenario(
        name="helo-other-name",
        check="helo-ptr-match",
        verdict=Verdict.FAIL,
        wrong="the server calls itself by another name than its reverse name",
        changes=(Change(ports=_SMTP, config={"hostname": "{d}"}),),
    ),
    Scenario(
        name="exchanger-one-of-two-refused",
        check="exchanger-reachable",
        verdict=Verdict.FAIL,
        wrong="one of two exchangers refuses connections",
        twin="mx-two",
        where=(25,),
        zone=_TWO_HOSTS,
        addresses=2,
        changes=(Change(ports=(25,), address=1, reach=Reach.REFUSED),),
    ),
    Scenario(
        name="address-two",
        check="ptr-confirmed",
        verdict=Verdict.OK,
        wrong="an exchanger with two addresses",
        zone={"mx A": ("{a}", "{b}")},
        addresses=2,
    ),
    Scenario(
        name="address-ipv6",
        check="ptr-confirmed",
        verdict=Verdict.OK,
        wrong="an exchanger with an IPv6 address beside the other",
        zone={"mx AAAA": ("fd53::{a}",), "fd53::{a} PTR": ("mx.{d}.",)},
    ),
    Scenario(
        name="address-ipv6-dead",
        check="address-families-agree",
        verdict=Verdict.FAIL,
        wrong="the exchanger's IPv6 address is dead",
        twin="address-ipv6",
        zone={"mx AAAA": ("fd53::dead",), "fd53::dead PTR": ("mx.{d}.",)},
    ),
    Scenario(
        name="address-one-dead",
        check="address-families-agree",
        verdict=Verdict.FAIL,
        wrong="one of the exchanger's two addresses is dead",
        twin="address-two",
        zone={"mx A": ("{a}", "{b}")},
        addresses=2,
        changes=(Change(address=1, reach=Reach.REFUSED),),
    ),
)


PORTS = (
    Scenario(
        name="host-down",
        check="host-serves-mail",
        verdict=Verdict.FAIL,
        wrong="every port of the host refuses connections",
        changes=(Change(reach=Reach.REFUSED),),
    ),
    Scenario(
        name="port-open",
        check="tls-handshake",
        verdict=Verdict.OK,
        wrong="nothing; only port 465 is asked",
        where=(465,),
        asked="mx.{d}:465",
    ),
    Scenario(
        name="port-closed",
        check="port-reachable",
        verdict=Verdict.FAIL,
        wrong="the one port that is asked refuses connections",
        twin="port-open",
        where=(465,),
        asked="mx.{d}:465",
        changes=(Change(ports=(465,), reach=Reach.REFUSED),),
    ),
)


def _answer(name: str, fault: Fault, verdict: Verdict, wrong: str) -> Scenario:
    return Scenario(name=name, check="dns-complete", verdict=verdict, wrong=wrong, faults={"@ MX": fault})


ANSWERS = (
    _answer("dns-servfail", Fault.SERVFAIL, Verdict.UNKNOWN, "the MX question meets SERVFAIL"),
    _answer("dns-refused", Fault.REFUSED, Verdict.UNKNOWN, "the MX question is refused"),
    _answer("dns-timeout", Fault.SILENT, Verdict.UNKNOWN, "the MX question is never answered"),
    _answer("dns-garbage", Fault.GARBAGE, Verdict.UNKNOWN, "the MX question is answered with garbage"),
    _answer(
        "dns-truncated-tcp-reset",
        Fault.TRUNCATED_TCP_RESET,
        Verdict.UNKNOWN,
        "the answer over UDP is truncated, and TCP is reset",
    ),
    _answer("dns-bogus", Fault.BOGUS, Verdict.FAIL, "the MX record's DNSSEC signature does not verify"),
    _answer("dns-first-packet-lost", Fault.DROP_FIRST, Verdict.OK, "the first packet of each question is lost"),
    _answer("dns-truncated", Fault.TRUNCATED, Verdict.OK, "the answer over UDP is truncated; TCP has it"),
    _answer("dns-wrong-id", Fault.WRONG_ID, Verdict.OK, "a forged answer with another id comes first"),
    _answer("dns-wrong-question", Fault.WRONG_QUESTION, Verdict.OK, "an answer to another question comes first"),
    _answer("dns-edns-formerr", Fault.EDNS_FORMERR, Verdict.OK, "queries with EDNS are called malformed"),
    Scenario(
        name="dns-alias-loop",
        check="dns-complete",
        verdict=Verdict.UNKNOWN,
        wrong="the domain is an alias of itself",
        zone={**_NOTHING, "@ CNAME": ("{d}.",)},
    ),
)

SCENARIOS = RECORDS + HOSTS + PORTS + ANSWERS
