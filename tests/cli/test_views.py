"""A certificate in a few words, for the table of ports."""

from __future__ import annotations

import pytest

from mailprobe.cli.views import session_views
from mailprobe.model.evidence import SCHEMA, Evidence, Settings, Trust
from tests.certificates import Authority, issue
from tests.checks.factories import AUTHORITY, CERTIFICATE, HOST, NOW, TRUSTED, distrust, host, host_target, session, tls

STRANGER = Authority("stranger", at=NOW)
SELF_SIGNED = issue(HOST, HOST, at=NOW)
STRANGE = STRANGER.server(HOST)


def verdict(chain: tuple[bytes, ...], trust: Trust) -> str:
    settings = Settings(resolver="system", ehlo_name="probe.test", internal_networks=(), ports=(25,), thorough=False)
    target = host_target(host(session(25, tls=tls(*chain, trust=trust))))
    evidence = Evidence(schema=SCHEMA, mailprobe="0.1", collected_at=NOW, settings=settings, targets=(target,))
    (view,) = session_views(evidence)
    assert view.certificate is not None
    return view.certificate.verdict


@pytest.mark.parametrize(
    ("chain", "trust", "expected"),
    [
        (CERTIFICATE.chain, TRUSTED, "ok"),
        ((b"junk",), distrust(1), "unreadable"),
        ((CERTIFICATE.der,), distrust(20), "incomplete"),
        ((CERTIFICATE.der, CERTIFICATE.der), distrust(20), "incomplete"),
        ((CERTIFICATE.der, STRANGER.intermediate.der), distrust(20), "incomplete"),
        ((*CERTIFICATE.chain, AUTHORITY.root.der), distrust(19, 2), "untrusted"),
        ((*STRANGE.chain, STRANGER.root.der), distrust(20, 2), "untrusted"),
        (CERTIFICATE.chain, distrust(10, 1), "untrusted"),
        (SELF_SIGNED.chain, distrust(18), "self-signed"),
    ],
)
def test_the_fault_of_a_chain_is_named(chain: tuple[bytes, ...], trust: Trust, expected: str) -> None:
    assert verdict(chain, trust) == expected
