"""What a site's post office is like: its users, its aliases, and what it does otherwise than a healthy one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mailprobe.lab.post.schedule import Schedule

HOP_LIMIT = 50  # RFC 5321 §6.3 suggests 100; Postfix uses 50
SIZE_LIMIT = 64 << 20


class PostSite(msgspec.Struct, frozen=True, kw_only=True):
    """The post office of a mail domain; healthy by default.

    *domains* are taken mail for beside the site's own. *aliases* is aliases(5) text, read when the office is opened
    for the first time. *schedule* None means the usual one.

    What it may do otherwise: *quota_octets* bounds each mailbox (0: no bound), and a full one is a matter of time, or
    for ever with *quota_final*; *greylist_s* is how long a stranger's first try is put off; letters with one of
    *junk_words* in subject or text go to Junk; letters wait *hold_s* before they are put into a mailbox; *drops* says
    yes and forgets the letter; *forwards_to* is the domain to which mail for every user goes on; *unwelcome* are local
    parts that are always refused. Without *adds_received* the way of a letter does not show, and *clock_skew_s* is by
    how much the clock in that line is wrong.
    """

    users: Mapping[str, str]
    domains: tuple[str, ...] = ()
    aliases: str = ""
    schedule: Schedule | None = None
    size_limit: int = SIZE_LIMIT
    quota_octets: int = 0
    quota_final: bool = False
    greylist_s: float = 0.0
    junk_words: tuple[str, ...] = ()
    hold_s: float = 0.0
    drops: bool = False
    forwards_to: str = ""
    unwelcome: tuple[str, ...] = ()
    hop_limit: int = HOP_LIMIT
    adds_received: bool = True
    clock_skew_s: float = 0.0
