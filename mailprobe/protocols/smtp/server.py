"""The server side of SMTP (RFC 5321) as relay and for submission (RFC 6409), and of LMTP (RFC 2033), sans-IO.

Octets are lines of commands, the text of a message after DATA, or the counted octets of a BDAT; ``_step``
handles whichever it is now. What becomes of a whole message is for others to say: the core gives ``Accept`` and
stands still.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mailprobe.model.errors import MailprobeError
from mailprobe.protocols.commands import OverlongLineError
from mailprobe.protocols.events import Accept, Event
from mailprobe.protocols.mailstore import Envelope, MailboxFullError, MailStore, Verdict
from mailprobe.protocols.smtp.config import HARD_LIMIT, SmtpConfig
from mailprobe.protocols.smtp.intake import ChunkIntake, DataIntake
from mailprobe.protocols.smtp.parameters import Recipient, Sender, read_recipient, read_sender
from mailprobe.protocols.smtp.paths import PathError
from mailprobe.protocols.smtp.session import SmtpSession

_ACCEPTED = Verdict(250, "2.0.0", "Message accepted")
_FULL = Verdict(452, "4.2.2", "Mailbox full")
_UNSTORED = Verdict(451, "4.3.0", "The message cannot be stored now")
_TOO_BIG = Verdict(552, "5.3.4", "Message too big")


class SmtpServer(SmtpSession):
    """One SMTP conversation."""

    def __init__(self, config: SmtpConfig, mail: MailStore) -> None:
        super().__init__(config, mail)
        self._local = frozenset(("", *(domain.lower() for domain in config.local_domains)))
        self._limit = config.size_limit or HARD_LIMIT
        self._recipients: list[Recipient] = []
        self._data: DataIntake | None = None  # between 354 and the final dot
        self._chunk: ChunkIntake | None = None  # between a BDAT command and its last octet
        self._chunks: ChunkIntake | None = None  # what earlier BDATs brought
        self._finished = ""  # the tag of the replies that are waited for

    def accepted(self, *verdicts: Verdict) -> list[Event]:
        """Learn what becomes of the message in ``Accept``; one verdict over LMTP counts for all recipients."""
        if self._pending is None:
            return []
        count = len(self._recipients) if self._config.lmtp else 1
        self._pending = None
        for verdict in (*verdicts, *verdicts[-1:] * count)[:count]:
            if not self._closed:  # as 421 does
                self._pronounce(self._finished, verdict)
        self._reset()
        return self._go_on()

    def deliver(self) -> list[Event]:
        """Put the message in ``Accept`` into the mail store at once, and go on as after ``accepted``."""
        if self._pending is None:
            return []
        envelope, data = self._pending.envelope, self._pending.data
        if not self._config.lmtp:
            return self.accepted(self._store(envelope, data))
        alone = [
            msgspec.structs.replace(envelope, recipients=(name,), asked=(asked,))
            for name, asked in zip(envelope.recipients, envelope.asked, strict=True)
        ]
        return self.accepted(*(self._store(each, data) for each in alone))

    def _store(self, envelope: Envelope, data: bytes) -> Verdict:
        try:
            self._mail.deliver(envelope, data)
        except MailboxFullError:
            return _FULL
        except MailprobeError:  # the disk is full, a permission is missing
            return _UNSTORED
        return _ACCEPTED

    def _reset(self) -> None:
        self._sender, self._recipients, self._chunks = None, [], None

    def _step(self) -> bool:
        if self._data is not None:
            return self._take_data(self._data)
        if self._chunk is not None:
            return self._take_chunk(self._chunk)
        try:
            line = self._buffer.line(self._line_limit())
        except OverlongLineError as error:
            self._sasl = None
            self._mistake("overlong", 421 if error.endless else 500, "Line too long", "5.5.2")
            if error.endless and not self._closed:
                self._close()
            return True
        if line is None:
            return False
        if self._sasl is not None:
            self._continue_auth(self._sasl, line)
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        word, _, argument = line.strip(b" \t").partition(b" ")
        handler = _COMMANDS.get(word.upper())
        if handler is None:
            self._mistake("unknown", 500, "Command not recognized", "5.5.2")
        else:
            handler(self, argument.strip())

    # A message

    def _mail_from(self, argument: bytes) -> None:
        refusal = self._refuse_mail()
        if refusal is not None:
            self._mistake("mail", *refusal)
            return
        try:
            requiretls = self._config.requiretls and self.secure
            sender = read_sender(argument, self._config.bodies, requiretls)
        except PathError as error:
            self._mistake("mail", 555 if error.enhanced == "5.5.1" else 501, str(error), error.enhanced)
            return
        if sender.size > self._config.size_limit > 0:
            self._pronounce("mail", _TOO_BIG)
        elif not sender.smtputf8 and not sender.address.isascii():
            self._say("mail", 553, "SMTPUTF8 is needed for this address", "5.6.7")
        else:
            self._begin(sender)

    def _begin(self, sender: Sender) -> None:
        self._sender = sender
        refusal = self._mail.refuse_sender(self._envelope(sender))
        if refusal is None:
            self._say("mail", 250, "Sender ok", "2.1.0")
        else:
            self._sender = None
            self._pronounce("mail", refusal)

    def _refuse_mail(self) -> tuple[int, str, str] | None:
        if not self._client:
            return 503, f"Say {'LHLO' if self._config.lmtp else 'EHLO'} first", "5.5.1"
        if self._sender is not None:
            return 503, "MAIL was given already", "5.5.1"
        if self._config.needs_login and self._user is None:
            if not self.secure and self._config.starttls and not self._config.auth_before_tls:
                return 530, "Must issue a STARTTLS command first", "5.7.0"  # RFC 3207 §4
            return 530, "Authentication required", "5.7.0"  # RFC 4954 §6
        return None

    def _rcpt_to(self, argument: bytes) -> None:
        sender = self._sender
        if sender is None or self._chunks is not None:
            self._mistake("rcpt", 503, "Say MAIL first" if sender is None else "The message has begun", "5.5.1")
            return
        try:
            recipient = read_recipient(argument)
        except PathError as error:
            self._mistake("rcpt", 555 if error.enhanced == "5.5.1" else 501, str(error), error.enhanced)
            return
        refusal = self._refuse_recipient(sender, recipient)
        if refusal is not None:
            self._pronounce("rcpt", refusal)
        else:
            self._recipients.append(recipient)
            self._say("rcpt", 250, "Recipient ok", "2.1.5")

    def _refuse_recipient(self, sender: Sender, recipient: Recipient) -> Verdict | None:
        local = recipient.domain in self._local
        if not local and self._user is None:
            return Verdict(554, "5.7.1", "Relay access denied")
        if not sender.smtputf8 and not recipient.address.isascii():
            return Verdict(553, "5.6.7", "SMTPUTF8 is needed for this address")
        if len(self._recipients) >= self._config.recipient_limit:
            return Verdict(452, "4.5.3", "Too many recipients")
        return self._mail.refuse_recipient(self._envelope(sender), recipient.address) if local else None

    def _data_command(self, argument: bytes) -> None:
        if self._sender is None or self._chunks is not None:
            self._mistake("data", 503, "Say MAIL and RCPT first", "5.5.1")
        elif argument:
            self._mistake("data", 501, "DATA takes no parameter", "5.5.4")
        elif self._sender.body == "BINARYMIME":
            self._mistake("data", 503, "BINARYMIME needs BDAT", "5.5.1")  # RFC 3030 §3
        elif not self._recipients:
            self._mistake("data", 503 if self._config.lmtp else 554, "No valid recipients", "5.5.1")  # RFC 2033 §4.2
        else:
            self._data = DataIntake(self._buffer, self._limit)
            self._say("data", 354, "End data with <CRLF>.<CRLF>")

    def _take_data(self, intake: DataIntake) -> bool:
        text = intake.take()
        if text is None:
            return False
        self._data = None
        self._finish("eom", text, intake.too_big)
        return True

    def _bdat(self, argument: bytes) -> None:
        words = argument.upper().split()
        sized = bool(words) and words[0].isdigit() and len(words[0]) <= 12
        if not sized or words[1:] not in ([], [b"LAST"]):
            self._mistake("bdat", 501, "BDAT takes a size and LAST", "5.5.4")
            return
        intake = self._chunks or ChunkIntake(self._limit)
        intake.begin(int(words[0]), last=len(words) == 2)
        intake.refused = self._sender is None or not self._recipients
        self._chunk = intake
        if intake.complete:
            self._finish_chunk(intake)

    def _take_chunk(self, intake: ChunkIntake) -> bool:
        fresh = intake.take(self._buffer)
        if intake.complete:
            self._finish_chunk(intake)
        return fresh

    def _finish_chunk(self, intake: ChunkIntake) -> None:
        self._chunk = None
        if intake.refused:  # no mistake of a client that sends all its chunks at once, RFC 3030 §2
            self._say("bdat", 503, "Say MAIL and RCPT first", "5.5.1")
        elif intake.last or intake.too_big:
            self._finish("bdat", bytes(intake.data), intake.too_big)
        else:
            self._chunks = intake
            self._say("bdat", 250, f"{len(intake.data)} octets received so far", "2.0.0")

    def _finish(self, tag: str, text: bytes, too_big: bool) -> None:
        assert self._sender is not None, "a message has a sender"
        self._finished = tag
        if not too_big:
            self._ask(Accept(self._envelope(self._sender), text))
            return
        for _ in self._recipients if self._config.lmtp else (None,):
            self._pronounce(tag, _TOO_BIG)
        self._reset()

    def _envelope(self, sender: Sender) -> Envelope:
        return Envelope(
            sender=sender.address,
            recipients=tuple([recipient.address for recipient in self._recipients]),
            client_name=self._client,
            server_name=self._config.hostname,
            protocol=self._protocol(sender),
            client_address=self._address,
            user=self._user,
            tls=self._tls,
            asked=tuple([recipient.asked for recipient in self._recipients]),
            ret=sender.ret,
            envid=sender.envid,
            body=sender.body,
            smtputf8=sender.smtputf8,
            requiretls=sender.requiretls,
        )

    def _protocol(self, sender: Sender) -> str:
        """Give the word for the Received line (RFC 3848, RFC 6531 §4.3)."""
        letters = ("S" if self.secure else "") + ("A" if self._user is not None else "")
        if self._config.lmtp:
            return ("UTF8LMTP" if sender.smtputf8 else "LMTP") + letters
        return ("UTF8SMTP" if sender.smtputf8 else "ESMTP" if self._extended else "SMTP") + letters

    # Everything else

    def _rset(self, _argument: bytes) -> None:
        self._reset()
        self._say("rset", 250, "Ok", "2.0.0")

    def _noop(self, _argument: bytes) -> None:
        self._say("noop", 250, "Ok", "2.0.0")

    def _vrfy(self, argument: bytes) -> None:
        if argument:
            self._say("vrfy", 252, "Cannot verify, but will take mail and try", "2.5.0")
        else:
            self._mistake("vrfy", 501, "Give an address", "5.5.4")

    def _help(self, _argument: bytes) -> None:
        self._say("help", 214, "See RFC 5321", "2.0.0")

    def _quit(self, _argument: bytes) -> None:
        self._say("quit", 221, "Bye", "2.0.0")
        self._close()


_COMMANDS: dict[bytes, Callable[[SmtpServer, bytes], None]] = {
    b"EHLO": SmtpServer._ehlo,
    b"HELO": SmtpServer._helo,
    b"LHLO": SmtpServer._lhlo,
    b"STARTTLS": SmtpServer._starttls,
    b"AUTH": SmtpServer._auth,
    b"MAIL": SmtpServer._mail_from,
    b"RCPT": SmtpServer._rcpt_to,
    b"DATA": SmtpServer._data_command,
    b"BDAT": SmtpServer._bdat,
    b"RSET": SmtpServer._rset,
    b"NOOP": SmtpServer._noop,
    b"VRFY": SmtpServer._vrfy,
    b"HELP": SmtpServer._help,
    b"QUIT": SmtpServer._quit,
}
