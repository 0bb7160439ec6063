"""The client side of SMTP (RFC 5321) and LMTP (RFC 2033): every command as octets, every reply read."""

from __future__ import annotations

import base64
import re

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Reply
from mailprobe.protocols.client import Client, argument

# RFC 5321 §4.2: Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF.
# The final line may be the bare code.
_REPLY_LINE = re.compile(r"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")  # RFC 2034 §3, RFC 3463 §2

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_BREAKS_OUT = re.compile(r"[<>\s]")  # what would end an address or a parameter early
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1

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

    def lhlo(self, name: str) -> bytes:
        """Introduce ourselves to an LMTP server (RFC 2033 §4.1)."""
        self._introduced = True
        return self._command(f"LHLO {argument(name)}")

    def starttls(self) -> bytes:
        """Ask to change to TLS (RFC 3207 §4)."""
        if not self._introduced or self.secure:
            raise LocalProtocolError("STARTTLS belongs after EHLO and before TLS")
        return self._command("STARTTLS")

    def auth(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """Begin a login (RFC 4954 §4); *initial* None: the server speaks first."""
        if not _MECHANISM.fullmatch(mechanism):
            raise LocalProtocolError(f"{mechanism!r} is no name of a SASL mechanism")
        if initial is None:
            return self._command(f"AUTH {mechanism}")
        return self._command(f"AUTH {mechanism} {base64.b64encode(initial).decode() or '='}")

    def auth_response(self, octets: bytes) -> bytes:
        """Answer a 334 (RFC 4954 §4)."""
        return base64.b64encode(octets) + b"\r\n"

    def auth_cancel(self) -> bytes:
        """Break off a login instead of answering a 334."""
        return self._command("*")

    def mail(self, sender: str, parameters: tuple[str, ...] = ()) -> bytes:
        """Begin a transaction; an empty *sender* is the null reverse-path."""
        return self._command(f"MAIL FROM:<{_address(sender)}>{_parameters(parameters)}")

    def rcpt(self, address: str, parameters: tuple[str, ...] = ()) -> bytes:
        """Name a recipient (RFC 5321 §4.1.1.3)."""
        return self._command(f"RCPT TO:<{_address(address)}>{_parameters(parameters)}")

    def data(self) -> bytes:
        """Ask to send the message; after a 354 comes `body`."""
        return self._command("DATA")

    def body(self, octets: bytes) -> bytes:
        """Give a message in the form that DATA wants: dots doubled, and the end (RFC 5321 §4.5.2).

        *octets* have CRLF line ends. A last line without one gets it; nothing else is changed.
        """
        if not octets:
            return b".\r\n"
        stuffed = octets.replace(b"\r\n.", b"\r\n..")
        return b"".join(
            (b"." if octets.startswith(b".") else b"", stuffed, b".\r\n" if octets.endswith(b"\r\n") else b"\r\n.\r\n")
        )

    def bdat(self, octets: bytes, last: bool) -> bytes:
        """Send a chunk of a message, unchanged (RFC 3030 §2)."""
        return b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if last else b"", octets)

    def rset(self) -> bytes:
        """Break off the transaction (RFC 5321 §4.1.1.5)."""
        return self._command("RSET")

    def noop(self) -> bytes:
        """Ask for a sign of life (RFC 5321 §4.1.1.9)."""
        return self._command("NOOP")

    def vrfy(self, name: str) -> bytes:
        """Ask whether a user or mailbox is known (RFC 5321 §4.1.1.6)."""
        return self._command(f"VRFY {argument(name)}")

    def expn(self, name: str) -> bytes:
        """Ask who is on a mailing list (RFC 5321 §4.1.1.7)."""
        return self._command(f"EXPN {argument(name)}")

    def help(self) -> bytes:
        """Ask what the server understands (RFC 5321 §4.1.1.8)."""
        return self._command("HELP")

    def quit(self) -> bytes:
        """Say goodbye (RFC 5321 §4.1.1.10)."""
        return self._command("QUIT")

    def secured(self) -> None:
        """Forget what was learnt in clear, our introduction too (RFC 3207 §4.2)."""
        super().secured()
        self._introduced = False

    def _command(self, line: str) -> bytes:
        return line.encode("utf-8") + b"\r\n"


def _address(text: str) -> str:
    if _BREAKS_OUT.search(_QUOTED.sub("", argument(text))):
        raise LocalProtocolError(f"the address {text!r} holds a space or an angle bracket")
    return text


def _parameters(parameters: tuple[str, ...]) -> str:
    for text in parameters:
        if not argument(text) or _BREAKS_OUT.search(text.replace("=<>", "=")):  # AUTH=<>, RFC 4954 §5
            raise LocalProtocolError(f"the parameter {text!r} is not one word")
    return "".join(f" {text}" for text in parameters)


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
