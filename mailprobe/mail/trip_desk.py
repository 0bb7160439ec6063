"""One mailbox at an end of a trip: looked into again and again, for letters and reports that are ours.

Only what carries a token of ours is taken for ours, and only that is ever deleted, by its uid, its header looked at
once more. What goes wrong is written down and tried again at the next look, later each time: the last one counts. A
login that was refused is not tried again, for servers lock accounts for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mailprobe.collect.dialogue import Stopped, stop
from mailprobe.collect.lookups import host
from mailprobe.mail.login import Login
from mailprobe.mail.reading import Folder, ImapInbox, Inbox, inbox_at
from mailprobe.mail.trip_letter import TOKEN_HEADER, body_of, difference, hops_of, token_of
from mailprobe.mail.trip_own import Own, Sign, Spot, sign_of_report
from mailprobe.mail.trip_pace import Allowance, Pace
from mailprobe.mail.trip_state import SentLetter
from mailprobe.model.conversation import Conversation, Place, Security
from mailprobe.model.evidence import Kind, Stage, Trouble
from mailprobe.model.ports import Protocol, Service
from mailprobe.model.trip import Access, Bounce, Copy, Look
from mailprobe.net.network import Network
from mailprobe.protocols.imap.responses import Fetched
from mailprobe.records.delivery_report import DeliveryReport, delivery_report

INBOX = "INBOX"
JUNK_FOLDERS = 3  # that are looked into beside the inbox
LETTER_LIMIT = 4_194_304  # ours have a thousand octets; a report may return them and more
ADDRESSES_LIMIT = 4
LOOKS_AT_ONCE = 3
COPIES_LIMIT = 20  # of one letter, at one look
REPORTS_LIMIT = 30  # at one look
RECIPIENTS_LIMIT = 50  # of one report that are told of
IMAP_POLL_S = 10.0  # the inbox tells when something comes, the junk folder and the sender's mailbox do not
GRACE_S = 3.0  # that deleting may take even when all time is spent
FAREWELL_S = 1.0
_DAY = timedelta(days=1)
# Where reports are found: by their type (RFC 6522), or by who writes them.
_OF_REPORTS = (("Content-Type", "delivery-status"), ("From", "MAILER-DAEMON"))


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where a mailbox is read, and by whom."""

    host: str
    port: int
    service: Service
    security: Security
    login: Login

    @property
    def access(self) -> Access:
        """How it is read."""
        return Access.POP3 if self.service.protocol is Protocol.POP3 else Access.IMAP


