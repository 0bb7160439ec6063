"""The alias expander at work: from the recipients of an envelope to mailboxes and addresses elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from mailprobe.lab.post.account import MAIL
from mailprobe.lab.post.aliases import Aliases, read_forward
from mailprobe.lab.post.aliases_text import AliasError
from mailprobe.lab.post.desk import Desk
from mailprobe.lab.post.expander import Expansion, Kind, Target, expand
from mailprobe.lab.post.folder_names import user_directory
from mailprobe.lab.post.hand import Hand
from mailprobe.lab.post.ledger import Ledger
from mailprobe.model.errors import MailprobeError
from mailprobe.model.road import Step, What

REMEMBERED_S = 0.02  # so that a change of the aliases counts at once, as people see it
REMEMBERED = 1_000


class Sorter:
    """Expands addresses for one site; *domains* are its own, the first of them for names without one."""

    def __init__(self, desk: Desk, domains: Sequence[str], aliases: Aliases) -> None:
        site = desk.site
        self.domains = tuple(domains)
        self._site = site
        self._directory = desk.directory
        self._aliases = aliases
        self._users = {user.lower() for user in site.users}
        self._postmaster = next(iter(site.users), "")
        self._remembered: dict[tuple[str, ...], Expansion] = {}
        self._remembered_at = 0.0

    def expand(self, recipients: Sequence[str]) -> Expansion:
        """Say where mail for these recipients goes. What was said a moment ago is said again without looking.

        Raises:
            DatabaseError: the alias database cannot be read.
        """
        now = time.monotonic()
        if now - self._remembered_at > REMEMBERED_S or len(self._remembered) > REMEMBERED:
            self._remembered.clear()
            self._remembered_at = now
        key = tuple(recipients)
        expansion = self._remembered.get(key)
        if expansion is None:
            expansion = self._remembered[key] = expand(
                key,
                self._lookup,
                self._users.__contains__,
                domains=self.domains,
                forward=self._forward,
                postmaster=self._postmaster,
            )
        return expansion

    def _lookup(self, name: str) -> tuple[str, ...] | None:
        local, at, domain = name.rpartition("@")
        if self._site.forwards_to and (not at or domain in self.domains) and (local or domain) in self._users:
            return (f"{local or domain}@{self._site.forwards_to}",)
        return self._aliases.lookup(name)

    def _forward(self, user: str) -> tuple[str, ...] | None:
        return read_forward(self._directory / MAIL / user_directory(user))


def note_expansion(ledger: Ledger, hand: Hand, recipients: Sequence[str], expansion: Expansion) -> None:
    """Write down what became of the recipients of a letter."""
    network = hand.letter.origin == "network"
    step, what = (Step.TARGETED, What.TARGETED) if network else (Step.EXPANDED, What.EXPANDED)
    for recipient in recipients:
        found = [_shown(target) for target in expansion.targets if target.path[0] == recipient]
        if found:
            ledger.note(hand, step, what, recipient, f"-> {', '.join(found)}")
    for path in expansion.suppressed:
        ledger.note(hand, Step.BESIDE, What.DUPLICATE, path[-1], f"by {' -> '.join(path)}")


def _shown(target: Target) -> str:
    way = " -> ".join(target.path[1:-1])
    via = f" (by {way})" if way else ""
    match target.kind:
        case Kind.MAILBOX:
            return f"mailbox {target.user}{via}"
        case Kind.FAILED:
            return f"{target.enhanced} {target.text}"
        case Kind.DISCARD:
            return f"nowhere{via}"
        case Kind.REMOTE:
            return f"{target.address}{via}"


def open_aliases(path: Path, text: str) -> Aliases:
    """Open the alias database of a site; a new one gets the aliases that the site begins with.

    Raises:
        DatabaseError: it cannot be opened.
        MailprobeError: the site's aliases cannot be used.
    """
    if text and not (path.exists() and path.stat().st_size):
        _make_aliases(path, text)
    return Aliases(path)


def _make_aliases(path: Path, text: str) -> None:
    """Make the database elsewhere, and rename it: if we die over it, the next office must not find half of it."""
    draft = path.with_name(f"{path.name}.new")
    for left in (draft.name, *(name + suffix for name in (draft.name, path.name) for suffix in ("-wal", "-shm"))):
        path.with_name(left).unlink(missing_ok=True)
    with contextlib.closing(Aliases(draft)) as aliases:
        try:
            aliases.import_text(text)
        except AliasError as error:
            raise MailprobeError(f"the aliases of the site: {error}") from None
    draft.rename(path)
