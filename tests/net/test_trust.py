"""What the trust store says of a chain, in OpenSSL's own numbers (X509_V_ERR)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Trust
from mailprobe.net.trust import TrustStore
from tests.certificates import TODAY, Authority, Issued, issue

OURS = Authority("ours")
STRANGER = Authority("stranger")
GOOD = OURS.server("mx.a.test")
EXPIRED = OURS.server("mx.a.test", begins=timedelta(days=-90), lifetime=timedelta(days=30))
FUTURE = OURS.server("mx.a.test", begins=timedelta(days=30))
SELF_SIGNED = issue("mx.a.test", "mx.a.test")
STRANGE = STRANGER.server("mx.a.test")


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(OURS.write(tmp_path))


def with_root(issued: Issued, authority: Authority) -> tuple[bytes, ...]:
    return (*issued.chain, authority.root.der)


@pytest.mark.parametrize(
    ("chain", "codes", "depth"),
    [
        (GOOD.chain, {0}, 0),
        (with_root(GOOD, OURS), {0}, 0),
        ((GOOD.der, OURS.root.der, *GOOD.chain[1:]), {0}, 0),
        (EXPIRED.chain, {10}, 0),
        (FUTURE.chain, {9}, 0),
        (SELF_SIGNED.chain, {18}, 0),
        ((GOOD.der,), {20}, 0),
        (with_root(STRANGE, STRANGER), {19}, 2),
        (STRANGE.chain, {20}, 1),
        ((GOOD.der, *STRANGE.chain[1:]), {20}, 0),
    ],
)
def test_a_chain_is_judged(store: TrustStore, chain: tuple[bytes, ...], codes: set[int], depth: int) -> None:
    trust = store.verify(chain, TODAY)
    assert trust.code in codes
    assert trust.depth == depth
    assert trust.trusted is (trust.code == 0)
    assert trust.reason


def test_a_name_is_not_the_business_of_the_store(store: TrustStore) -> None:
    assert store.verify(OURS.server("quite.other.test").chain, TODAY).trusted


@pytest.mark.parametrize(("issued", "days"), [(EXPIRED, -80), (FUTURE, 40)])
def test_the_time_is_the_one_given(store: TrustStore, issued: Issued, days: int) -> None:
    assert store.verify(issued.chain, TODAY + timedelta(days=days)).trusted


def test_a_chain_is_verified_once_in_a_run(store: TrustStore) -> None:
    assert store.verify(GOOD.chain, TODAY) is store.verify(GOOD.chain, TODAY)


@pytest.mark.parametrize("chain", [(b"junk",), (GOOD.der, b"junk"), (b"",)])
def test_octets_that_are_no_certificate_are_not_trusted(store: TrustStore, chain: tuple[bytes, ...]) -> None:
    trust = store.verify(chain, TODAY)
    assert not trust.trusted
    assert "cannot be read" in trust.reason


def test_the_store_is_named(tmp_path: Path) -> None:
    path = OURS.write(tmp_path)
    assert TrustStore(path).verify(GOOD.chain, TODAY) == Trust(
        trusted=True, code=0, reason="ok", depth=0, store=str(path)
    )
    assert TrustStore(None).name == "system"


def test_a_stranger_is_not_in_the_trust_store_of_the_system() -> None:
    trust = TrustStore(None).verify(with_root(STRANGE, STRANGER), TODAY)
    assert (trust.code, trust.store) == (19, "system")


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_trust_anchors_that_cannot_be_used_are_the_callers_mistake(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "anchors.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"anchors\.pem"):
        TrustStore(path).verify(GOOD.chain, TODAY)
