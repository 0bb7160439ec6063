"""DKIM signatures, held to dkimpy's own verifier, and keys that are none."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mailprobe.mail.compose import Draft, Letter, compose
from mailprobe.mail.ready import Handling, ready
from mailprobe.mail.signing import Signer, sign, signer
from mailprobe.model.errors import UsageError

RSA = rsa.generate_private_key(65_537, 2_048)
SMALL = rsa.generate_private_key(65_537, 1_024)
ED25519 = ed25519.Ed25519PrivateKey.generate()
DATE = datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC)

Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def pem(
    key: Key,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def letter(**changes: object) -> Letter:
    draft = Draft(sender="Alice <alice@a.test>", to=("bob@b.test",), subject="Grüße", text="hi\n.\n", date=DATE)
    return compose(msgspec.structs.replace(draft, **changes))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Signer]:
    def make_signer(key: bytes, *more: object) -> Signer:
        file = tmp_path / "key.pem"
        file.write_bytes(key)
        return signer(file, "s1", *more)  # type: ignore[arg-type]

    return make_signer


def verified(octets: bytes, by: Signer, domain: str = "a.test") -> bool:
    """Verify with a DNS that holds the signer's own record and no other."""
    records = {f"s1._domainkey.{domain}.".encode(): by.key.record.encode()}
    return bool(dkim.verify(octets, dnsfunc=lambda name, **_: records.get(name)))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key", [RSA, SMALL])
def test_a_signature_by_rsa_verifies(make: Callable[..., Signer], key: rsa.RSAPrivateKey, form: PrivateFormat) -> None:
    by = make(pem(key, form))
    signed = sign(letter(), by)
    assert verified(signed.octets, by)
    assert signed.octets.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")
    assert signed.octets.endswith(letter().octets[-20:])
    assert all(len(line) < 998 for line in signed.octets.split(b"\r\n"))


@pytest.mark.parametrize("seed_only", [False, True])
def test_a_signature_by_ed25519_verifies(make: Callable[..., Signer], seed_only: bool) -> None:
    pytest.importorskip("nacl")
    by = make(pem(ED25519))
    by = make(by.key.secret) if seed_only else by
    signed = sign(letter(), by)
    assert b"a=ed25519-sha256" in signed.octets
    assert verified(signed.octets, by)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\r\nhi\r\n", b"\r\nho\r\n"),
        (b"To: bob", b"To: eve"),
        (b"From: Alice", b"From: Mallory <m@m.test>\r\nFrom: Alice"),
    ],
)
def test_a_letter_that_was_changed_does_not_verify(make: Callable[..., Signer], before: bytes, after: bytes) -> None:
    by = make(pem(RSA))
    octets = sign(letter(), by).octets
    assert before in octets
    assert not verified(octets.replace(before, after, 1), by)


def test_a_letter_without_date_and_message_id_is_signed_with_those_it_gets(make: Callable[..., Signer]) -> None:
    by = make(pem(RSA))
    bare = ready(
        b"Subject: x\r\n\r\nhi\r\n",
        sender="a@a.test",
        recipients=("b@b.test",),
        date=DATE,
        handling=Handling(complete=True),
    )
    for octets in (sign(letter(), by).octets, sign(bare, by).octets):
        covered = octets.replace(b"\r\n ", b" ").partition(b" h=")[2].partition(b";")[0].split(b" : ")
        assert {b"date", b"message-id"} <= set(covered)
        assert verified(octets, by)
        assert not verified(octets.replace(b"Message-ID: <", b"Message-ID: <x", 1), by)
        assert not verified(octets.replace(b"Date: Mon", b"Date: Tue", 1), by)


def test_who_signs_is_the_domain_of_the_author_unless_told(make: Callable[..., Signer]) -> None:
    other = make(pem(RSA), "Müller.test")
    signed = sign(letter(), other)
    assert b"d=xn--mller-kva.test" in signed.octets
    assert verified(signed.octets, other, "xn--mller-kva.test")
    own = make(pem(RSA))
    named = letter(sender="<>", headers=(("From", '"x@other.test, Inc" <daemon@b.test>'),))
    assert b"d=b.test" in sign(named, own).octets


def test_the_fields_to_sign_can_be_chosen(make: Callable[..., Signer]) -> None:
    by = make(pem(RSA), None, ("From", "Subject"))
    octets = sign(letter(), by).octets
    assert b"h=from : subject : from;" in octets.replace(b"\r\n ", b" ")
    assert verified(octets.replace(b"To: bob", b"To: eve", 1), by)


def test_a_letter_of_25_megabytes_is_signed(make: Callable[..., Signer]) -> None:
    by = make(pem(SMALL))
    large = ready(
        b"From: a@a.test\r\n\r\n" + (b"x" * 76 + b"\r\n") * 320_000, sender=None, recipients=("b@b.test",), date=DATE
    )
    assert verified(sign(large, by).octets, by)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no key in PEM"),
        (b"hello\n", "no key in PEM"),
        (bytes(range(256)), "no key in PEM"),
        (b"x" * 65_537, "more than 65 KB"),
        (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "a public key"),
        (pem(RSA, encryption=BestAvailableEncryption(b"x")), "encrypted"),
        (pem(RSA)[:400], "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "DKIM knows RSA and Ed25519"),
    ],
)
def test_what_is_no_key_is_refused_in_one_line(make: Callable[..., Signer], content: bytes, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pem: No such file"):
        signer(tmp_path / "none.pem", "s1")


@pytest.mark.parametrize(("path", "said"), [("/dev/zero", "no regular file"), ("/", "Is a directory")])
def test_what_has_no_end_or_is_no_file_is_no_key(path: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"DKIM key {path}: .*{said}"):
        signer(Path(path), "s1")


def test_a_key_may_come_through_a_pipe_and_not_without_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write(octets: bytes) -> threading.Thread:
        def pour() -> None:
            with contextlib.suppress(BrokenPipeError):
                pipe.write_bytes(octets)

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        return thread

    writer = write(pem(RSA))
    assert signer(pipe, "s1").key.bits == 2_048
    writer.join(10)
    writer = write(b"x" * 1_000_000)
    with pytest.raises(UsageError, match="more than 65 KB"):
        signer(pipe, "s1")
    writer.join(10)


def test_a_pipe_that_nobody_writes_into_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailprobe.model.files.WRITER_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="nobody writes into this pipe"):
        signer(tmp_path / "pipe", "s1")


@pytest.mark.parametrize("selector", ["", "a b", "a;d=x.test", "a\r\nX: y", "-a", "a..b"])
def test_what_is_no_selector_is_refused(tmp_path: Path, selector: str) -> None:
    with pytest.raises(UsageError, match="no DKIM selector"):
        signer(tmp_path / "key.pem", selector)


@pytest.mark.parametrize(
    ("fields", "said"), [(("Subject",), "must cover From"), (("From", "Received"), "must not cover received")]
)
def test_fields_that_make_no_sense_are_refused(make: Callable[..., Signer], fields: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(pem(RSA), None, fields)


def test_a_letter_without_author_cannot_be_signed(make: Callable[..., Signer]) -> None:
    nobody = ready(b"Subject: x\r\n\r\nhi\r\n", sender="a@a.test", recipients=("b@b.test",), date=DATE)
    for by in (make(pem(RSA)), make(pem(RSA), "a.test")):
        with pytest.raises(UsageError, match="no From"):
            sign(nobody, by)


def test_without_dkimpy_it_says_what_to_install(make: Callable[..., Signer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dkim", None)
    with pytest.raises(UsageError, match=r"pip install 'mailprobe\[mail\]'"):
        sign(letter(), make(pem(RSA)))