class Watch:
    """A mailbox that is looked into, each time for as long as *allowance* has and the network gives one target.

    No method raises; `end` is always due.
    """

    def __init__(self, network: Network, desk: Desk, allowance: Allowance) -> None:
        self._network = network
        self._desk = desk
        self._allowance = allowance
        self._limit_s = network.limits.target_s
        self._pace = Pace()
        self._inbox: Inbox | None = None
        self._conversation: Conversation | None = None
        self._folders: tuple[Folder, ...] = ()
        self._is_barred = False
        self._idles = True
        self._own = Own()
        self._past_reports: set[Spot] = set()
        self.trouble: Trouble | None = None

    @property
    def look(self) -> Look:
        """What came of it so far."""
        return Look(
            user=self._desk.login.credentials.user,
            access=self._desk.access,
            folders=tuple(folder.name for folder in self._folders),
            conversation=self._inbox.record() if self._inbox is not None else self._conversation,
            trouble=self.trouble,
        )

    def copies_of(self, token: str) -> tuple[Copy, ...]:
        """Give the copies of a letter that were found."""
        return tuple(self._own.copies_of(token))

    def bounces_of(self, token: str) -> tuple[Bounce, ...]:
        """Give what the reports say that were found of a letter."""
        return tuple(self._own.bounces_of(token))

    # -- looking -----------------------------------------------------------------------------------------------

    async def look_for_copies(self, letters: Sequence[SentLetter], *, watched: bool) -> None:
        """Look for letters; *watched* tells that what is there now came just now."""
        await self._try(self._search_copies(letters, watched=watched))

    async def look_for_reports(self, letters: Sequence[SentLetter]) -> None:
        """Look for delivery reports about letters; a server that failed more than once is let alone for a while."""
        if not self._pace.rests:
            await self._try(self._search_reports(letters))

    async def prepare(self) -> None:
        """Open the mailbox ahead of time, where it stays open: a large one takes seconds, and no letter shall wait."""
        if self._desk.access is Access.IMAP:
            await self._try(self._prepare())

    async def _prepare(self) -> None:
        await self._open()  # and no folders yet: some servers make the junk folder when the first letter is put there

    async def skip_past_reports(self) -> None:
        """Learn which reports are there already: they are about other letters."""
        await self._try(self._note_reports())

    async def wait(self, seconds: float) -> None:
        """Wait until something may be there, so many seconds at most."""
        started = time.monotonic()
        pause = self._pace.pause_s
        if self._inbox is not None and self._desk.access is Access.IMAP:
            wished = min(seconds, IMAP_POLL_S)
            await self._try(self._wait(self._inbox, wished), wished + self._limit_s / 4)
            spent = time.monotonic() - started
            pause = self._pace.pause_s if self._inbox is None else self._pace.heard_after(spent)
        left = seconds - (time.monotonic() - started)
        await asyncio.sleep(max(0.0, min(left, pause)))

    async def _wait(self, inbox: Inbox, seconds: float) -> None:
        self._idles = False  # a server that ends the conversation over this is asked from time to time instead
        await inbox.wait(seconds)
        self._idles = True
        self._pace.went_well()

    async def _search_copies(self, letters: Sequence[SentLetter], *, watched: bool) -> None:
        inbox = await self._opened()
        self._folders = await _folders(inbox)  # anew: a junk folder may be made for the letter that is looked for
        # The inbox comes last: then it is the one that is open, and tells of news.
        for folder in (*self._folders[1:], *self._folders[:1]):
            for _ in range(LOOKS_AT_ONCE):
                count = await inbox.open(folder.name)
                await self._search_folder(inbox, folder, letters, watched=watched)
                if await inbox.open(folder.name) == count:
                    break  # else something came while it was searched, of which nobody would tell again
        if self._desk.access is Access.POP3:
            self._pace.went_well()

    async def _search_folder(
        self, inbox: Inbox, folder: Folder, letters: Sequence[SentLetter], *, watched: bool
    ) -> None:
        for number, letter in enumerate(letters):
            if number:
                await inbox.open(folder.name)  # a look at the newest letters begins anew
            found = await inbox.search(TOKEN_HEADER, letter.token)
            for uid in found[:COPIES_LIMIT]:
                if _spot(inbox, folder, uid) not in self._own:
                    await self._take(inbox, folder, uid, letter, watched=watched)

    async def _take(self, inbox: Inbox, folder: Folder, uid: str, letter: SentLetter, *, watched: bool) -> None:
        octets = await _fetched(inbox, uid)
        if octets is not None and token_of(octets) != letter.token:
            return  # somebody quotes us
        spot = _spot(inbox, folder, uid)
        if self._own.met_again(inbox, spot, Sign(letter.token)):
            return
        changed = difference(letter.body, body_of(octets)) if octets is not None else ""
        seen_at = self._network.now()
        copy = Copy(
            folder=folder.name,
            junk=folder.is_junk,
            uid=uid,
            seen_at=seen_at,
            watched=watched,
            arrived_at=await _arrived(inbox, uid),
            fetched=octets is not None,
            hops=hops_of(octets, letter.sent_at) if octets is not None else (),
            unchanged=not changed if octets is not None else None,
            difference=changed,
            removed=False,
        )
        self._own.add_copy(spot, letter.token, copy)

    async def _note_reports(self) -> None:
        for folder in await self._opened_folders():
            self._past_reports.update(await self._reports_in(folder))

    async def _search_reports(self, letters: Sequence[SentLetter]) -> None:
        oldest = min((letter.sent_at for letter in letters), default=self._network.now()) - _DAY
        for folder in await self._opened_folders():
            for spot in await self._reports_in(folder):
                await self._read_report(spot, letters, oldest)
        self._pace.went_well()

    async def _opened_folders(self) -> tuple[Folder, ...]:
        self._folders = await _folders(await self._opened())
        return self._folders

    async def _reports_in(self, folder: Folder) -> list[Spot]:
        """Find the reports in a folder that were not looked at before, the newest of them; leave the folder open."""
        inbox = await self._opened()
        await inbox.open(folder.name)
        found = [_spot(inbox, folder, uid) for field, word in _OF_REPORTS for uid in await inbox.search(field, word)]
        return [spot for spot in dict.fromkeys(found) if spot not in self._past_reports][-REPORTS_LIMIT:]

    async def _read_report(self, spot: Spot, letters: Sequence[SentLetter], oldest: datetime) -> None:
        inbox = await self._opened()
        self._past_reports.add(spot)
        arrived = await _arrived(inbox, spot.uid)
        if arrived is not None and arrived < oldest:
            return
        octets = await _fetched(inbox, spot.uid)
        report = delivery_report(octets) if octets is not None else None
        if report is None or octets is None:
            return
        ours = [each for each in letters if report.message_id == each.message_id or each.token.encode() in octets]
        sign = sign_of_report(octets)
        if ours and not self._own.met_again(inbox, spot, sign):
            told = [(letter.token, bounce) for letter in ours for bounce in _bounces(report, spot)]
            self._own.add_report(spot, sign, told)

    # -- deleting ----------------------------------------------------------------------------------------------

    async def remove(self) -> None:
        """Delete the letters and reports that are ours, and nothing else."""
        if self._own:
            await self._try(self._remove(), least_s=min(GRACE_S, self._limit_s))

    async def _remove(self) -> None:
        for folder in self._folders:
            if any(self._own.within(folder.name)):
                await self._remove_from(folder)

    async def _remove_from(self, folder: Folder) -> None:
        """Delete what is ours in a folder; what cannot be found again, or not be recognised, is left there."""
        inbox = await self._opened()
        await inbox.open(folder.name)
        await self._find_again(inbox, folder)
        ours = {spot.uid: sign.fits for spot, sign in self._own.within(folder.name) if spot.holds_in(inbox)}
        done = await inbox.delete(ours)
        if self._desk.access is Access.POP3:  # gone only once the visit has ended well (RFC 1939 §6)
            await self._close()
            if self._conversation is not None and self._conversation.trouble is not None:
                trouble = self._conversation.trouble
                raise stop(Stage.DELETE, trouble.kind, f"nobody knows whether the letter was deleted: {trouble.detail}")
        self._own.remove(folder.name, done.uids, inbox)

    async def _find_again(self, inbox: Inbox, folder: Folder) -> None:
        """Search once more for what is ours under uids that hold no more, since the visit or their validity ended."""
        for sign in self._own.astray(inbox, folder.name):
            if sign.wanted is None:
                continue
            await inbox.open(folder.name)  # a look at the newest letters begins anew
            for uid in (await inbox.search(*sign.wanted))[:COPIES_LIMIT]:
                spot = _spot(inbox, folder, uid)
                if spot not in self._own and sign.fits(await inbox.headers(uid)):
                    self._own.met_again(inbox, spot, sign)

    # -- the connection ----------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Say goodbye."""
        self._allowance.spend(FAREWELL_S, least=FAREWELL_S)
        await self._close()

    async def _try(
        self, doing: Coroutine[None, None, None], limit_s: float | None = None, *, least_s: float = 0.0
    ) -> None:
        """Do it; keep what stopped it, and begin the next time with a new connection.

        *limit_s* None is the network's limit for one target.
        """
        if self._is_barred:
            doing.close()
            return
        self._allowance.spend(limit_s or self._limit_s, least=least_s)
        try:
            await doing
            self.trouble = None
            if self._desk.access is Access.POP3:
                await self._close()  # or else the mailbox stays locked (RFC 1939 §4)
        except Stopped as stopped:
            self._pace.went_wrong()
            self.trouble = stopped.trouble
            self._is_barred = stopped.trouble.stage is Stage.LOGIN and stopped.trouble.kind is not Kind.TEMPORARY
            await self._close()

    async def _close(self) -> None:
        if self._inbox is not None:
            await self._inbox.end()
            self._conversation, self._inbox = self._inbox.record(), None

    async def _opened(self) -> Inbox:
        return self._inbox or await self._open()

    async def _open(self) -> Inbox:
        places = await _places(self._network, self._desk)
        for number, place in enumerate(places, 1):
            inbox = inbox_at(self._network, place, self._desk.login, self._allowance, letter_limit=LETTER_LIMIT)
            self._inbox = inbox
            if isinstance(inbox, ImapInbox):
                inbox.idles = self._idles
            try:
                await inbox.open(INBOX)
                break
            except Stopped as stopped:
                if stopped.trouble.stage is not Stage.CONNECT or number == len(places):
                    raise
                await self._close()
        assert self._inbox is not None, "there is at least one place"
        return self._inbox


