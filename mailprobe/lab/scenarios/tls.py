"""Handshakes that fail, and versions and ciphers that should be gone."""

from __future__ import annotations

from mailprobe.lab.certificates import Offer
from mailprobe.lab.plan import Action, AnswerNext, Close, Hang, Rule, instead
from mailprobe.lab.scenario import Change, Scenario
from mailprobe.model.finding import Verdict

_ALERT_HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")  # RFC 8446 §6
_BROKEN_SERVER_HELLO = bytes.fromhex("160303003a020000360303") + b"\xff" * 52


def _offer(
    offer: Offer, name: str, check: str, wrong: str, verdict: Verdict = Verdict.FAIL, twin: str = "good"
) -> Scenario:
    changes = (Change(offer=offer),)
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, twin=twin, changes=changes)


def _handshake(name: str, wrong: str, *actions: Action, verdict: Verdict = Verdict.FAIL) -> Scenario:
    """Describe what port 993 does instead of a handshake."""
    change = Change(ports=(993,), rules=(Rule("connect", instead(*actions)),))
    return Scenario(name=name, check="tls-handshake", verdict=verdict, wrong=wrong, where=(993,), changes=(change,))


HANDSHAKES = (
    _handshake(
        "tls-handshake-garbage",
        "port 993 answers the ClientHello with octets that are no TLS",
        AnswerNext(b"\x00\x01\x02\x03" * 40),
        Close(),
    ),
    _handshake(
        "tls-handshake-broken",
        "port 993 answers the ClientHello with a broken ServerHello",
        AnswerNext(_BROKEN_SERVER_HELLO),
        Hang(),
    ),
    _handshake(
        "tls-handshake-alert",
        "port 993 answers the ClientHello with an alert",
        AnswerNext(_ALERT_HANDSHAKE_FAILURE),
        Close(),
    ),
    _handshake("tls-handshake-closed", "port 993 hangs up at the ClientHello", AnswerNext(b""), Close()),
    _handshake(
        "tls-handshake-reset", "port 993 resets the connection at the ClientHello", AnswerNext(b""), Close("rst")
    ),
    _handshake(
        "tls-handshake-hang",
        "port 993 never answers the ClientHello",
        Hang(),
        verdict=Verdict.UNKNOWN,
    ),
)

VERSIONS = (
    _offer(Offer.TLS10_ONLY, "tls10-only", "tls-version", "the newest version is TLS 1.0"),
    _offer(Offer.TLS11_ONLY, "tls11-only", "tls-version", "the newest version is TLS 1.1"),
    _offer(Offer.TLS12_ONLY, "tls12-only", "tls-version", "the only version is TLS 1.2", Verdict.OK),
    _offer(Offer.TLS13_ONLY, "tls13-only", "tls-version", "the only version is TLS 1.3", Verdict.OK),
    _offer(Offer.TLS10_TOO, "tls10-too", "tls-legacy", "TLS 1.0 is taken beside newer versions"),
)

CIPHERS = (
    _offer(Offer.NULL, "cipher-null", "tls-cipher", "the cipher does not encrypt", twin="tls12-only"),
    _offer(Offer.ANONYMOUS, "cipher-anonymous", "tls-cipher", "the cipher needs no certificate", twin="tls12-only"),
    _offer(
        Offer.NO_FORWARD_SECRECY,
        "forward-secrecy-missing",
        "tls-forward-secrecy",
        "the session key travels under the certificate's key",
        twin="tls12-only",
    ),
)

SCENARIOS = HANDSHAKES + VERSIONS + CIPHERS
