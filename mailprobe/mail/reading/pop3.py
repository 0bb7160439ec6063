"""Reading over POP3: a new connection for every look, since a session sees no more than was there at its start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from mailprobe.collect.dialogue import Stopped, stop
from mailprobe.collect.manners import kind_of
from mailprobe.mail.login import Login
from mailprobe.mail.reading.inbox import AROUND, NEWEST, Folder, Inbox, holds, letter_row
from mailprobe.model.conversation import Place
from mailprobe.model.evidence import Kind, Reply, Stage
from mailprobe.model.held import LetterRow
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.pop3.client import size_of, sizes, unique_ids


class Pop3Inbox(Inbox):
    """A maildrop over POP3. A letter's uid is what UIDL says (RFC 1939 §7); without UIDL ``#3``, for one visit only."""

    def __init__(
        self, network: Network, place: Place, login: Login, deadline: Deadline, *, poll_s: float, letter_limit: int
    ) -> None:
        super().__init__(network, place, login, deadline, poll_s=poll_s, letter_limit=letter_limit)
        self._numbers: dict[str, int] = {}  # by uid, in the server's order
        self._headers: dict[str, bytes] = {}
        self._takes_top = True

    async def open(self, folder: str = "INBOX") -> int:
        """As `Inbox.open`."""
        if folder.upper() != "INBOX":
            raise stop(Stage.LIST, Kind.LOCAL, f"POP3 knows one mailbox, INBOX, and not {folder!r}")
        await self._be_there()
        return len(self._numbers)

    async def _be_there(self) -> None:
        if self._inside:
            return
        await self._enter()
        self._numbers = await self._listed()
        self._headers = {uid: header for uid, header in self._headers.items() if uid in self._numbers}

    async def _listed(self) -> dict[str, int]:
        """Ask for the uids; servers need not have UIDL."""
        reply = await self.visit.dialogue.ask(Stage.LIST, self.visit.pop3.uidl(), patient=True)
        if reply.status == "+OK":
            return {uid: number for number, uid in unique_ids(self.visit.pop3.take_body()).items()}
        await self._ask(Stage.LIST, self.visit.pop3.list())
        return {f"#{number}": number for number in sizes(self.visit.pop3.take_body())}

    async def folders(self) -> tuple[Folder, ...]:
        """As `Inbox.folders`."""
        return (Folder("INBOX"),)

    async def uids(self) -> tuple[str, ...]:
        """As `Inbox.uids`."""
        await self._be_there()
        return tuple(self._numbers)

    async def letters(self) -> tuple[LetterRow, ...]:
        """As `Inbox.letters`."""
        await self._be_there()
        await self._ask(Stage.LIST, self.visit.pop3.list())
        octets = sizes(self.visit.pop3.take_body())
        newest = list(self._numbers)[-NEWEST:]
        headers = {uid: await self.headers(uid) for uid in newest}
        return tuple(
            letter_row(number, uid, octets.get(number), None, headers.get(uid)) for uid, number in self._numbers.items()
        )

    async def search(self, name: str, token: str) -> tuple[str, ...]:
        """As `Inbox.search`; of the newest letters, as each has to be looked at, but only once."""
        await self._be_there()
        newest = list(self._numbers)[-NEWEST:]
        return tuple([uid for uid in newest if holds(await self.headers(uid), name, token)])

    async def named(self, text: str) -> str:
        """As `Inbox.named`."""
        await self._be_there()
        if text in self._numbers:
            return text
        uid = next((uid for uid, number in self._numbers.items() if str(number) == text), None)
        if uid is None:
            raise stop(Stage.FETCH, Kind.REJECTED, f"there is no letter {text!r}: {len(self._numbers)} are there")
        return uid

    async def headers(self, uid: str) -> bytes:
        """As `Inbox.headers`."""
        await self._be_there()
        if uid not in self._headers:
            number = self._number(uid)
            header = await self._top(number) if self._takes_top else None
            header = await self.fetch(uid) if header is None else header
            self._headers[uid] = header.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return self._headers[uid]

    async def _top(self, number: int) -> bytes | None:
        """Ask for a header; servers need not have TOP."""
        client = self.visit.pop3
        reply = await self.visit.dialogue.ask(Stage.LIST, client.top(number, 0, self._letter_limit), patient=True)
        self._takes_top = reply.status == "+OK"
        return client.take_body() if self._takes_top else None

    async def fetch(self, uid: str) -> bytes:
        """As `Inbox.fetch`."""
        await self._be_there()
        client, number = self.visit.pop3, self._number(uid)
        size = size_of(await self._ask(Stage.FETCH, client.list(number)))
        if size is not None and size > self._letter_limit:
            raise stop(Stage.FETCH, Kind.LIMIT, f"the letter has {size} octets, and {self._letter_limit} are taken")
        self.visit.dialogue.allow((size or self._letter_limit) * 2 + AROUND)  # dots, and sizes that are estimates
        await self._ask(Stage.FETCH, client.retr(number, self._letter_limit))
        return client.take_body()

    async def delete(self, uids: Collection[str]) -> str:
        """As `Inbox.delete`."""
        if not uids:
            return ""
        await self._be_there()
        gone = [uid for uid in uids if uid not in self._numbers]
        for uid in uids:
            if uid in self._numbers:
                await self._ask(Stage.DELETE, self.visit.pop3.dele(self._numbers.pop(uid)))
        return f"{len(gone)} of {len(uids)} were gone already" if gone else ""

    async def wait(self, seconds: float) -> bool:
        """As `Inbox.wait`. A mailbox that another session has, or a server that wants us less often, is waited for."""
        until = time.monotonic() + self._deadline.remaining(seconds)
        known = set(self._numbers)
        while (left := until - time.monotonic()) > 0:
            await self.end()
            await asyncio.sleep(min(left, self._poll_s))
            try:
                await self._be_there()
            except Stopped as stopped:
                if stopped.trouble.kind is not Kind.TEMPORARY:
                    raise
            if set(self._numbers) - known:
                return True
        return False

    async def _ask(self, stage: Stage, command: bytes) -> Reply:
        reply = await self.visit.dialogue.ask(stage, command, patient=True)
        if reply.status != "+OK":
            raise stop(stage, kind_of(self.visit.client, reply), reply.lines[-1])
        return reply

    def _number(self, uid: str) -> int:
        number = self._numbers.get(uid)
        if number is None:
            raise stop(Stage.FETCH, Kind.REJECTED, f"the server has no letter with uid {uid}")
        return number
