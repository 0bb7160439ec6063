"""The client side of SMTP (RFC 5321), as much of it as finding out about a server needs."""

from __future__ import annotations

import re

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Reply
from mailprobe.protocols.client import Client, argument

# RFC 5321 §4.2: Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF.
# The final line may be the bare code.
_REPLY_LINE = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")  # RFC 2034 §3, RFC 3463 §2

# RFC 5321 §3.2 and §4.2.2: what a server says that does not know EHLO; any other 5xx refuses us, not the command.
KNOWS_NO_EHLO = frozenset({"500", "501", "502", "504"})

QUIRK_MIXED_CODES = "mixed-codes"
QUIRK_BARE_CODE = "bare-code"


class SmtpClient(Client):
    """Speaks the client's part of SMTP, without I/O."""

    def __init__(self) -> None:
        super().__init__()
        self._introduced = False

    def next_reply(self) -> Reply | None:
        """Return the next whole reply; its status is the code of its last line. See `Client.next_reply`."""
        while (line := self._next_line()) is not None:
            match = _REPLY_LINE.fullmatch(line)
            if match is None:
                raise RemoteProtocolError(f"{line[:200]!r} is no SMTP reply line")
            if match[2] == "-":
                continue
            if match[2] is None:
                self._quirks[QUIRK_BARE_CODE] = None
            if len({text[:3] for text in self._lines}) > 1:
                self._quirks[QUIRK_MIXED_CODES] = None
            return self._finish(match[1])
        return None

    def ehlo(self, name: str) -> bytes:
        """Introduce ourselves by *name*, a host name or an address literal (RFC 5321 §4.1.1.1)."""
        self._introduced = True
        return self._command(f"EHLO {argument(name)}")

    def helo(self, name: str) -> bytes:
        """Introduce ourselves the old way, after EHLO was refused (RFC 5321 §3.2)."""
        self._introduced = True
        return self._command(f"HELO {argument(name)}")

    def starttls(self) -> bytes:
        """Ask to change to TLS (RFC 3207 §4)."""
        if not self._introduced or self.secure:
            raise LocalProtocolError("STARTTLS belongs after EHLO and before TLS")
        return self._command("STARTTLS")

    def mail(self, sender: str) -> bytes:
        """Begin a transaction; an empty *sender* is the null reverse-path."""
        return self._command(f"MAIL FROM:<{argument(sender)}>")

    def quit(self) -> bytes:
        """Say goodbye (RFC 5321 §4.1.1.10)."""
        return self._command("QUIT")

    def secured(self) -> None:
        """Forget what was learnt in clear, our introduction too (RFC 3207 §4.2)."""
        super().secured()
        self._introduced = False

    def _command(self, line: str) -> bytes:
        return line.encode("utf-8") + b"\r\n"


def reply_text(line: str) -> str:
    """Give what follows the code and its separator in a reply line."""
    return line[4:]


def enhanced_code(line: str) -> str | None:
    """Give the enhanced status code of a reply line (RFC 3463), or None when there is none."""
    match = _ENHANCED.match(reply_text(line).lstrip())
    return match[0] if match else None


def ehlo_capabilities(reply: Reply) -> Capabilities:
    """Read the keywords of an EHLO reply (RFC 5321 §4.1.1.1); keywords in any case, spaces in any number.

    The first line names the server and is left out. ``AUTH=LOGIN``, the form before RFC 2554, becomes the
    keyword ``AUTH=``.
    """
    return Capabilities(source="ehlo", items=tuple(filter(None, map(_capability, reply.lines[1:]))))


def _capability(line: str) -> Capability | None:
    words = reply_text(line).split()
    if not words:
        return None
    keyword, parameters = words[0].upper(), tuple(words[1:])
    if keyword.startswith("AUTH="):
        first = words[0][len("AUTH=") :]
        return Capability(keyword="AUTH=", parameters=(first, *parameters) if first else parameters)
    return Capability(keyword=keyword, parameters=parameters)


def server_name(reply: Reply) -> str:
    """Give the name a server goes by: the first word of its greeting (RFC 5321 §4.2), the code not counted.

    Servers that put words of welcome on lines of their own name themselves on a later one; the first line that
    begins with a full name counts.
    """
    words = [(reply_text(line).split() or [""])[0] for line in reply.lines]
    return next((word for word in words if "." in word.strip(".")), words[0] if words else "")
