"""Mail addresses as people write them: ``alice@a.test``, ``Alice <alice@a.test>``, several with commas between them.

Read strictly (RFC 5322 §3.4), because what is written here becomes a header and a command: no groups, no comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from unicodedata import normalize

import msgspec

from mailprobe.model.errors import UsageError
from mailprobe.model.names import domain_name, is_address, to_unicode

ADDRESS_LIMIT = 254  # RFC 5321 §4.5.3.1.3: a path has 256 octets with its brackets

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_ATOMS = re.compile(rf"[{_ATEXT}\u00a1-\U0010ffff]+(?:\.[{_ATEXT}\u00a1-\U0010ffff]+)*")
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"')
_QUOTED_NAME = re.compile(r'"(?:[^"\\]|\\.)*"')
_NEEDS_QUOTES = re.compile(r'[<>@,;:\\"\[\]]')


class Mailbox(msgspec.Struct, frozen=True):
    """One address and the name beside it, which may be empty.

    *local* is as written; *domain* is a literal in brackets or a name in lower case, in A-labels (IDNA 2008), so that
    no server needs to know more than ASCII. Only where *local* is beyond ASCII, too, which takes a server with SMTPUTF8
    anyway, the domain stays in its own script.
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """The address alone, as it stands in a command."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """True when no server without SMTPUTF8 can take it (RFC 6531 §3.2)."""
        return not self.address.isascii()


def mailboxes(texts: Iterable[str], what: str) -> tuple[Mailbox, ...]:
    """Read addresses, any number in each text; *what* names the option or field in a complaint.

    Raises:
        UsageError: one is no address; nothing at all is none either, where a text was given.
    """
    return tuple(_mailbox(piece, what) for text in texts for piece in _pieces(text, what))


def mailbox(text: str, what: str) -> Mailbox:
    """Read exactly one address.

    Raises:
        UsageError: it is none, or there are several.
    """
    found = mailboxes([text], what)
    if len(found) != 1:
        raise UsageError(f"{what}: one address is needed, not {len(found)}: {text!r}")
    return found[0]


def refuse_controls(text: str, what: str) -> str:
    """Return the text unchanged.

    Raises:
        UsageError: it holds a line end or another control character, by which a header could be smuggled in; or half
            of a surrogate pair, which no letter can carry.
    """
    for character in text:
        if character in "\r\n":
            raise UsageError(f"{what}: a line end is not allowed there: {text[:60]!r}")
        if (character < " " and character != "\t") or character == "\x7f":
            raise UsageError(f"{what}: a control character is not allowed there: {text[:60]!r}")
        if "\ud800" <= character <= "\udfff":
            raise UsageError(f"{what}: {text[:60]!r} is no text in UTF-8")
    return text


def _pieces(text: str, what: str) -> Iterator[str]:
    """Split at the commas outside quotes and brackets."""
    refuse_controls(text, what)
    start, quoted, escaped, bracketed = 0, False, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character in "<>":
            bracketed = character == "<"
        elif character == "," and not bracketed:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _mailbox(text: str, what: str) -> Mailbox:
    text = text.strip()
    if not text:
        raise UsageError(f"{what}: an empty address was given")
    if "<" not in text and ">" not in text:
        return _parsed("", text, what)
    name, bracket, address = text.rpartition("<")
    if not bracket or not address.endswith(">") or ">" in address[:-1]:
        raise UsageError(f"{what}: {_short(text)} is no address; write name <user@domain>")
    return _parsed(_display_name(name.strip(), what), address[:-1].strip(), what)


def _display_name(text: str, what: str) -> str:
    if _QUOTED_NAME.fullmatch(text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if _NEEDS_QUOTES.search(text):
        raise UsageError(f'{what}: the name {_short(text)} needs quotes: "name" <user@domain>')
    return text


def _parsed(name: str, address: str, what: str) -> Mailbox:
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        raise UsageError(f"{what}: {_short(address)} is no address; write user@domain")
    local = normalize("NFC", local)
    if not _ATOMS.fullmatch(local) and not _QUOTED.fullmatch(local):
        raise UsageError(f"{what}: {_short(address)} is no address: {_short(local)} cannot stand before the @")
    found = Mailbox(normalize("NFC", name), local, _domain(domain, local, what))
    if len(found.address.encode()) > ADDRESS_LIMIT:
        raise UsageError(f"{what}: {_short(address)} is longer than the {ADDRESS_LIMIT} octets of RFC 5321")
    return found


def _domain(text: str, local: str, what: str) -> str:
    if text.startswith("["):
        inner = text[1:-1].removeprefix("IPv6:") if text.endswith("]") else ""
        if not is_address(inner) or ((":" in inner) != text.startswith("[IPv6:")):
            raise UsageError(f"{what}: {_short(text)} is no address literal; write [192.0.2.1] or [IPv6:2001:db8::1]")
        return text
    try:
        name = domain_name(text)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None
    if name == "." or "*" in name or is_address(name):
        raise UsageError(f"{what}: {_short(text)} is no domain; an IP address goes in brackets: user@[192.0.2.1]")
    return name if local.isascii() else to_unicode(name)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
