"""Certificates with one defect each.

The checks weigh a certificate differently at port 25, where encryption is opportunistic (RFC 7435), so that the
defects for it stand on hosts that serve nothing else, as exchangers do.
"""

from __future__ import annotations

from mailprobe.lab.certificates import Certificate, Chain, Issuer, KeyKind, Purpose
from mailprobe.lab.scenario import Change, Reach, Scenario
from mailprobe.model.finding import Verdict

_NOT_RELAY = (587, 465, 110, 995, 143, 993)
_RELAY_ONLY = Change(ports=_NOT_RELAY, reach=Reach.REFUSED)
_OTHER_NAME = "mail.elsewhere.test"


def _everywhere(
    name: str, check: str, wrong: str, certificate: Certificate, verdict: Verdict = Verdict.FAIL
) -> Scenario:
    changes = (Change(certificate=certificate),)
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, changes=changes)


def _relay(name: str, check: str, wrong: str, certificate: Certificate) -> Scenario:
    return Scenario(
        name=name,
        check=check,
        verdict=Verdict.FAIL,
        wrong=wrong,
        twin="relay-only",
        where=(25,),
        changes=(_RELAY_ONLY, Change(ports=(25,), certificate=certificate)),
    )


DATES = (
    _everywhere(
        "certificate-expired",
        "certificate-expired",
        "the certificate expired yesterday",
        Certificate(begins_days=-91, ends_days=-1.25),
    ),
    _everywhere(
        "certificate-not-yet-valid",
        "certificate-not-yet-valid",
        "the certificate is valid from tomorrow",
        Certificate(begins_days=1, ends_days=91),
    ),
    _everywhere(
        "certificate-expires-soon",
        "certificate-expires-soon",
        "the certificate of 90 days expires in five",
        Certificate(begins_days=-85, ends_days=5.25),
    ),
    _everywhere(
        "certificate-lifetime-long",
        "certificate-lifetime",
        "the certificate is valid for two years",
        Certificate(ends_days=729),
    ),
)

NAMES = (
    _everywhere(
        "certificate-wrong-name",
        "certificate-name",
        "the certificate is for another host",
        Certificate(names=(_OTHER_NAME,)),
    ),
    _everywhere(
        "certificate-wildcard-too-high",
        "certificate-name",
        "the certificate's wildcard stands one label too high",
        Certificate(names=("*.lab.test",)),
    ),
    _everywhere(
        "certificate-wildcard",
        "certificate-name",
        "the certificate is for a wildcard that covers the host",
        Certificate(names=("*.certificate-wildcard.lab.test", "certificate-wildcard.lab.test")),
        Verdict.OK,
    ),
    _relay(
        "relay-certificate-wrong-name",
        "relay-certificate-name",
        "the exchanger's certificate is for another host",
        Certificate(names=(_OTHER_NAME,)),
    ),
    _everywhere(
        "certificate-common-name-only",
        "certificate-san",
        "the certificate names the host only in its subject",
        Certificate(lists_names=False),
    ),
    _everywhere(
        "certificate-escapes",
        "certificate-name",
        "the certificate's subject holds terminal escapes",
        Certificate(organization="\x1b[2J\x1b]0;owned\x07\x1b[31mAll is well"),
        Verdict.OK,
    ),
)

