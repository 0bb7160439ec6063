"""What all parts of one post office share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mailprobe.lab.post.site import PostSite
from mailprobe.model.road import Part

if TYPE_CHECKING:
    from mailprobe.lab.sites import Place


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """A post office as its parts know it.

    *host* is what it calls itself, *directory* holds its files, *now* gives the lab's time. *threads* are for what
    waits for the disk. *complain* is told in one line of files that cannot be used. *wake* is called when there is
    something new to be done or written down. *paused* changes in place.
    """

    site: PostSite
    domain: str
    host: str
    directory: Path
    now: Callable[[], datetime]
    threads: Executor
    complain: Callable[[str], None]
    wake: Callable[[], None]
    paused: set[Part]

    @classmethod
    def at(
        cls,
        places: Sequence[Place],
        directory: Path,
        *,
        now: Callable[[], datetime],
        threads: Executor,
        complain: Callable[[str], None],
        wake: Callable[[], None],
    ) -> Desk:
        """Furnish the office of the site whose hosts are *places*."""
        site, domain = places[0].site.post, places[0].site.domain
        assert site is not None, "the site has a post office"
        return cls(
            site=site,
            domain=domain,
            host=places[0].host,
            directory=directory,
            now=now,
            threads=threads,
            complain=lambda text: complain(f"{domain}: {text}"),
            wake=wake,
            paused=set(),
        )
