"""Two devices of one user, and the script of what each of them says."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from mailprobe.mail.reading import Inbox
from mailprobe.model.evidence import Exchange, Stage
from mailprobe.model.proof import Said

Result = TypeVar("Result")


class Script:
    """What was said, in order, and by whom."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    def add(self, device: str, protocol: str, exchanges: Iterable[Exchange]) -> None:
        """Write down what a device said."""
        self.said += [Said(device=device, protocol=protocol, exchange=exchange) for exchange in exchanges]


class Device:
    """One mail program of the user; *name* tells it from the other."""

    def __init__(self, name: str, protocol: str, inbox: Inbox) -> None:
        self.name = name
        self.protocol = protocol
        self.inbox = inbox

    @property
    def inside(self) -> bool:
        """True after the login, of this visit or the last one."""
        login = self.inbox.visit.login
        return login is not None and login.succeeded

    async def open(self, script: Script) -> tuple[str, ...]:
        """Log in anew, and give the uids of what is there; of all that is said the list is written down."""
        await self.inbox.open()
        uids = await self.inbox.uids()
        listing = [each for each in self.inbox.visit.dialogue.exchanges if each.stage is Stage.LIST]
        script.add(self.name, self.protocol, listing)
        return uids

    async def play(self, script: Script, action: Awaitable[Result], stage: Stage | None = None) -> Result:
        """Do something, and write down what was said for it; of one *stage* alone, if one is given."""
        visit, before = self.inbox.visit, len(self.inbox.visit.dialogue.exchanges)
        try:
            return await action
        finally:
            since = before if self.inbox.visit is visit else 0
            said = self.inbox.visit.dialogue.exchanges[since:]
            script.add(self.name, self.protocol, [each for each in said if stage in {None, each.stage}])
