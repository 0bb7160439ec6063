"""One conversation for its own sake: as far as it was to go, with what was to be looked at on the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.halting import Halted, HaltingDialogue
from mailprobe.mail.login import Login
from mailprobe.mail.reading import Inbox, inbox_at
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Place
from mailprobe.model.evidence import Reply, Stage, Trouble
from mailprobe.model.held import Answered, FolderRow, Held, LetterRow
from mailprobe.model.ports import Protocol
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.client import Client
from mailprobe.protocols.imap.client import capabilities_in

# Where it may stop, in order: the name, and the stages after the first of which it does. A login is more than one
# exchange, so it is not in here.
STOPS = {
    "connect": (Stage.CONNECT,),
    "greeting": (Stage.GREETING,),
    "capabilities": (Stage.CAPABILITIES, Stage.CAPABILITIES_TLS),
    "starttls": (Stage.STARTTLS,),
    "tls": (Stage.HANDSHAKE,),
}
LOGIN = "login"
_WELL = {"+OK", "OK", "PREAUTH"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What to do besides greeting and parting. *stop_after* is one of `STOPS` or `LOGIN`, None for the whole way.

    The first group is about mailboxes: *fetch* is a letter's number (POP3) or uid. The second is SMTP's: *verify* and
    *expand* are names, *sender* None means that no transaction is begun unless there are *recipients*.
    """

    login: Login | None = None
    hello: str | None = None
    stop_after: str | None = None
    lists: bool = False
    fetch: str | None = None
    folder: str = "INBOX"
    verify: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    sender: str | None = None
    recipients: tuple[str, ...] = ()


async def hold(network: Network, places: Sequence[Place], wish: Wish) -> Held:
    """Hold the conversation with the first place that takes the connection; never raises for what a server does.

    Raises:
        LocalProtocolError: a name or an address that no command can hold.
    """
    tried: list[Conversation] = []
    for place in places:
        holding = _Holding(network, place, wish)
        await holding.run()
        trouble = holding.trouble
        if trouble is None or trouble.stage is not Stage.CONNECT or place is places[-1]:
            return holding.result(tuple(tried))
        tried.append(holding.result(()).conversation)
    raise ValueError("there must be a place to go to")


class _Holding:
    """One conversation with one place."""

    def __init__(self, network: Network, place: Place, wish: Wish) -> None:
        self._wish = wish
        self._deadline = Deadline(network.limits.target_s)
        self._inbox: Inbox | None = None
        if place.service.protocol is not Protocol.SMTP and wish.login is not None:
            self._inbox = inbox_at(network, place, wish.login, self._deadline)
        self._visit = self._inbox.visit if self._inbox else Visit(network, place, self._deadline, wish.hello)
        self._asking = self._questions() if place.service.protocol is Protocol.SMTP else []
        if wish.stop_after in STOPS:
            stages = STOPS[wish.stop_after]
            self._visit.dialogue = _Halting(network, self._visit.client, self._deadline, stages, wish.hello)
        self._folders: tuple[FolderRow, ...] = ()
        self._letters: tuple[LetterRow, ...] | None = None
        self._letter: bytes | None = None
        self._answers: list[Answered] = []
        self._stopped = ""
        self.trouble: Trouble | None = None

    async def run(self) -> None:
        """Hold it, and say goodbye."""
        visit = self._visit
        try:
            await (self._read(self._inbox) if self._inbox is not None else self._talk())
        except Halted as halted:
            self._stopped = self._wish.stop_after or ""
            # The server waits for the handshake, or we for its greeting: a goodbye would make no sense.
            visit.dialogue.in_step &= halted.stage is not Stage.STARTTLS and visit.greeting is not None
        except Stopped as stopped:
            self.trouble = stopped.trouble
        finally:
            await visit.end()
            self.trouble = self.trouble or visit.trouble

    def result(self, tried: tuple[Conversation, ...]) -> Held:
        """Write down what was learnt."""
        return Held(
            conversation=self._visit.record(self.trouble),
            tried=tried,
            folders=self._folders,
            letters=self._letters,
            letter=self._letter,
            answers=tuple(self._answers),
            stopped=self._stopped,
        )

    async def _talk(self) -> None:
        visit, wish = self._visit, self._wish
        await visit.begin()
        if wish.login is not None:
            await visit.log_in(wish.login)
        if wish.stop_after == LOGIN:
            self._stopped = LOGIN
            return
        for stage, command in self._asking:
            reply = await visit.dialogue.ask(stage, command)
            self._answers.append(Answered(command=command.decode("utf-8").rstrip(), reply=reply))
            if stage is Stage.MAIL and not reply.status.startswith("2"):
                break

    def _questions(self) -> list[tuple[Stage, bytes]]:
        """Make the commands that ask about addresses, before anybody is bothered."""
        client, wish = self._visit.smtp, self._wish
        asking = [
            (Stage.PROBE, command) for command in (*map(client.vrfy, wish.verify), *map(client.expn, wish.expand))
        ]
        if wish.sender is not None or wish.recipients:
            asking.append((Stage.MAIL, client.mail(wish.sender or "")))
        return [*asking, *((Stage.RCPT, client.rcpt(address)) for address in wish.recipients)]

    async def _read(self, inbox: Inbox) -> None:
        wish = self._wish
        await inbox.open(wish.folder)
        if wish.stop_after == LOGIN:
            self._stopped = LOGIN
            return
        if wish.lists:
            found = await inbox.folders()
            self._folders = tuple(
                FolderRow(name=each.name, attributes=each.attributes, junk=each.is_junk) for each in found
            )
            self._letters = await inbox.letters()
        if wish.fetch is not None:
            self._letter = await inbox.fetch(await inbox.named(wish.fetch))


class _Halting(HaltingDialogue):
    """Knows what goes well in POP3 and IMAP, too."""

    def __init__(
        self, network: Network, client: Client, deadline: Deadline, stages: Collection[Stage], hello: str | None
    ) -> None:
        super().__init__(network, client, deadline, stages)
        self._hello = hello

    def _judged(self, stage: Stage, reply: Reply) -> Reply:
        if reply.status in _WELL:
            self._went_well(stage)
            if stage is Stage.GREETING and capabilities_in(reply) is not None:
                self._went_well(Stage.CAPABILITIES)
        return super()._judged(stage, reply)