async def _places(network: Network, desk: Desk) -> list[Place]:
    """Find the addresses of a mail server.

    Raises:
        Stopped: it has none.
    """
    found = await host(network, desk.host)
    if not found.addresses:
        settled = all(answer.rcode in {"NOERROR", "NXDOMAIN"} for answer in found.answers)
        kind = Kind.REJECTED if settled else Kind.TEMPORARY
        raise stop(Stage.RESOLVE, kind, f"{desk.host} has no address" if settled else f"{desk.host}: no answer")
    return [
        Place(host=desk.host, address=each.address, port=desk.port, service=desk.service, security=desk.security)
        for each in found.addresses[:ADDRESSES_LIMIT]
    ]


async def _folders(inbox: Inbox) -> tuple[Folder, ...]:
    """Give the inbox, and the folders where suspicious mail goes."""
    found = await inbox.folders()
    junk = [folder for folder in found if folder.is_junk and folder.can_be_opened and folder.name.upper() != INBOX]
    return (Folder(INBOX), *junk[:JUNK_FOLDERS])


async def _fetched(inbox: Inbox, uid: str) -> bytes | None:
    """Give a letter, None when it is too large to be looked at."""
    try:
        return await inbox.fetch(uid)
    except Stopped as stopped:
        if stopped.trouble.kind is Kind.LIMIT and inbox.visit.dialogue.in_step:
            return None
        raise


