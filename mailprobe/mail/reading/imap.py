"""Reading over IMAP: one connection that stays, letters left where they are, news told by IDLE."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

from mailprobe.collect.dialogue import stop
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
from mailprobe.protocols.imap.responses import Condition, Exists, Fetched, Found, Listed, Response
from mailprobe.protocols.imap.writing import header_is

IDLE_LIMIT_S = 28 * 60  # RFC 2177: servers may log out whoever is inactive for 30 minutes
IDLE_LEAST_S = 1.0  # a server that ends IDLE sooner does not want it
_HEADERS_AT_ONCE = 50
_SHOWN = "BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT)]"
_DELETED = "\\Deleted"


class ImapInbox(Inbox):
    """A mailbox over IMAP. Nothing is marked as seen, and nothing expunged that is not ours."""

    def __init__(
        self, network: Network, place: Place, login: Login, deadline: Deadline, *, poll_s: float, letter_limit: int
    ) -> None:
        super().__init__(network, place, login, deadline, poll_s=poll_s, letter_limit=letter_limit)
        self._exists = 0
        self._looked_up_to = 0  # the highest uid whose header was looked at
        self.idles = True  # where the server can; else it is asked from time to time
        self._validity = ""  # of the uids in the open folder; empty where they hold for this visit only

    async def open(self, folder: str = "INBOX") -> int:
        """As `Inbox.open`."""
        if not self._inside:
            await self._enter()
        self._looked_up_to = 0
        said = await self._ask(Stage.LIST, self.visit.imap.select(folder))
        self._validity = _validity(said)
        return self._exists

    async def folders(self) -> tuple[Folder, ...]:
        """As `Inbox.folders`."""
        told = self.visit.capabilities
        special = told is not None and told.has("SPECIAL-USE") and told.has("LIST-EXTENDED")
        said = await self._ask(Stage.LIST, self.visit.imap.list("*", special_use=special))
        listed = [each for each in said if isinstance(each, Listed)]
        return tuple(Folder(each.name, each.attributes, each.delimiter) for each in listed)

    async def uids(self) -> tuple[str, ...]:
        """As `Inbox.uids`."""
        return tuple(map(str, _found(await self._ask(Stage.LIST, self.visit.imap.uid_search("ALL")))))

    async def letters(self) -> tuple[LetterRow, ...]:
        """As `Inbox.letters`."""
        if not self._exists:
            return ()
        client = self.visit.imap
        said = await self._ask(Stage.LIST, client.uid_fetch("1:*", "UID", "FLAGS", "RFC822.SIZE"), patient=True)
        known = {each.uid: each for each in said if isinstance(each, Fetched) and each.uid is not None}
        newest = sorted(known)[-NEWEST:]
        headers = await self._parts(newest, _SHOWN) if newest else {}
        return tuple(
            letter_row(each.number, str(uid), each.size, each.flags, headers.get(uid))
            for uid, each in sorted(known.items())
        )

    async def search(self, name: str, token: str) -> tuple[str, ...]:
        """As `Inbox.search`.

        Servers search for parts of words, some not at all, and some in an index that lags behind; so what is found
        is looked at, and when nothing is found the newest letters are.
        """
        reply = await self._say(Stage.LIST, self.visit.imap.uid_search(*header_is(name, token)))
        self._stay(Stage.LIST, reply)
        said = self._news()
        found = _found(said) if reply.status == "OK" else []
        fitting = await self._fitting(found, name, token) if found else ()
        return fitting or await self._look(name, token)

    async def _look(self, name: str, token: str) -> tuple[str, ...]:
        """Look at the headers of the newest letters that were not looked at before."""
        uids = [int(uid) for uid in await self.uids()][-NEWEST:]
        new = [uid for uid in uids if uid > self._looked_up_to]
        fitting = await self._fitting(new, name, token) if new else ()
        if not fitting:  # found ones stay findable
            self._looked_up_to = max([self._looked_up_to, *new])
        return fitting

    async def _fitting(self, uids: Sequence[int], name: str, token: str) -> tuple[str, ...]:
        headers = await self._parts(uids, f"BODY.PEEK[HEADER.FIELDS ({name.upper()})]")
        return tuple(str(uid) for uid, header in sorted(headers.items()) if holds(header, name, token))

    async def _parts(self, uids: Sequence[int], item: str) -> dict[int, bytes]:
        """Fetch the same part of several letters; those that are gone meanwhile are left out."""
        self.visit.dialogue.allow(len(uids) * AROUND)
        said = await self._ask(Stage.LIST, self.visit.imap.uid_fetch(uids, "UID", item), patient=True)
        asked = set(uids)
        letters = [each for each in said if isinstance(each, Fetched) and each.uid in asked]
        return {each.uid: each.octets for each in letters if each.uid is not None and each.octets is not None}

    async def headers(self, uid: str) -> bytes:
        """As `Inbox.headers`."""
        return await self._octets(uid, "BODY.PEEK[HEADER]")

    async def fetch(self, uid: str) -> bytes:
        """As `Inbox.fetch`."""
        return await self._octets(uid, "BODY.PEEK[]")

    async def _octets(self, uid: str, item: str) -> bytes:
        number = _number(uid)
        command = self.visit.imap.uid_fetch([number], "UID", "RFC822.SIZE")
        size = _about(number, await self._ask(Stage.FETCH, command)).size
        if size is None or size > self._letter_limit:
            detail = (
                f"the letter has {size} octets, and {self._letter_limit} are taken" if size else "its size is not told"
            )
            raise stop(Stage.FETCH, Kind.LIMIT, detail)
        self.visit.dialogue.allow(size + AROUND)
        command = self.visit.imap.uid_fetch([number], "UID", item, limit=self._letter_limit)
        octets = _about(number, await self._ask(Stage.FETCH, command, patient=True)).octets
        if octets is None:
            raise stop(Stage.FETCH, Kind.GARBAGE, f"the server does not give the letter with uid {uid}")
        return octets

    def validity(self, uid: str) -> str:  # noqa: ARG002 - it is the same for all of them
        """As `Inbox.validity`."""
        return self._validity or self._era

    async def delete(self, letters: Mapping[str, Recognise]) -> Deleted:
        """As `Inbox.delete`. Without UIDPLUS (RFC 4315) they stay, marked: EXPUNGE would take others' along."""
        if not letters:
            return Deleted(())
        ours, note = await self._recognised({_number(uid): judge for uid, judge in letters.items()})
        if not ours:
            return Deleted((), note)
        await self._ask(Stage.DELETE, self.visit.imap.uid_store(ours, _DELETED))
        told = self.visit.capabilities
        if told is None or not (told.has("UIDPLUS") or told.has("IMAP4REV2")):
            marked = "marked as deleted, but not removed: the server has no UIDPLUS, so others' letters could go along"
            return Deleted((), "; ".join(filter(None, (marked, note))))
        await self._ask(Stage.DELETE, self.visit.imap.uid_expunge(ours))
        return Deleted(tuple(map(str, ours)), note)

    async def _recognised(self, letters: Mapping[int, Recognise]) -> tuple[list[int], str]:
        """Give the uids of the letters whose headers are recognised, and what is to be said about the others."""
        headers: dict[int, bytes] = {}
        uids = sorted(letters)
        for start in range(0, len(uids), _HEADERS_AT_ONCE):
            headers |= await self._parts(uids[start : start + _HEADERS_AT_ONCE], "BODY.PEEK[HEADER]")
        ours = [uid for uid, header in sorted(headers.items()) if letters[uid](header)]
        return ours, what_is_left(len(letters), len(letters) - len(headers), len(headers) - len(ours))

    # -- waiting -----------------------------------------------------------------------------------------------

    async def wait(self, seconds: float) -> bool:
        """As `Inbox.wait`."""
        until = time.monotonic() + self._deadline.remaining(seconds)
        before = self._exists
        while (left := until - time.monotonic()) > 0 and self._exists <= before:
            told = self.visit.capabilities
            if self.idles and told is not None and told.has("IDLE"):
                await self._idle(min(left, IDLE_LIMIT_S), before)
            else:
                await asyncio.sleep(min(left, self._poll_s))
                await self._ask(Stage.WAIT, self.visit.imap.noop())
        return self._exists > before

    async def _idle(self, seconds: float, before: int) -> None:
        started = time.monotonic()
        until = started + seconds
        client, dialogue = self.visit.imap, self.visit.dialogue
        reply = await dialogue.ask(Stage.WAIT, client.idle())
        self._stay(Stage.WAIT, reply)
        if reply.status != "+":
            self.idles = False
            return
        while client.waits and self._exists <= before and (left := until - time.monotonic()) > 0:
            await dialogue.overhear(Stage.WAIT, left)
            self._news()
        if client.waits:
            self._stay(Stage.WAIT, await dialogue.ask(Stage.WAIT, client.done(), shown="DONE"))
        else:
            self.idles = time.monotonic() - started >= IDLE_LEAST_S
        self._news()

    # -- inside ------------------------------------------------------------------------------------------------

    async def _ask(self, stage: Stage, command: bytes, *, patient: bool = False) -> tuple[Response, ...]:
        """Ask what has to be answered by OK, and give what was said before it."""
        reply = await self._say(stage, command, patient=patient)
        if reply.status != "OK":
            raise stop(stage, kind_of(self.visit.client, reply), reply.lines[-1])
        return self._news()

    async def _say(self, stage: Stage, command: bytes, *, patient: bool = False) -> Reply:
        dialogue, client = self.visit.dialogue, self.visit.imap
        reply = await dialogue.ask(stage, command, patient=patient)
        while reply.status == "+":
            reply = await dialogue.ask(stage, client.go_on(), shown="[literal]", patient=patient)
        return reply

    def _stay(self, stage: Stage, reply: Reply) -> None:
        if reply.status == "BYE":
            raise stop(stage, kind_of(self.visit.client, reply), reply.lines[-1])

    def _news(self) -> tuple[Response, ...]:
        said = self.visit.imap.take_responses()
        for each in said:
            if isinstance(each, Exists):
                self._exists = each.count
        return said


