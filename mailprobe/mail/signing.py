"""DKIM signatures (RFC 6376) by dkimpy, which is imported when a letter is to be signed."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from mailprobe.mail.compose import Letter
from mailprobe.model.errors import RecordError, UsageError
from mailprobe.model.files import read_whole
from mailprobe.model.names import domain_name
from mailprobe.records.dkim_key import PrivateKey, private_key
from mailprobe.records.header import fields, values

# RFC 6376 §5.4.1, as far as they are there; From once more than it is, so that nobody can add a second one.
SIGNED = (
    *("from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "in-reply-to", "references"),
    *("mime-version", "content-type", "content-transfer-encoding"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post"),
)
_KEY_FILE_LIMIT = 65_536
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)*", re.IGNORECASE)
_DOMAIN = re.compile(r"@([^\s<>@\"(),;]+)>?")


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs: the record with the public key is at ``selector._domainkey.domain``.

    An empty *domain* is that of the letter's From. *signed* are the names of the fields to sign.
    """

    key: PrivateKey
    selector: str
    domain: str = ""
    signed: tuple[str, ...] = SIGNED


def signer(key_file: Path, selector: str, domain: str | None = None, signed: tuple[str, ...] = ()) -> Signer:
    """Make a signer of what the user gave.

    Raises:
        UsageError: the file cannot be read or holds no key for DKIM; the selector, the domain or a field is none.
    """
    if not _SELECTOR.fullmatch(selector):
        raise UsageError(f"{selector[:60]!r} is no DKIM selector; it is the first part of the record's name")
    try:
        key = private_key(read_whole(key_file, _KEY_FILE_LIMIT, pipes=True))
    except OSError as error:
        raise UsageError(f"DKIM key {key_file}: {error.strerror}") from None
    except RecordError as error:
        raise UsageError(f"DKIM key {key_file}: {error}") from None
    fields_signed = tuple(name.strip().lower() for name in signed) or SIGNED
    if "from" not in fields_signed:
        raise UsageError("a DKIM signature must cover From (RFC 6376 §5.4)")
    if forbidden := {"dkim-signature", "return-path", "received", "bcc"} & set(fields_signed):
        raise UsageError(f"a DKIM signature must not cover {min(forbidden)}: it changes on the way, or is taken out")
    return Signer(key=key, selector=selector, domain=domain_name(domain) if domain else "", signed=fields_signed)


def sign(letter: Letter, by: Signer) -> Letter:
    """Put a signature on top of a letter, relaxed/relaxed.

    Raises:
        UsageError: dkimpy is not installed, or the letter has no From with a domain to sign for.
    """
    try:
        import dkim  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError("DKIM signatures need dkimpy: pip install 'mailprobe[mail]'") from None
    authors = values(letter.octets, "From")
    if not authors:
        raise UsageError("the letter has no From, which every signature covers (RFC 6376 §5.4)")
    domain = by.domain or _domain_of(authors[-1])
    try:
        signature = dkim.DKIM(letter.octets).sign(
            by.selector.encode(),
            domain.encode(),
            by.key.secret,
            signature_algorithm=by.key.algorithm.encode(),
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name.encode() for name in _covered(letter.octets, by.signed)],
        )
    except dkim.NaClNotFoundError:
        raise UsageError("DKIM signatures with an Ed25519 key need PyNaCl: pip install 'dkimpy[ed25519]'") from None
    except dkim.DKIMException as error:
        raise UsageError(f"the letter cannot be signed: {error}") from None
    return msgspec.structs.replace(letter, octets=signature + letter.octets)


def _covered(octets: bytes, wanted: tuple[str, ...]) -> list[str]:
    """Name each field as often as it is there, and From once more (RFC 6376 §5.4.2, §8.15)."""
    names = [field.name.lower() for field in fields(octets)]
    return [name for name in wanted for _ in range(names.count(name))] + ["from"]


def _domain_of(author: str) -> str:
    found = _DOMAIN.findall(author.encode("latin-1").decode("utf-8", "replace"))
    if not found:
        raise UsageError("the From of the letter names no domain; say with --dkim-domain who signs")
    return domain_name(found[-1])
