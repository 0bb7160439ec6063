"""The client side of POP3 (RFC 1939, RFC 2449, RFC 2595), as much of it as finding out about a server needs."""

from __future__ import annotations

import re

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Reply
from mailprobe.protocols.client import Client

_STATUS = re.compile(r"(\+OK|-ERR)(?:$|\s)", re.IGNORECASE)
_APOP_STAMP = re.compile(r"<[^<>@\s]+@[^<>\s]+>")  # RFC 1939 §7: the syntax of an RFC 822 msg-id
_RESPONSE_CODE = re.compile(r"(?:\+OK|-ERR)\s+\[([^\]]*)\]", re.IGNORECASE)  # RFC 2449 §8

QUIRK_LOWER_CASE = "lower-case-status"


class Pop3Client(Client):
    """Speaks the client's part of POP3, without I/O."""

    def __init__(self) -> None:
        super().__init__()
        self._multi_line = False

    def next_reply(self) -> Reply | None:
        """Return the next whole reply, the dots of a multi-line one unstuffed. See `Client.next_reply`."""
        while (line := self._next_line()) is not None:
            if len(self._lines) == 1:
                if not (self._multi_line and _status(line) == "+OK"):
                    return self._finish(self._noted_status(line))
            elif line == ".":
                self._lines.pop()
                return self._finish(self._noted_status(self._lines[0]))
            elif line.startswith("."):
                self._lines[-1] = line[1:]
        return None

    def capa(self) -> bytes:
        """Ask for the capabilities (RFC 2449 §5)."""
        return self._command("CAPA", multi_line=True)

    def stls(self) -> bytes:
        """Ask to change to TLS (RFC 2595 §4)."""
        if self.secure:
            raise LocalProtocolError("STLS belongs before TLS")
        return self._command("STLS")

    def secured(self) -> None:
        """Forget what was learnt in clear, and that a list was asked for."""
        super().secured()
        self._multi_line = False

    def quit(self) -> bytes:
        """Say goodbye."""
        return self._command("QUIT")

    def _command(self, line: str, *, multi_line: bool = False) -> bytes:
        self._multi_line = multi_line
        return line.encode("ascii") + b"\r\n"

    def _noted_status(self, line: str) -> str:
        status = _status(line)
        if not line.startswith(status):
            self._quirks[QUIRK_LOWER_CASE] = None
        return status


def _status(line: str) -> str:
    match = _STATUS.match(line)
    if match is None:
        raise RemoteProtocolError(f"{line[:200]!r} is no POP3 reply: neither +OK nor -ERR")
    return match[1].upper()


def capa_capabilities(reply: Reply) -> Capabilities:
    """Read the list that a CAPA command gave (RFC 2449 §5)."""
    words = [line.split() for line in reply.lines[1:]]
    items = tuple(Capability(keyword=found[0].upper(), parameters=tuple(found[1:])) for found in words if found)
    return Capabilities(source="asked", items=items)


def apop_stamp(greeting: Reply) -> str | None:
    """Give the stamp by which a greeting offers APOP (RFC 1939 §7), or None."""
    match = _APOP_STAMP.search(greeting.lines[0]) if greeting.lines else None
    return match[0] if match else None


def response_code(reply: Reply) -> str | None:
    """Give the extended response code of a reply in upper case, such as ``SYS/TEMP`` (RFC 3206), or None."""
    match = _RESPONSE_CODE.match(reply.lines[0]) if reply.lines else None
    return match[1].upper() if match else None