async def _arrived(inbox: Inbox, uid: str) -> datetime | None:
    """Ask when a letter came, by the server's clock (INTERNALDATE); only IMAP tells."""
    if not isinstance(inbox, ImapInbox):
        return None
    client = inbox.visit.imap
    await inbox.visit.dialogue.ask(Stage.FETCH, client.uid_fetch([int(uid)], "UID", "INTERNALDATE"))
    told = [each for each in client.take_responses() if isinstance(each, Fetched)]
    return next((_moment(each.internal_date) for each in told if each.internal_date is not None), None)


def _moment(text: str) -> datetime | None:
    """Read ``17-Jul-1996 02:44:25 -0700`` (RFC 9051 §9, date-time)."""
    try:
        return datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _spot(inbox: Inbox, folder: Folder, uid: str) -> Spot:
    return Spot(folder.name, uid, inbox.validity(uid))


def _bounces(report: DeliveryReport, spot: Spot) -> list[Bounce]:
    return [
        Bounce(
            recipient=each.address,
            action=each.action,
            status=each.status,
            diagnostic=" ".join(each.diagnostic.split()),  # it was folded
            remote=each.remote or report.reporter,
            folder=spot.folder,
            uid=spot.uid,
            removed=False,
        )
        for each in report.recipients[:RECIPIENTS_LIMIT]
    ]