CHAINS = (
    _everywhere(
        "certificate-self-signed",
        "certificate-self-signed",
        "the certificate is signed by itself",
        Certificate(issuer=Issuer.ITSELF),
    ),
    _relay(
        "relay-certificate-self-signed",
        "relay-certificate-self-signed",
        "the exchanger's certificate is signed by itself",
        Certificate(issuer=Issuer.ITSELF),
    ),
    _everywhere(
        "certificate-chain-incomplete",
        "certificate-chain-complete",
        "the intermediate certificate is not sent",
        Certificate(chain=Chain.MISSING),
    ),
    _relay(
        "relay-certificate-chain-incomplete",
        "relay-certificate-chain-complete",
        "the exchanger does not send the intermediate certificate",
        Certificate(chain=Chain.MISSING),
    ),
    _everywhere(
        "certificate-chain-reversed",
        "certificate-chain-order",
        "the root is sent before the intermediate certificate",
        Certificate(chain=Chain.REVERSED),
    ),
    _everywhere(
        "certificate-chain-unrelated",
        "certificate-chain-order",
        "a certificate is sent that has nothing to do with the others",
        Certificate(chain=Chain.UNRELATED),
    ),
    _everywhere(
        "certificate-intermediate-expired",
        "certificate-trusted",
        "the intermediate certificate expired yesterday",
        Certificate(issuer=Issuer.EXPIRED),
    ),
    _relay(
        "relay-certificate-intermediate-expired",
        "relay-certificate-trusted",
        "the exchanger's intermediate certificate expired yesterday",
        Certificate(issuer=Issuer.EXPIRED),
    ),
    _everywhere(
        "certificate-untrusted-root",
        "certificate-trusted",
        "the certificate comes from an authority that nobody trusts",
        Certificate(issuer=Issuer.STRANGER),
    ),
    _relay(
        "relay-certificate-untrusted-root",
        "relay-certificate-trusted",
        "the exchanger's certificate comes from an authority that nobody trusts",
        Certificate(issuer=Issuer.STRANGER),
    ),
)

STRENGTH = (
    _everywhere(
        "certificate-extension-garbled",
        "certificate-readable",
        "an extension of the certificate is no DER",
        Certificate(garbled=True),
    ),
    _everywhere(
        "certificate-rsa-1024",
        "certificate-key",
        "the certificate's key is RSA of 1024 bits",
        Certificate(key=KeyKind.RSA_1024),
    ),
    _everywhere(
        "certificate-rsa-2048",
        "certificate-key",
        "the certificate's key is RSA of 2048 bits",
        Certificate(key=KeyKind.RSA_2048),
        Verdict.OK,
    ),
    _everywhere(
        "certificate-sha1",
        "certificate-signature",
        "the certificate is signed with SHA-1",
        Certificate(sha1=True),
    ),
    _everywhere(
        "certificate-client-only",
        "certificate-purpose",
        "the certificate is for clients only",
        Certificate(purpose=Purpose.CLIENT),
    ),
    _everywhere(
        "certificate-is-authority",
        "certificate-purpose",
        "the server's certificate may sign other certificates",
        Certificate(authority=True),
    ),
)

PLACES = (
    Scenario(
        name="relay-only",
        check="relay-certificate-name",
        verdict=Verdict.OK,
        wrong="an exchanger that serves port 25 and nothing else",
        where=(25,),
        changes=(_RELAY_ONLY,),
    ),
    Scenario(
        name="certificate-differs-on-one-port",
        check="certificate-same-everywhere",
        verdict=Verdict.FAIL,
        wrong="port 993 has another, older certificate than the other ports",
        where=(993,),
        changes=(Change(ports=(993,), certificate=Certificate(begins_days=-31, ends_days=59)),),
    ),
    Scenario(
        name="certificate-differs-on-one-address",
        check="certificate-same-everywhere",
        verdict=Verdict.FAIL,
        wrong="the second address of the host has another certificate",
        twin="address-two",
        zone={"mx A": ("{a}", "{b}")},
        addresses=2,
        changes=(Change(address=1, certificate=Certificate(begins_days=-31, ends_days=59)),),
    ),
    Scenario(
        name="certificate-without-sni",
        check="certificate-without-sni",
        verdict=Verdict.FAIL,
        wrong="clients that send no server name get a certificate for another host",
        changes=(Change(nameless=Certificate(names=(_OTHER_NAME,))),),
    ),
    Scenario(
        name="certificate-needs-sni",
        check="certificate-without-sni",
        verdict=Verdict.FAIL,
        wrong="clients that send no server name get no certificate but an alert",
        changes=(Change(needs_name=True),),
    ),
)

SCENARIOS = DATES + NAMES + CHAINS + STRENGTH + PLACES
