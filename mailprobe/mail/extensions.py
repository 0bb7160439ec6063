"""What a letter asks of a server (RFC 5321 §2.2): the parameters of MAIL and RCPT, or why the server cannot have it."""

from __future__ import annotations

import re

import msgspec

from mailprobe.mail.compose import Letter
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Capabilities
from mailprobe.protocols.smtp.transaction import Addressee, Parcel

ENVID_LIMIT = 100  # RFC 3461 §4.4
_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")
_BARE = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Which delivery reports are wanted (RFC 3461); empty fields ask for nothing.

    *when* is ``NEVER`` or some of ``SUCCESS,FAILURE,DELAY``; *ret* ``FULL`` or ``HDRS``; *envid* as the user wrote it.
    """

    when: str = ""
    ret: str = ""
    envid: str = ""

    @property
    def asked(self) -> bool:
        """True when anything is."""
        return bool(self.when or self.ret or self.envid)


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter is to have, beside what its content needs.

    *anyway* sends what is beyond ASCII also to servers that did not say that they take it.
    """

    notify: Notify = Notify()
    requiretls: bool = False
    chunking: bool = False
    anyway: bool = False


class Unmet(msgspec.Struct, frozen=True):
    """Why a server cannot have the letter, with an enhanced code (RFC 3463) in front."""

    detail: str


def notify(when: str | None, ret: str | None, envid: str | None) -> Notify:
    """Check what the user asked for.

    Raises:
        UsageError: a word that is none; NEVER beside others; an envelope id that is too long or beyond ASCII.
    """
    words = [word.strip().upper() for word in when.split(",")] if when is not None else []
    if unknown := [word for word in words if word not in {*_NOTIFY, "NEVER"}]:
        raise UsageError(f"{unknown[0][:40]!r}: reports can be asked for at SUCCESS, FAILURE, DELAY, or NEVER")
    if "NEVER" in words and len(words) > 1:
        raise UsageError("NEVER excludes all other occasions for a report (RFC 3461 §4.1)")
    if ret is not None and ret.upper() not in {"FULL", "HDRS"}:
        raise UsageError(f"{ret[:40]!r}: a report can return the letter FULL, or its headers: HDRS")
    if envid is not None and not (envid and envid.isascii() and envid.isprintable()):
        raise UsageError("an envelope id is made of printable ASCII characters")
    if envid is not None and len(xtext(envid)) > ENVID_LIMIT:
        raise UsageError(f"the envelope id is longer than {ENVID_LIMIT} characters (RFC 3461 §4.4)")
    return Notify(when=",".join(dict.fromkeys(words)), ret=(ret or "").upper(), envid=envid or "")


def xtext(text: str) -> str:
    """Write printable ASCII so that it is one word in a command (RFC 3461 §4)."""
    return "".join(each if "!" <= each <= "~" and each not in "+=" else f"+{ord(each):02X}" for each in text)


def parcel(letter: Letter, recipients: tuple[str, ...], wishes: Wishes, offered: Capabilities) -> Parcel | Unmet:
    """Put a letter in its envelope for a server that offers this, or say what it would have to offer."""
    unmet = _unmet(letter, wishes, offered)
    if unmet is not None:
        return unmet
    return Parcel(
        sender=letter.sender,
        sender_parameters=tuple(_of_sender(letter, wishes, offered)),
        recipients=tuple(Addressee(address, tuple(_of_recipient(address, wishes))) for address in recipients),
        data=letter.octets,
    )


def _unmet(letter: Letter, wishes: Wishes, offered: Capabilities) -> Unmet | None:
    if wishes.requiretls and not offered.has("REQUIRETLS"):
        return Unmet("5.7.30 the server does not offer REQUIRETLS, so it may not have this letter (RFC 8689 §4.2.1)")
    if letter.needs_smtputf8 and not offered.has("SMTPUTF8") and not wishes.anyway:
        return Unmet(
            "5.6.7 an address or a header is beyond ASCII, and the server does not offer SMTPUTF8 (RFC 6531 §3.2); "
            "use addresses and headers in ASCII"
        )
    if letter.needs_8bit and not offered.has("8BITMIME") and not wishes.anyway:
        return Unmet(
            "5.6.3 the letter has octets beyond ASCII, and the server does not offer 8BITMIME (RFC 6152); "
            "encode them as quoted-printable or base64"
        )
    if wishes.notify.asked and not offered.has("DSN"):
        return Unmet("5.3.3 delivery reports are asked for, and the server does not offer DSN (RFC 3461)")
    if wishes.chunking and not offered.has("CHUNKING"):
        return Unmet("5.3.3 BDAT is asked for, and the server does not offer CHUNKING (RFC 3030)")
    return None


def _of_sender(letter: Letter, wishes: Wishes, offered: Capabilities) -> list[str]:
    found = []
    if offered.has("SIZE"):
        ended = letter.octets.endswith(b"\r\n")
        found.append(f"SIZE={len(letter.octets) + (0 if ended else 2)}")
    if wishes.chunking and offered.has("BINARYMIME") and _BARE.search(letter.octets):
        found.append("BODY=BINARYMIME")
    elif letter.needs_8bit and offered.has("8BITMIME"):
        found.append("BODY=8BITMIME")
    if letter.needs_smtputf8 and offered.has("SMTPUTF8"):
        found.append("SMTPUTF8")
    if wishes.requiretls:
        found.append("REQUIRETLS")
    if wishes.notify.ret:
        found.append(f"RET={wishes.notify.ret}")
    if wishes.notify.envid:
        found.append(f"ENVID={xtext(wishes.notify.envid)}")
    return found


def _of_recipient(address: str, wishes: Wishes) -> list[str]:
    if not wishes.notify.asked:
        return []
    when = [f"NOTIFY={wishes.notify.when}"] if wishes.notify.when else []
    # RFC 3461 §4.2; an address beyond ASCII goes as it is, in a session that has SMTPUTF8 (RFC 6533 §3)
    original = f"rfc822;{xtext(address)}" if address.isascii() else f"utf-8;{_utf8_xtext(address)}"
    return [*when, f"ORCPT={original}"]


def _utf8_xtext(text: str) -> str:
    """Write an address beyond ASCII as one word, ``\\x{2B}`` for a plus (utf-8-addr-unitext, RFC 6533 §3)."""
    plain = (each if each > "\x7f" or ("!" <= each <= "~" and each not in "+=\\") else None for each in text)
    return "".join(each or f"\\x{{{ord(own):02X}}}" for each, own in zip(plain, text, strict=True))
