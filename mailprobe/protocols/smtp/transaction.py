"""One letter over SMTP or LMTP: which command comes when, and what the replies decide, without I/O.

The order is a list of commands: MAIL, one RCPT per recipient, DATA and the letter, or BDAT in place of both.
Replies come in the same order, so two numbers, how many commands are out and how many of them are answered, say
where the transaction is. With PIPELINING (RFC 2920) everything up to DATA goes out at once; what was asked for is
listened to even when an earlier reply made it pointless, so both sides stay in step for the next letter.
"""

from __future__ import annotations

import msgspec

from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError
from mailprobe.model.evidence import Reply, Stage
from mailprobe.model.sending import Outcome, RecipientOutcome
from mailprobe.protocols.smtp.client import SmtpClient, enhanced_code, reply_text

# A group is answered only once it is read; a server with small buffers that waits for us to read its replies while we
# wait for it to read our commands would wait for ever (RFC 2920 §3.1).
GROUP_COMMANDS = 100
GROUP_OCTETS = 32_768
CHUNK_OCTETS = 1_048_576  # a BDAT chunk; one that fits into the group of its envelope goes out with it
_DETAIL_LIMIT = 500
_ORDER = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.MESSAGE)
_TOO_MANY = {None, "5.5.3"}


class Addressee(msgspec.Struct, frozen=True):
    """A recipient and the parameters of its RCPT, such as ``NOTIFY=NEVER`` (RFC 3461 §4)."""

    address: str
    parameters: tuple[str, ...] = ()


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in its envelope: *data* has CRLF line ends and no dots added; an empty *sender* is the null one."""

    sender: str
    sender_parameters: tuple[str, ...] = ()
    recipients: tuple[Addressee, ...]
    data: bytes


class Step(msgspec.Struct, frozen=True):
    """A command to be written, and how a transcript shows it."""

    stage: Stage
    command: bytes
    shown: str


class Transaction:
    """Carries one parcel. `begin`, write what it gives, then `take` each reply and write what that gives.

    Every step is answered by one reply; the letter over LMTP by one for each recipient accepted at RCPT (RFC 2033
    §4.2). *chunking* sends the letter by BDAT (RFC 3030). *stop_after* ends the transaction once that stage is
    answered; what was not decided by then is NOT_SENT.
    """

    def __init__(
        self,
        client: SmtpClient,
        parcel: Parcel,
        *,
        pipelining: bool,
        chunking: bool,
        lmtp: bool = False,
        stop_after: Stage | None = None,
    ) -> None:
        self.parcel = parcel
        self._client = client
        self._pipelining = pipelining
        self._chunking = chunking and stop_after is not Stage.DATA
        self._lmtp = lmtp
        self._stop_after = stop_after
        self._commands: list[Step] = []
        self._written = 0
        self._answered = 0
        self._over = False  # nothing more is to be sent; replies may still be due
        self._begun = False  # the server has said yes to MAIL
        self._ended = False  # and has been told the end of the letter, and answered
        self._end_sent = False
        self._outcomes: list[RecipientOutcome | None] = [None] * len(parcel.recipients)
        self._accepted: list[int] = []  # taken at RCPT and not decided since
        self._replies: dict[int, Reply] = {}  # to the RCPT of those
        self.finished = False
        self.unusable = False

    # -- what its owner asks -----------------------------------------------------------------------------------

    @property
    def outcomes(self) -> tuple[RecipientOutcome, ...]:
        """One outcome for each recipient in the parcel's order, those that are decided so far."""
        return tuple(outcome for outcome in self._outcomes if outcome is not None)

    @property
    def awaited(self) -> Step | None:
        """The step that the next reply answers, None when nothing is out."""
        return self._commands[self._answered] if self._answered < self._written else None

    @property
    def needs_reset(self) -> bool:
        """True when it finished and left the server in a transaction, so that RSET must come before the next MAIL."""
        return self.finished and self._begun and not self._ended and not self.unusable

    @property
    def letter_is_out(self) -> bool:
        """True when the end of the letter is written, so that its own replies are all that is still to come."""
        return self._end_sent and not self.finished and self._answered == self._written - 1

    @property
    def envelope_is_out(self) -> bool:
        """True when MAIL, every RCPT and DATA are written, the first reply is not there and no BDAT is used."""
        return self._answered == 0 < self._written == len(self.parcel.recipients) + 2 and not self._chunking

    # -- its course --------------------------------------------------------------------------------------------

    def begin(self, like: Transaction | None = None) -> list[Step]:
        """Give the first commands. Those of a transaction of this connection that is *like* this one are used again.

        Raises:
            LocalProtocolError: an address or parameter holds what no command can.
        """
        if not self.parcel.recipients:
            self.finished = True
            return []
        if like is not None and self._has_envelope_of(like):
            self._commands = like._commands[: len(self.parcel.recipients) + 2]
        else:
            self._commands = self._planned()
        return self._next_group()

    def _has_envelope_of(self, other: Transaction) -> bool:
        ours, theirs = self.parcel, other.parcel
        return (
            ours.recipients == theirs.recipients
            and ours.sender == theirs.sender
            and ours.sender_parameters == theirs.sender_parameters
            and not (self._chunking or other._chunking)
            and self._stop_after is other._stop_after is None
        )

    def take(self, reply: Reply) -> list[Step]:
        """Take the reply to the oldest unanswered step and give what is to be written now.

        Raises:
            RemoteProtocolError: the reply has no meaning at this point; the transaction is finished.
        """
        step = self.awaited
        if step is None or self.finished:
            raise LocalProtocolError("no reply is due")
        if reply.status == "421":  # at any time (RFC 5321 §3.8)
            self._stop_here(Outcome.DEFERRED, step.stage, reply, _text(reply))
            return []
        if not self._over:
            self._judge(step, reply)
        elif step.stage is Stage.DATA and not self._chunking and reply.status.startswith("3"):
            return self._lone_dot()
        elif step.stage is Stage.MESSAGE:
            self._ended = not self._chunking
        if self._end_sent and self._lmtp and self._accepted and self._answered == self._written - 1:
            return []  # the next recipient's reply answers the same step
        self._answered += 1
        return self._next_group()

    def take_envelope(self) -> list[Step]:
        """Take success for all of an envelope that is out whole, as `take` would reply by reply; give the letter."""
        self._begun = True
        self._answered = self._written
        self._accepted = list(range(len(self.parcel.recipients)))
        self._add_letter()
        self._written += 1
        self._end_sent = True
        return self._commands[-1:]

    def hold_back(self) -> None:
        """Learn that the steps given last were not written and will not be; `lost` is to follow."""
        self._end_sent = False

    def lost(self, detail: str) -> None:
        """End it because the connection did, or makes no sense any more."""
        if self.finished:
            return
        step = self.awaited
        if self._end_sent:
            self._stop_here(Outcome.UNCERTAIN, Stage.MESSAGE, None, detail)
        else:
            self._stop_here(Outcome.NOT_SENT, step.stage if step else Stage.MAIL, None, detail)

    # -- what replies decide -----------------------------------------------------------------------------------

    def _judge(self, step: Step, reply: Reply) -> None:
        wanted = "3" if step.stage is Stage.DATA and not self._chunking else "2"
        positive = reply.status[:1] == wanted
        if not positive and reply.status[:1] not in {"4", "5"}:
            text = f"{_first_line(reply)!r} is no reply to {step.shown[:200]}"
            self.lost(text)
            raise RemoteProtocolError(text)
        if step.stage is Stage.MAIL:
            self._mail(reply, positive)
        elif step.stage is Stage.RCPT:
            self._rcpt(reply, positive)
        elif self._answered == len(self._commands) - 1 and self._commands[-1].stage is Stage.MESSAGE:
            self._letter(reply, positive)
        elif not positive:
            self._decide_accepted(reply, step.stage)
            self._over = True
        elif self._stop_after is Stage.DATA:
            self._stop_as_asked(reply)
            self.unusable = True  # the server waits for the letter
        elif not self._chunking:
            self._add_letter()

    def _mail(self, reply: Reply, positive: bool) -> None:
        if not positive:
            for index in range(len(self._outcomes)):
                self._decide(index, reply, Stage.MAIL)
            self._over = True
            return
        self._begun = True
        if self._stop_after is Stage.MAIL:
            self._stop_as_asked(reply)

    def _rcpt(self, reply: Reply, positive: bool) -> None:
        index = self._answered - 1
        if positive:
            self._accepted.append(index)
            self._replies[index] = reply
        elif reply.status == "552" and self._accepted and enhanced_code(_first_line(reply)) in _TOO_MANY:
            # RFC 821 said 552 for too many recipients; later is right for those (RFC 5321 §4.5.3.1.10)
            self._settle(index, Outcome.DEFERRED, Stage.RCPT, reply, _text(reply))
        else:
            self._decide(index, reply, Stage.RCPT)
        if index < len(self._outcomes) - 1:
            return
        if not self._accepted:
            self._over = True
        elif self._stop_after is Stage.RCPT:
            self._stop_as_asked()

    def _letter(self, reply: Reply, positive: bool) -> None:
        self._ended = positive or not self._chunking
        concerned = self._accepted[:1] if self._lmtp else self._accepted
        for index in concerned:
            if positive:
                self._settle(index, Outcome.ACCEPTED, Stage.MESSAGE, reply, _text(reply))
            else:
                self._decide(index, reply, Stage.MESSAGE)
        self._accepted = self._accepted[len(concerned) :]

    def _decide_accepted(self, reply: Reply, stage: Stage) -> None:
        for index in self._accepted:
            self._decide(index, reply, stage)
        self._accepted = []

    def _decide(self, index: int, reply: Reply, stage: Stage) -> None:
        outcome = Outcome.DEFERRED if reply.status.startswith("4") else Outcome.REFUSED
        self._settle(index, outcome, stage, reply, _text(reply))

    def _settle(self, index: int, outcome: Outcome, stage: Stage, reply: Reply | None, detail: str) -> None:
        address = self.parcel.recipients[index].address
        self._outcomes[index] = RecipientOutcome(
            address=address, outcome=outcome, stage=stage, reply=reply, detail=detail
        )

    def _stop_here(self, outcome: Outcome, stage: Stage, reply: Reply | None, detail: str) -> None:
        for index, settled in enumerate(self._outcomes):
            if settled is None:
                self._settle(index, outcome, stage, reply, detail[:_DETAIL_LIMIT])
        self.finished = self.unusable = True

    def _stop_as_asked(self, reply: Reply | None = None) -> None:
        """Settle what is open by *reply*, or each recipient by its own."""
        stage = self._stop_after or Stage.MESSAGE
        for index, settled in enumerate(self._outcomes):
            if settled is None:
                detail = f"stopped after {stage.value.upper()}, as asked"
                self._settle(index, Outcome.NOT_SENT, stage, reply or self._replies[index], detail)
        self._over = True

    # -- what is to be sent ------------------------------------------------------------------------------------

    def _planned(self) -> list[Step]:
        client, parcel = self._client, self.parcel
        steps = [_step(Stage.MAIL, client.mail(parcel.sender, parcel.sender_parameters))]
        if self._goes_past(Stage.MAIL):
            steps += [_step(Stage.RCPT, client.rcpt(each.address, each.parameters)) for each in parcel.recipients]
        if self._goes_past(Stage.RCPT):
            steps += self._chunks() if self._chunking else [_step(Stage.DATA, client.data())]
        return steps

    def _goes_past(self, stage: Stage) -> bool:
        return self._stop_after is None or _ORDER.index(self._stop_after) > _ORDER.index(stage)

    def _chunks(self) -> list[Step]:
        data = self.parcel.data
        steps = []
        for start in range(0, max(len(data), 1), CHUNK_OCTETS):
            octets = data[start : start + CHUNK_OCTETS]
            last = start + CHUNK_OCTETS >= len(data)
            stage = Stage.MESSAGE if start or last else Stage.DATA
            shown = f"BDAT {len(octets)}{' LAST' if last else ''}"
            steps.append(Step(stage, self._client.bdat(octets, last), shown))
        return steps

    def _add_letter(self) -> None:
        data = self.parcel.data
        self._commands = [*self._commands, Step(Stage.MESSAGE, self._client.body(data), f"[{len(data)} octets]")]

    def _lone_dot(self) -> list[Step]:
        """Answer a go-ahead for a letter that nobody gets (RFC 2920 §3.1)."""
        dot = Step(Stage.MESSAGE, b".\r\n", ".")
        self._commands.append(dot)
        self._answered += 1
        self._written += 1
        if self._lmtp:  # one reply for each recipient accepted is none; nobody can tell whether the server agrees
            self.finished = self.unusable = True
        return [dot]

    def _next_group(self) -> list[Step]:
        """Give what may go out now, and see whether all is said."""
        if self.finished or self._answered < self._written:
            return []
        group = [] if self._over else self._group()
        self.finished = not group
        self._written += len(group)
        self._end_sent = self._written == len(self._commands) and self._commands[-1].stage is Stage.MESSAGE
        return group

    def _group(self) -> list[Step]:
        group: list[Step] = []
        octets = 0
        for step in self._commands[self._written :]:
            octets += len(step.command)
            full = len(group) == GROUP_COMMANDS or octets > GROUP_OCTETS
            if group and (full or not self._pipelining):
                break
            group.append(step)
        return group


def _step(stage: Stage, command: bytes) -> Step:
    return Step(stage, command, command.decode("utf-8", "replace").removesuffix("\r\n"))


def _first_line(reply: Reply) -> str:
    return reply.lines[0] if reply.lines else reply.status


def _text(reply: Reply) -> str:
    return " ".join(reply_text(line) for line in reply.lines)[:_DETAIL_LIMIT]
