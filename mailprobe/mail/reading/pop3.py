"""Reading over POP3: a new connection for every look, since a session sees no more than was there at its start."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping

from mailprobe.collect.dialogue import Stopped, stop
from mailprobe.collect.manners import kind_of
from mailprobe.mail.login import Login
from mailprobe.mail.reading.inbox import (
    AROUND,
    NEWEST,
    Deleted,
    Folder,
    Inbox,
    Recognise,
    holds,
    letter_row,
    what_is_left,
)
from mailprobe.model.conversation import Place
from mailprobe.model.evidence import Kind, Reply, Stage
from mailprobe.model.held import LetterRow
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.pop3.client import size_of, sizes, unique_ids

_NUMBER = re.compile(r"#[0-9]+")  # a uid made of a message number, which holds for one visit (RFC 1939 §4)


class Pop3Inbox(Inbox):
    """A maildrop over POP3. A letter's uid is what UIDL says (RFC 1939 §7).

    Where UIDL says nothing, or the same of two letters, the uid is ``#3``, for one visit only.
    """

    def __init__(
        self, network: Network, place: Place, login: Login, deadline: Deadline, *, poll_s: float, letter_limit: int
    ) -> None:
        super().__init__(network, place, login, deadline, poll_s=poll_s, letter_limit=letter_limit)
        self._numbers: dict[str, int] = {}  # by uid, in the server's order
        self._told: dict[int, str] = {}  # what UIDL says, by number; two letters may have the same
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
        self._told = await self._listed()
        count = Counter(self._told.values())
        lasting = {uid for uid in count if count[uid] == 1 and not _NUMBER.fullmatch(uid)}
        self._numbers = {uid if uid in lasting else f"#{number}": number for number, uid in self._told.items()}
        self._headers = {uid: header for uid, header in self._headers.items() if uid in lasting}

    async def _be_at(self, uid: str) -> None:
        if not self._inside and _NUMBER.fullmatch(uid):
            raise stop(Stage.FETCH, Kind.LOCAL, f"{uid} is a number of a visit that has ended (RFC 1939 §4)")
        await self._be_there()

    async def _listed(self) -> dict[int, str]:
        """Ask for the uids; servers need not have UIDL."""
        reply = await self.visit.dialogue.ask(Stage.LIST, self.visit.pop3.uidl(), patient=True)
        if reply.status == "+OK":
            return unique_ids(self.visit.pop3.take_body())
        await self._ask(Stage.LIST, self.visit.pop3.list())
        return {number: f"#{number}" for number in sizes(self.visit.pop3.take_body())}

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
            letter_row(number, self._told[number], octets.get(number), None, headers.get(uid))
            for uid, number in self._numbers.items()
        )

    async def search(self, name: str, token: str) -> tuple[str, ...]:
        """As `Inbox.search`; of the newest letters, as each has to be looked at, but only once."""
        await self._be_there()
        newest = list(self._numbers)[-NEWEST:]
        return tuple([uid for uid in newest if holds(await self.headers(uid), name, token)])

    async def named(self, text: str) -> str:
        """As `Inbox.named`."""
        await self._be_there()
        by_number = {str(number): uid for uid, number in self._numbers.items()}
        if text in by_number:
            return by_number[text]
        if text in self._numbers:
            return text
        if text in self._told.values():
            raise stop(Stage.FETCH, Kind.REJECTED, f"{text!r} is the uid of more than one letter: give the number")
        raise stop(Stage.FETCH, Kind.REJECTED, f"there is no letter {text!r}: {len(self._numbers)} are there")

    async def headers(self, uid: str) -> bytes:
        """As `Inbox.headers`."""
        await self._be_at(uid)
        if uid not in self._headers:
            self._headers[uid] = await self._header(uid)
        return self._headers[uid]

    async def _header(self, uid: str) -> bytes:
        header = await self._top(self._number(uid)) if self._takes_top else None
        header = await self.fetch(uid) if header is None else header
        return header.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    async def _top(self, number: int) -> bytes | None:
        """Ask for a header; servers need not have TOP."""
        client = self.visit.pop3
        reply = await self.visit.dialogue.ask(Stage.LIST, client.top(number, 0, self._letter_limit), patient=True)
        self._takes_top = reply.status == "+OK"
        return client.take_body() if self._takes_top else None

    async def fetch(self, uid: str) -> bytes:
        """As `Inbox.fetch`."""
        await self._be_at(uid)
        client, number = self.visit.pop3, self._number(uid)
        size = size_of(await self._ask(Stage.FETCH, client.list(number)))
        if size is not None and size > self._letter_limit:
            raise stop(Stage.FETCH, Kind.LIMIT, f"the letter has {size} octets, and {self._letter_limit} are taken")
        self.visit.dialogue.allow((size or self._letter_limit) * 2 + AROUND)  # dots, and sizes that are estimates
        await self._ask(Stage.FETCH, client.retr(number, self._letter_limit))
        return client.take_body()

    def validity(self, uid: str) -> str:
        """As `Inbox.validity`."""
        return self._era if _NUMBER.fullmatch(uid) else ""

    async def delete(self, letters: Mapping[str, Recognise]) -> Deleted:
        """As `Inbox.delete`."""
        if not letters:
            return Deleted(())
        await self._be_there()
        there = [uid for uid in letters if uid in self._numbers]
        ours = [uid for uid in there if letters[uid](await self._header(uid))]
        for uid in ours:
            await self._ask(Stage.DELETE, self.visit.pop3.dele(self._numbers[uid]))
            del self._numbers[uid]
        return Deleted(tuple(ours), what_is_left(len(letters), len(letters) - len(there), len(there) - len(ours)))

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
