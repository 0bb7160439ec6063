"""All post offices of a lab: one directory, one clock, one doorbell.

Nothing of it is there until a client comes to a site with a post office: then its directory is made and its databases
are opened, in the lab's thread, in which everything here happens.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from mailprobe.lab.maildrop import Maildrop
from mailprobe.lab.post.clock import LabClock
from mailprobe.lab.post.control import Answer, Doorbell, Order
from mailprobe.model.errors import MailprobeError, UsageError
from mailprobe.model.road import Part
from mailprobe.protocols.mailstore import MailboxPausedError, MailStore, Verdict

if TYPE_CHECKING:
    from mailprobe.lab.post.office import PostOffice
    from mailprobe.lab.sites import Place
    from mailprobe.net.network import Network
    from mailprobe.protocols.mailstore import Envelope

CLOCK = "clock"
LOCK = "lock"
THREADS = 6
TICK_LIMIT_S = 366 * 86_400.0
_REPAIR_S = 2.0  # after which an office that failed is opened again
_GLANCE_S = 1.0  # how often the spools are looked into for what another process put there
_TROUBLED = Verdict(421, "4.3.0", "The post office is closed: something is wrong with its files")

Complain = Callable[[str], None]
Done = Callable[..., None]


class Town:
    """The post offices of the domains whose hosts are *places*.

    *network* gives the way out of a site, *hang_up* drops every client of one, and *complain* is told in one line what
    is wrong with files. *directory* None means a temporary one. With *skips_waiting* the clock jumps to whatever is
    due next when nothing else is left to do.
    """

    def __init__(
        self,
        places: Mapping[str, Sequence[Place]],
        directory: Path | None,
        *,
        network: Callable[[Place], Network],
        hang_up: Callable[[str], None],
        complain: Complain,
    ) -> None:
        self._places = places
        self._network = network
        self._hang_up = hang_up
        self._ear = complain
        self._last_complaint = ""
        self._given = directory
        self._directory: Path | None = directory
        self._clock = LabClock(directory / CLOCK) if directory is not None else None
        self._ahead = timedelta(0)
        self._read_clock()
        self._open = False
        self._offices: dict[str, PostOffice] = {}
        self._paused: set[Part] = set()  # at offices that are not open yet, too
        self._background: set[asyncio.Task[None]] = set()
        self._glance: asyncio.TimerHandle | None = None
        self._resting = asyncio.Event()
        self.skips_waiting = False

    # -- what anybody may ask ----------------------------------------------------------------------------------

    @property
    def directory(self) -> Path | None:
        """Where everything lies; None until the first office is open, unless it was given."""
        return self._directory

    def now(self) -> datetime:
        """The lab's time, from any thread."""
        return datetime.now(UTC) + self._ahead

    # -- opening -----------------------------------------------------------------------------------------------

    def office(self, domain: str) -> PostOffice:
        """Give an office, opened now if need be.

        Raises:
            MailprobeError: it cannot be opened, or the directory belongs to another lab that runs.
            OSError: the directory cannot be made.
        """
        office = self._offices.get(domain)
        if office is None:
            self._begin()
            from mailprobe.lab.post.office import PostOffice

            assert self._directory is not None
            places = self._places[domain]
            office = PostOffice(
                places,
                self._directory / domain,
                clock=self.now,
                network=lambda: self._network(places[0]),
                threads=self._threads,
                complain=self._complain,
                rested=self._look_around,
                broken=lambda: self._in_background(self._reopen(domain)),
            )
            self._offices[domain] = office
            try:
                office.begin()
                for part in self._paused:
                    office.pause(part)
            except BaseException:
                del self._offices[domain]
                self._in_background(office.close())
                raise
        return office

    def _complain(self, text: str) -> None:
        """Complain; not again of the same thing while nothing else is wrong."""
        if text != self._last_complaint:
            self._last_complaint = text
            self._ear(text)

    async def open_offices(self, domains: Iterable[str]) -> None:
        """Open these offices, and those whose directories have letters; what is wrong with one is complained of."""
        self._begin()
        await asyncio.gather(*self._background)
        for domain in dict.fromkeys((*domains, *self.domains_with_letters())):
            try:
                self.office(domain)
            except (MailprobeError, OSError) as error:
                self._complain(f"{domain}: {error}")

    def domains_with_letters(self) -> list[str]:
        """Name the sites that have an office's directory from an earlier time."""
        if self._given is None or not self._given.is_dir():
            return []
        return [domain for domain in self._places if (self._given / domain / "queue.db").exists()]

    def _read_clock(self) -> None:
        """Learn by how much the clock is ahead; it is asked too often to be read from its file each time."""
        if self._clock is not None:
            self._ahead = timedelta(seconds=self._clock.offset_s)

    def _begin(self) -> None:
        if self._open:
            return
        if self._given is None:
            import tempfile

            self._directory = Path(tempfile.mkdtemp(prefix="mp-"))
            self._clock = LabClock(self._directory / CLOCK)
        else:
            self._given.mkdir(parents=True, exist_ok=True)
        assert self._directory is not None
        self._read_clock()
        self._lock = locked(self._directory / LOCK)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mailprobe-post")
        self._doorbell = Doorbell(self._directory, self.obey)
        self._open = True
        self._in_background(self._open_doorbell())
        self._glance = asyncio.get_running_loop().call_later(_GLANCE_S, self._look_into_spools)

    async def _open_doorbell(self) -> None:
        try:
            await self._doorbell.open()
        except (OSError, AttributeError) as error:  # a system without unix sockets has no such function
            self._complain(f"the lab cannot be controlled from outside: {error}")

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- what the servers ask ----------------------------------------------------------------------------------

    def store(self, domain: str) -> MailStore:
        """Give what the servers of a site need to know; one that refuses everything where the office cannot open."""
        try:
            return self.office(domain).store
        except (MailprobeError, OSError) as error:
            self._complain(f"{domain}: {error}")
            return _Closed(self._users(domain), self.now)

    def _users(self, domain: str) -> Mapping[str, str]:
        post = self._places[domain][0].site.post
        return post.users if post is not None else {}

    def accept(self, domain: str, envelope: Envelope, data: bytes, done: Done) -> None:
        """Take a letter; *done* is told the verdict."""
        office = self._offices.get(domain)
        if office is None:
            done(*[_TROUBLED] * max(1, len(envelope.recipients)))
        else:
            office.accept(envelope, data, done)

    def subscribe(self, domain: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Have *listener* called when mail has come; give a function that ends it."""
        office = self._offices.get(domain)
        return office.subscribe(listener) if office is not None else lambda: None

    # -- orders ------------------------------------------------------------------------------------------------

    async def obey(self, order: Order) -> Answer:
        """Do what the doorbell asks for.

        Raises:
            UsageError: there is no such part or site, or no such amount of time.
            MailprobeError: an office cannot be opened again.
        """
        self._begin()
        match order.do:
            case "tick":
                self._tick(order.seconds)
            case "restart":
                await self._restart(self._known(order.site))
            case "pause" | "resume":
                self._set(_part(order.part), order.do == "pause", order.site)
            case "flush":
                for office in self._meant(order.site):
                    office.flush()
            case "look":
                for office in self._meant(order.site):
                    office.look()
            case "status":
                pass
        return self._status()

    def _tick(self, seconds: float) -> None:
        if not 0 < seconds <= TICK_LIMIT_S:
            raise UsageError(f"the clock cannot be moved by {seconds:g} s; from 1 s to a year it can")
        assert self._clock is not None
        self._clock.advance(seconds)
        self._read_clock()
        for office in self._offices.values():
            office.look()

    def _set(self, part: Part, paused: bool, site: str | None) -> None:
        if site is None:
            (self._paused.add if paused else self._paused.discard)(part)
        for office in self._meant(site):
            (office.pause if paused else office.resume)(part)

    def _meant(self, site: str | None) -> list[PostOffice]:
        return list(self._offices.values()) if site is None else [self.office(self._known(site))]

    def _known(self, site: str | None) -> str:
        if site is not None and site in self._places:
            return site
        known = ", ".join(self._offices) or ", ".join(list(self._places)[-2:])
        raise UsageError(f"no site {site!r} with a post office; there are {known}")

    async def _restart(self, domain: str) -> None:
        self._hang_up(domain)
        office = self._offices.pop(domain, None)
        if office is not None:
            await office.close()
        self.office(domain)

    async def _reopen(self, domain: str) -> None:
        """Close an office whose databases failed, and open it again as soon as that is possible."""
        while True:
            await asyncio.sleep(_REPAIR_S)
            try:
                await self._restart(domain)
            except (MailprobeError, OSError) as error:
                self._complain(f"{domain}: {error}")
            else:
                return

    def _status(self) -> Answer:
        return {
            "now": self.now().isoformat(),
            "sites": {
                domain: {"paused": sorted(office.paused), "counts": office.counts(), "resting": office.is_resting}
                for domain, office in self._offices.items()
            },
        }

    # -- the clock ---------------------------------------------------------------------------------------------

    async def rest(self) -> None:
        """Wait until no office has anything to do before its clock moves."""
        while not all(office.is_resting for office in self._offices.values()):
            self._resting.clear()
            await self._resting.wait()

    def _look_around(self) -> None:
        """Learn that an office has come to rest; when all have, skip the time until something is due."""
        if not all(office.is_resting for office in self._offices.values()):
            return
        self._resting.set()
        if not self.skips_waiting or self._clock is None:
            return
        due = [when for office in self._offices.values() if (when := office.due_next()) is not None]
        seconds = (min(due) - self.now()).total_seconds() if due else 0.0
        if seconds > 0:
            self._clock.advance(seconds)
            self._read_clock()
            for office in self._offices.values():
                office.look()

    def _look_into_spools(self) -> None:
        self._read_clock()
        for office in self._offices.values():
            office.glance()
        self._glance = asyncio.get_running_loop().call_later(_GLANCE_S, self._look_into_spools)

    # -- the end -----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close every office; a temporary directory is removed."""
        if not self._open:
            return
        if self._glance is not None:
            self._glance.cancel()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._doorbell.close()
        for office in self._offices.values():
            await office.close()
        self._offices.clear()
        self._threads.shutdown()
        self._lock.close()  # the file stays: whoever removed it could let two labs in at once
        assert self._directory is not None
        if self._given is None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._open = False


class _Closed(Maildrop):
    """The mail of a site whose office cannot be opened: nothing is taken, nothing is shown, nothing is lost."""

    def refuse_sender(self, _envelope: Envelope) -> Verdict | None:
        """Refuse everybody for now."""
        return _TROUBLED

    def lock(self, _user: str) -> Callable[[], None]:
        """Send readers away for now."""
        raise MailboxPausedError("the post office is closed; try again later")

    def mailbox(self, _user: str, _name: str) -> NoReturn:
        """Send readers away for now."""
        raise MailboxPausedError("the post office is closed; try again later")


def _part(text: str) -> Part:
    try:
        return Part(text)
    except ValueError:
        raise UsageError(f"no part {text!r}; the parts are {', '.join(Part)}") from None


def locked(path: Path) -> BinaryIO:
    """Keep other labs out of a directory for as long as the file is open; a lab that was killed keeps nobody out.

    Raises:
        UsageError: another lab is there.
    """
    import fcntl

    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UsageError(f"another lab runs in {path.parent}; end it first, or use another directory") from None
    return file
