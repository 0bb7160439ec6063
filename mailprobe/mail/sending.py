"""Sends one letter with care: every conversation is written down, and what became of each recipient is told exactly.

A recipient is tried at one place after another until a server takes it or says no for ever. A connection that fails
and a 4xx move on to the next place, a 5xx does not, and nor does a letter that went out without a reply: it may have
arrived, and would arrive twice.
"""

from __future__ import annotations

import time

import msgspec

from mailprobe.collect.dialogue import Dialogue, Stopped, stop
from mailprobe.mail.compose import Letter
from mailprobe.mail.extensions import Unmet, Wishes, parcel
from mailprobe.mail.halting import Halted, HaltingDialogue
from mailprobe.mail.login import Login, LoginRefused
from mailprobe.mail.routes import Leg, Route, legs
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Place, Security
from mailprobe.model.errors import LocalProtocolError, RemoteProtocolError, UsageError
from mailprobe.model.evidence import Kind, Reply, Stage, Trouble
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.client import empty_capabilities
from mailprobe.protocols.smtp.transaction import Parcel, Transaction

# Where a person may want to stop, in order: the name, and the stages that it covers.
PHASES = {
    "connect": (Stage.CONNECT,),
    "greeting": (Stage.GREETING,),
    "ehlo": (Stage.CAPABILITIES, Stage.CAPABILITIES_TLS),
    "starttls": (Stage.STARTTLS,),
    "tls": (Stage.HANDSHAKE,),
    "auth": (Stage.LOGIN,),
    "mail": (Stage.MAIL,),
    "rcpt": (Stage.RCPT,),
    "data": (Stage.DATA,),
    "message": (Stage.MESSAGE,),
}
_EARLY = ("connect", "greeting", "ehlo", "starttls", "tls", "auth")
_IN_TRANSACTION = {"mail": Stage.MAIL, "rcpt": Stage.RCPT, "data": Stage.DATA}
_FINAL = {Outcome.ACCEPTED, Outcome.REFUSED, Outcome.UNCERTAIN}
_NO_TLS = {Kind.TLS_ALERT, Kind.TLS_FAILED, Kind.NOT_TLS}
_REPLY_OCTETS = 1_000  # what a server may say of one recipient, beside what it may say anyway
STOPPED_AS_ASKED = "as asked"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to send: *stop_after* is one of `PHASES`, None for the whole way."""

    login: Login | None = None
    wishes: Wishes = Wishes()
    pipelining: bool = True
    stop_after: str | None = None


async def send(network: Network, letter: Letter, route: Route, options: Options | None = None) -> Sending:
    """Send a letter, and never raise for anything that a server does.

    Raises:
        UsageError: an address cannot stand in a command, or STARTTLS is to be the end where there is none.
    """
    options = options or Options()
    started, began = network.now(), time.perf_counter()
    conversations: list[Conversation] = []
    outcomes: dict[str, RecipientOutcome] = {}
    for leg in await legs(network, route, letter.recipients):
        found = await _Leg(network, letter, leg, options).run()
        conversations += found.conversations
        outcomes |= found.outcomes
    return Sending(
        message_id=letter.message_id,
        sender=letter.sender,
        size=len(letter.octets),
        started=started,
        ms=round((time.perf_counter() - began) * 1000, 3),
        conversations=tuple(conversations),
        recipients=tuple(outcomes[address] for address in letter.recipients),
    )


class _Leg:
    """The recipients that go one way."""

    def __init__(self, network: Network, letter: Letter, leg: Leg, options: Options) -> None:
        self._network = network
        self._letter = letter
        self._leg = leg
        self._options = options
        self.conversations: list[Conversation] = []
        self.outcomes: dict[str, RecipientOutcome] = {
            address: _own(address, leg.outcome, Stage.RESOLVE, leg.detail) for address in leg.recipients
        }

    async def run(self) -> _Leg:
        """Try place after place for as long as a recipient is open."""
        for place in self._leg.places:
            stage = await self._try(place)
            if stage is Stage.HANDSHAKE and self._may_go_in_clear(place):
                # RFC 7435 §3: to a server that cannot do the TLS that it offers, clear is still better than nothing.
                stage = await self._try(msgspec.structs.replace(place, security=Security.CLEAR))
            if stage is None or not self._open:
                break
        return self

    @property
    def _open(self) -> tuple[str, ...]:
        return tuple(each.address for each in self.outcomes.values() if each.outcome not in _FINAL)

    def _may_go_in_clear(self, place: Place) -> bool:
        options = self._options
        wanted = options.login is not None or options.wishes.requiretls or options.stop_after in _EARLY
        return place.security is Security.OPPORTUNISTIC and not wanted

    async def _try(self, place: Place) -> Stage | None:
        """Hold one conversation; give the stage at which it stopped, or None when no other place shall be tried."""
        attempt = _Attempt(self._network, place, self._letter, self._open, self._options)
        await attempt.make()
        self.conversations.append(attempt.conversation)
        for each in attempt.outcomes:
            # "Come back later" from one server says more than that the next one could not be reached.
            if each.outcome is not Outcome.NOT_SENT or self.outcomes[each.address].reply is None:
                self.outcomes[each.address] = each
        return None if attempt.last else attempt.stage


class _Attempt:
    """One conversation, for the recipients that are still open."""

    def __init__(
        self, network: Network, place: Place, letter: Letter, recipients: tuple[str, ...], options: Options
    ) -> None:
        self._letter = letter
        self._recipients = recipients
        self._options = options
        deadline = Deadline(network.limits.target_s)
        self._visit = Visit(network, place, deadline)
        self._trouble: Trouble | None = None
        self.outcomes: tuple[RecipientOutcome, ...] = ()
        self.stage = Stage.MESSAGE
        self.last = False  # nobody else is to be tried
        if options.stop_after in _EARLY:
            stages = PHASES[options.stop_after]
            self._visit.dialogue = HaltingDialogue(network, self._visit.client, deadline, stages)

    @property
    def conversation(self) -> Conversation:
        """All that was said."""
        return self._visit.record(self._trouble)

    async def make(self) -> None:
        """Hold it, and say goodbye."""
        try:
            await self._converse()
        except Halted as halted:
            self._stop_as_asked(halted.stage)
        except LoginRefused as refused:
            self.last = True  # the next address of that server has the same users, and counts the attempts
            self._fail(refused.trouble, refused.outcome.reply)
        except Stopped as stopped:
            self.last = stopped.trouble.stage is Stage.LOGIN
            self._fail(stopped.trouble, self._last_reply(stopped.trouble))
        finally:
            await self._visit.end()

    async def _converse(self) -> None:
        visit, options = self._visit, self._options
        await visit.begin()
        if options.login is not None and options.stop_after not in _EARLY[:-1]:
            await visit.log_in(options.login)
        if options.stop_after in _EARLY:
            self._stop_early(options.stop_after)
            return
        offered = visit.capabilities or empty_capabilities("helo")
        fault = visit.fault if options.wishes.requiretls else ""
        made = parcel(self._letter, self._recipients, options.wishes, offered)
        if isinstance(made, Parcel) and fault:
            made = Unmet(f"5.7.30 REQUIRETLS wants TLS with a certificate that can be trusted: {fault}")
        if isinstance(made, Unmet):
            self.stage = Stage.MAIL
            self.outcomes = self._all(Outcome.NOT_SENT, Stage.MAIL, made.detail)
            return
        await self._carry(made, pipelining=options.pipelining and offered.has("PIPELINING"))

    async def _carry(self, made: Parcel, *, pipelining: bool) -> None:
        dialogue, options = self._visit.dialogue, self._options
        transaction = Transaction(
            self._visit.smtp,
            made,
            pipelining=pipelining,
            chunking=options.wishes.chunking,
            lmtp=self._visit.place.lmtp,
            stop_after=_IN_TRANSACTION.get(options.stop_after or ""),
        )
        try:
            await _run(transaction, dialogue)
        except Stopped as stopped:
            self._trouble = stopped.trouble
            transaction.lost(f"{_code(stopped.trouble)} {stopped.trouble.detail}")
        except RemoteProtocolError as error:
            self._trouble = Trouble(stage=Stage.MESSAGE, kind=error.kind, detail=str(error)[:500])
        finally:
            if transaction.unusable:
                dialogue.in_step = False
        self.outcomes = transaction.outcomes
        self.last = transaction.finished and options.stop_after in _IN_TRANSACTION and not self._trouble

    # -- how it ends otherwise ---------------------------------------------------------------------------------

    def _stop_as_asked(self, stage: Stage) -> None:
        if stage is Stage.STARTTLS or self._visit.greeting is None:
            self._visit.dialogue.in_step = False  # the server waits for the handshake, or we for its greeting
        self.last, self.stage = True, stage
        wanted = str(self._options.stop_after).upper()
        self.outcomes = self._all(Outcome.NOT_SENT, stage, f"stopped after {wanted}, {STOPPED_AS_ASKED}")

    def _stop_early(self, phase: str) -> None:
        """Stop before MAIL, though nothing was left to be kept from being done."""
        dialogue = self._visit.dialogue
        reached = dialogue.reached if isinstance(dialogue, HaltingDialogue) else None
        if phase == "auth" or reached is not None:
            self._stop_as_asked(reached or Stage.LOGIN)
            return
        self.last = True
        self.outcomes = self._all(Outcome.NOT_SENT, Stage.MAIL, f"5.3.3 it never came to {phase.upper()}")

    def _fail(self, trouble: Trouble, reply: Reply | None) -> None:
        self.stage = trouble.stage
        detail = f"{_code(trouble)} {trouble.detail}"
        self.outcomes = self._all(Outcome.NOT_SENT, trouble.stage, detail, reply)

    def _last_reply(self, trouble: Trouble) -> Reply | None:
        """Give the reply that was the trouble, when it was one."""
        exchanges = self._visit.dialogue.exchanges
        said_no = trouble.kind in {Kind.REJECTED, Kind.TEMPORARY} and trouble.stage is not Stage.LOGIN
        if not (said_no and exchanges) or exchanges[-1].stage is not trouble.stage:
            return None
        return exchanges[-1].reply if exchanges[-1].reply.status[:1] in {"4", "5"} else None

    def _all(
        self, outcome: Outcome, stage: Stage, detail: str, reply: Reply | None = None
    ) -> tuple[RecipientOutcome, ...]:
        return tuple(_own(address, outcome, stage, detail, reply) for address in self._recipients)


async def _run(transaction: Transaction, dialogue: Dialogue) -> None:
    """Write what the transaction gives, and give it every reply."""
    try:
        steps = transaction.begin()
    except LocalProtocolError as error:
        raise UsageError(f"the letter cannot be sent: {error}") from None
    dialogue.allow(len(transaction.parcel.recipients) * _REPLY_OCTETS)
    while steps:
        await dialogue.send_group((step.stage, step.command, step.shown) for step in steps)
        steps = []
        while not steps and not transaction.finished and (awaited := transaction.awaited) is not None:
            reply = await dialogue.listen(awaited.stage, patient=awaited.stage is Stage.MESSAGE)
            if awaited.stage is Stage.MESSAGE and reply.status.startswith("2") and dialogue.opened.unsent:
                # Whatever this answers, it is not the end of the letter (RFC 5321 §4.1.1.4).
                words = f"the server accepted a letter that it did not have yet: {reply.lines[-1]}"
                raise stop(Stage.MESSAGE, Kind.GARBAGE, words)
            steps = transaction.take(reply)


def _own(address: str, outcome: Outcome, stage: Stage, detail: str, reply: Reply | None = None) -> RecipientOutcome:
    return RecipientOutcome(address=address, outcome=outcome, stage=stage, reply=reply, detail=detail[:500])


def _code(trouble: Trouble) -> str:
    """Give an enhanced status code for what stopped a conversation (RFC 3463): 4 where later may be better."""
    lasting = trouble.kind in {Kind.REJECTED, *_NO_TLS}
    match trouble.stage:
        case Stage.LOGIN:
            return "5.7.10" if trouble.kind is Kind.LOCAL else "5.7.8" if lasting else "4.7.0"
        case Stage.STARTTLS | Stage.HANDSHAKE:
            return "5.7.10" if lasting else "4.7.5"
        case Stage.CONNECT:
            return "4.4.1"
    return "5.3.2" if lasting else "4.4.2"