def _validity(said: Iterable[Response]) -> str:
    """Read from the responses to SELECT how long uids hold; empty when that is no longer than this visit.

    A server may have no lasting uids at all, and say so by silence (RFC 3501 §6.3.1) or in a word (RFC 4315 §3).
    """
    codes = {each.code: each.arguments for each in said if isinstance(each, Condition)}
    told = codes.get("UIDVALIDITY", "")
    return told if told.isascii() and told.isdigit() and "UIDNOTSTICKY" not in codes else ""


def _found(said: Iterable[Response]) -> list[int]:
    return sorted({number for each in said if isinstance(each, Found) for number in each.numbers if number > 0})


def _about(uid: int, said: Iterable[Response]) -> Fetched:
    """Give what was told of a letter; other letters' flags may have been told as well."""
    letters = [each for each in said if isinstance(each, Fetched) and each.uid == uid]
    if not letters:
        raise stop(Stage.FETCH, Kind.REJECTED, f"the server has no letter with uid {uid}")
    return next((each for each in letters if each.sections or each.size is not None), letters[0])


def _number(uid: str) -> int:
    if not (uid.isascii() and uid.isdigit() and len(uid) <= 10 and int(uid)):
        raise stop(Stage.FETCH, Kind.LOCAL, f"{uid!r} is no uid of IMAP, which is a number from 1")
    return int(uid)
