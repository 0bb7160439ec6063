"""The error tree.

MailprobeError
├── UsageError              what the caller gave cannot be used; the command line exits with 2
│   └── EvidenceError       a stored evidence file is not what it should be
├── RecordError             a record or certificate is not what its standard says
├── ProtocolError
│   ├── LocalProtocolError  we tried to send what may not be sent now: our bug
│   └── RemoteProtocolError the peer broke the protocol beyond what can be tolerated
└── NetworkError            the conversation with a server stopped; carries a Kind
"""

from __future__ import annotations

from mailprobe.model.evidence import Kind


class MailprobeError(Exception):
    """The root of everything that mailprobe raises on purpose."""


class UsageError(MailprobeError):
    """What the caller gave cannot be used; the text says what, where and what to do."""


class EvidenceError(UsageError):
    """A stored evidence file is unreadable, of another schema, or not what the schema says."""


class RecordError(MailprobeError):
    """A record or certificate cannot be read; the text says what is wrong with it."""


class ProtocolError(MailprobeError):
    """Somebody broke a mail protocol."""


class LocalProtocolError(ProtocolError):
    """We tried to send something that may not be sent in this state: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that cannot be tolerated.

    *kind* is ``Kind.GARBAGE`` for bytes without the protocol's form and ``Kind.LIMIT`` for too many of them.
    """

    def __init__(self, text: str, kind: Kind = Kind.GARBAGE) -> None:
        super().__init__(text)
        self.kind = kind


class NetworkError(MailprobeError):
    """A conversation stopped: refused, timed out, reset, ended, or TLS failed.

    *kind* is the machine-readable reason, the text the human one. *unread* holds the bytes that had arrived
    and were not TLS, when a handshake failed because the peer spoke something else.
    """

    def __init__(self, kind: Kind, text: str, unread: bytes = b"") -> None:
        super().__init__(text)
        self.kind = kind
        self.unread = unread
