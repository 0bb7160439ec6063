"""One user's mailboxes on the disk: INBOX is a Maildir, and the others are Maildirs beside its directories."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mailprobe.lab.post.disk_mailbox import DiskMailbox
from mailprobe.lab.post.folder_names import SEPARATOR, directory_of, name_of
from mailprobe.lab.post.maildir import Maildir
from mailprobe.protocols.mailstore import MailboxFullError, StoreError

MAIL = "mail"  # the directory of all users, below the site's
MAILBOXES_PER_USER = 500
DELETED = "deleted-"  # the directory of a mailbox that is going; no mailbox's begins without a dot


class Account:
    """A user with a quota in octets, 0 for none. May be used from any thread."""

    def __init__(self, user: str, path: Path, quota: int) -> None:
        self.user = user
        self.path = path
        self.boxes: dict[str, DiskMailbox] = {}
        self._quota = quota
        self._maildirs: dict[str, Maildir] = {}
        self._counted = False
        self._coming = 0  # octets that have been admitted and are not stored yet
        self._lock = threading.RLock()

    def prepare(self, host: str) -> None:
        """Make INBOX, and clear away what was being deleted or written when the lab died, which *host* names as ours.

        Raises:
            StoreError: it cannot be made.
        """
        self._make("INBOX").prepare()
        for left in self.path.glob(f"{DELETED}*"):
            shutil.rmtree(left, ignore_errors=True)
        for name in self.names():
            self._make(name).sweep(host)

    def names(self) -> list[str]:
        """Give the names of all mailboxes, INBOX first.

        Raises:
            StoreError: the directory cannot be read.
        """
        try:
            directories = [each.name for each in self.path.iterdir() if each.name.startswith(".") and _is_maildir(each)]
        except OSError as error:
            raise StoreError(f"mailboxes of {self.user} cannot be read: {error.strerror}") from None
        return ["INBOX", *sorted(name for name in map(name_of, directories) if name is not None)]

    def maildir(self, name: str) -> Maildir | None:
        """Give a mailbox's Maildir, or None when there is no such mailbox."""
        path = self._path(name)
        if path is None or (name != "INBOX" and not _is_maildir(path)):
            return None
        return self._make(name)

    def _path(self, name: str) -> Path | None:
        directory = directory_of(name)
        return self.path if name == "INBOX" else None if directory is None else self.path / directory

    def _make(self, name: str) -> Maildir:
        with self._lock:
            if name not in self._maildirs:
                path = self._path(name)
                assert path is not None, "the name was looked at before"
                self._maildirs[name] = Maildir(path)
            return self._maildirs[name]

    def create(self, name: str) -> Maildir:
        """Make a mailbox, if it is not there.

        Raises:
            MailboxFullError: the user has too many.
            StoreError: it cannot have that name, or cannot be made.
        """
        there = self.maildir(name)
        if there is not None:
            return there
        path = self._path(name)
        if path is None or path.is_symlink():
            raise StoreError("not possible as the name of a mailbox")
        if len(self.names()) >= MAILBOXES_PER_USER:
            raise MailboxFullError("too many mailboxes")
        maildir = self._make(name)
        maildir.prepare()
        with suppress(OSError):
            (path / "maildirfolder").touch()  # Maildir++: tells a delivery program that INBOX is one level up
        return maildir

    def delete(self, name: str) -> None:
        """Delete a mailbox with its letters; those below it stay.

        Raises:
            StoreError: it cannot be deleted.
        """
        path = self._path(name)
        assert path is not None, "the mailbox was looked at before"
        assert path != self.path, "INBOX stays"
        aside = self.path / f"{DELETED}{path.name[1:]}"
        with self._lock:
            self._maildirs.pop(name, None)
            box = self.boxes.pop(name, None)
        try:
            if aside.exists():
                shutil.rmtree(aside)
            path.rename(aside)  # at once, whatever happens to the letters after it
        except OSError as error:
            raise StoreError(f"mailbox {name} cannot be deleted: {error.strerror}") from None
        finally:
            if box is not None:
                box.bury()
        shutil.rmtree(aside, ignore_errors=True)

    def rename(self, name: str, to: str) -> list[tuple[str, str]]:
        """Rename a mailbox and all below it (RFC 3501 §6.3.5); give the old and the new names.

        Raises:
            StoreError: one of them cannot have its new name. What was renamed before it keeps the new one.
        """
        pairs = [
            (old, to + old.removeprefix(name))
            for old in self.names()
            if old == name or old.startswith(name + SEPARATOR)
        ]
        if any(self._path(new) is None for _, new in pairs):
            raise StoreError("not possible as the name of a mailbox")
        for old, new in pairs:
            self._move(old, new)
        return pairs

    def _move(self, name: str, to: str) -> None:
        path, target = self._path(name), self._path(to)
        assert path is not None, "it is there"
        assert target is not None, "the name was looked at before"
        with self._lock:
            try:
                if target.exists():
                    raise StoreError(f"mailbox {to} is there already")
                path.rename(target)
            except OSError as error:
                raise StoreError(f"mailbox {name} cannot be renamed: {error.strerror}") from None
            self._maildirs.pop(to, None)
            self.boxes.pop(to, None)
            if name in self._maildirs:
                self._maildirs[to] = self._maildirs.pop(name)
                self._maildirs[to].path = target
            if name in self.boxes:
                self.boxes[to] = self.boxes.pop(name)
                self.boxes[to].name = to

    # The quota

    def admit(self, octets: int) -> Callable[[], None]:
        """Reserve room for a letter; give what ends the reservation, to be called when it is stored or was not.

        Raises:
            MailboxFullError: there is no room.
            StoreError: the letters that are there cannot be counted.
        """
        if not self._quota:
            return lambda: None
        with self._lock:
            used = self.used()
            if used + octets > self._quota and self.used(anew=True) + octets > self._quota:
                raise MailboxFullError(f"the mailbox of {self.user} has {used} of its {self._quota} octets in use")
            self._coming += octets

        def release() -> None:
            with self._lock:
                self._coming -= octets

        return release

    def used(self, anew: bool = False) -> int:
        """Count the octets of all letters; *anew* looks for what other programs did.

        Raises:
            StoreError: they cannot be counted.
        """
        with self._lock:
            if anew or not self._counted:
                self._maildirs = {name: self._make(name) for name in self.names()}
                for maildir in self._maildirs.values():
                    maildir.recount()
                self._counted = True
            return self._coming + sum(maildir.octets for maildir in self._maildirs.values())


def _is_maildir(path: Path) -> bool:
    """Tell whether a directory holds letters; a link that leads elsewhere does not count."""
    return not path.is_symlink() and (path / "cur").is_dir()
