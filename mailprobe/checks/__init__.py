"""JUDGE: pure functions, evidence -> judgement. To see what there is, read this list."""

from __future__ import annotations

from types import ModuleType

from mailprobe.checks import (
    access,
    addresses,
    certificate,
    chain,
    greeting,
    hops,
    mx,
    replies,
    smtp,
    starttls,
    tls,
    trip,
)
from mailprobe.checks.registry import Check

# Written out by hand, in the order of a report; a test holds it against the folder.
MODULES: tuple[ModuleType, ...] = (
    *(mx, addresses, greeting, replies, smtp, access, starttls, tls, certificate, chain),
    *(trip, hops),  # about a letter that was sent
)

CHECKS: dict[str, Check] = {
    found.id: found for module in MODULES for found in vars(module).values() if isinstance(found, Check)
}
TOPICS = tuple(dict.fromkeys(check.id.partition("-")[0] for check in CHECKS.values()))
