"""Who is let in at the MTA server: the rules of a site for senders and recipients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.expander import Expansion, Kind
from mailprobe.lab.post.queue import Queue
from mailprobe.model.road import Part
from mailprobe.protocols.mailstore import Envelope, StoreError, Verdict

RECIPIENTS_LIMIT = 1_000
PAUSED = Verdict(421, "4.3.2", "The MTA server is paused; come back later")
UNKNOWN = Verdict(550, "5.1.1", "No such user here")
UNWELCOME = Verdict(550, "5.7.1", "Mail for this recipient is refused")
FULL_NOW = Verdict(452, "4.2.2", "The mailbox is full")
FULL_FOR_GOOD = Verdict(552, "5.2.2", "The mailbox is full")
TROUBLED = Verdict(451, "4.3.0", "Something is wrong with the files of this office; try again later")
GREYLISTED = "Greylisted: come back in {} s"


class Greylist:
    """Remembers who came when, together with the queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def first_seen(self, key: str, now: datetime) -> datetime:
        """Give when that key was first asked about, which may be now."""
        name = f"greylist {hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}"
        known = self._queue.setting(name)
        if known is not None:
            return datetime.fromisoformat(known)
        self._queue.set(name, now.isoformat())
        return now


class Policy:
    """The rules.

    *expand* says where a recipient's mail goes; *is_full* tells whether a user's mailbox has no room at all; *broken*
    is told when the databases cannot be asked.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        expand: Callable[[str], Expansion],
        is_full: Callable[[str], bool],
        greylist: Greylist,
        broken: Callable[[DatabaseError], None],
    ) -> None:
        self._desk = desk
        self._site = desk.site
        self._expand = expand
        self._is_full = is_full
        self._greylist = greylist
        self._broken = broken

    def refuse_sender(self, envelope: Envelope) -> Verdict | None:
        """Say why a stranger's mail is not taken now, or None; users hand over theirs even while the server pauses."""
        return PAUSED if Part.SERVER in self._desk.paused and envelope.user is None else None

    def refuse_recipient(self, envelope: Envelope, recipient: str) -> Verdict | None:
        """Say why a recipient of ours is not taken, or None."""
        try:
            return self._refusal(envelope, recipient)
        except DatabaseError as error:
            self._broken(error)
        except StoreError as error:
            self._desk.complain(str(error))
        return TROUBLED

    def _refusal(self, envelope: Envelope, recipient: str) -> Verdict | None:
        local = recipient.rpartition("@")[0] or recipient
        if local.lower() in self._site.unwelcome:
            return UNWELCOME
        targets = self._expand(recipient).targets
        for target in targets:
            if target.kind is Kind.FAILED and target.enhanced == "5.1.1" and len(target.path) <= 1:
                return UNKNOWN
        if len(targets) == 1 and targets[0].kind is Kind.MAILBOX and self._is_full(targets[0].user):
            return FULL_FOR_GOOD if self._site.quota_final else FULL_NOW
        return self._put_off(envelope, recipient)

    def _put_off(self, envelope: Envelope, recipient: str) -> Verdict | None:
        """Greylist a stranger: the first try of sender, recipient and client together comes too early."""
        wait_s = self._site.greylist_s
        if not wait_s or envelope.user is not None:
            return None
        key = "\0".join((envelope.sender.lower(), recipient.lower(), envelope.client_address))
        now = self._desk.now()
        self._desk.wake()  # so that it is committed
        left = self._greylist.first_seen(key, now) + timedelta(seconds=wait_s) - now
        if left <= timedelta(0):
            return None
        return Verdict(450, "4.7.1", GREYLISTED.format(max(1, round(left.total_seconds()))))
