"""What a check is: one function with its metadata beside it.

A check takes its subject by annotation (`Target`, `Host`, `Address`, `Session` or `Trip`), may take a `Scene` besides,
and returns exactly one `Judgement`. Its docstring is the *why* that people are shown.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from datetime import datetime

import msgspec

from mailprobe.model.evidence import Address, Host, Session, Settings, Target
from mailprobe.model.finding import Cause, Judgement, Severity, Verdict
from mailprobe.model.trip import Trip

Subject = Target | Host | Address | Session | Trip


class Scene(msgspec.Struct, frozen=True):
    """What surrounds a subject. *now* is when the evidence was collected; *host* and *address* where there are any."""

    now: datetime
    settings: Settings
    target: Target
    host: Host | None = None
    address: Address | None = None


class Check(msgspec.Struct, frozen=True):
    """A check: its id (topic first, never reused), claim, severity, standard, and what to do when it fails."""

    id: str
    claim: str
    severity: Severity
    source: str
    advice: str
    why: str
    subject: type
    takes_scene: bool
    function: Callable[..., Judgement]

    def __call__(self, subject: Subject, scene: Scene | None = None) -> Judgement:
        """Judge one subject; a trip has no scene around it."""
        return self.function(subject, scene) if self.takes_scene else self.function(subject)


def check(
    *,
    id: str,  # noqa: A002 - the metadata's own name
    claim: str,
    severity: Severity,
    source: str,
    advice: str,
) -> Callable[[Callable[..., Judgement]], Check]:
    """Make a check of a function; *source* is the RFC and section, or ``practice``."""

    def register(function: Callable[..., Judgement]) -> Check:
        hints = typing.get_type_hints(function)
        subject, *others = (hints[name] for name in inspect.signature(function).parameters)
        why = inspect.cleandoc(function.__doc__ or "")
        return Check(id, claim, severity, source, advice, why, subject, others == [Scene], function)

    return register


def ok(detail: str = "") -> Judgement:
    """The claim holds."""
    return Judgement(Verdict.OK, detail)


def fail(detail: str, culprit: str = "", *, advice: str = "") -> Judgement:
    """The claim does not hold; *culprit* names what is at fault, *advice* what to do where it is not as ever."""
    return Judgement(Verdict.FAIL, detail, culprit, advice=advice)


def unknown(cause: Cause, detail: str) -> Judgement:
    """It could not be decided, and why."""
    return Judgement(Verdict.UNKNOWN, detail, "", cause)


def not_applicable(detail: str) -> Judgement:
    """The claim is not about this subject."""
    return Judgement(Verdict.NOT_APPLICABLE, detail)


def verdict(holds: bool, seen: str, otherwise: str, culprit: str = "") -> Judgement:
    """Judge by a condition: *seen* when it holds, *otherwise* when it does not."""
    return ok(seen) if holds else fail(otherwise, culprit)
