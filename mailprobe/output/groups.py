"""Findings that say the same thing, put together, so that each thing is said once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from mailprobe.model.finding import Finding
from mailprobe.output.words import clean, plural

_PORT = re.compile(r"(?P<host>.+ \[[^]]*\]|\[[^]]*\]|[^:]+):(?P<port>\d+)")


def grouped(found: Iterable[Finding], key: Callable[[Finding], object]) -> list[list[Finding]]:
    """Put findings with the same key together, in the order in which the keys first come."""
    groups: dict[object, list[Finding]] = {}
    for finding in found:
        groups.setdefault(key(finding), []).append(finding)
    return list(groups.values())


def same_check(finding: Finding) -> object:
    """Give the key of findings that one check made."""
    return finding.check


def same_cause(finding: Finding) -> object:
    """Give the key of findings that are undecided for one reason."""
    return (finding.verdict, finding.cause, finding.detail)


def checks_of(group: Iterable[Finding]) -> list[str]:
    """Name the checks of a group, each once."""
    return list(dict.fromkeys(finding.check for finding in group))


def heading(group: Sequence[Finding]) -> str:
    """Name the check, or say how many there are, and name the places."""
    checks = checks_of(group)
    return f"{checks[0] if len(checks) == 1 else f'{len(checks)} checks'} {where(group)}"


def where(group: Iterable[Finding]) -> str:
    """Name the places: ``at mx.a.test [192.0.2.1]:25``, ``on 3 ports: mx.a.test [192.0.2.1] 587 110 143``."""
    places = list(dict.fromkeys(finding.where for finding in group))
    if len(places) == 1:
        return f"at {clean(places[0])}"
    ports: dict[str, list[str]] = {}
    for place in places:
        match = _PORT.fullmatch(place)
        if match is None:
            return f"in {len(places)} places: {', '.join(map(clean, places))}"
        ports.setdefault(clean(match["host"]), []).append(match["port"])
    listed = (f"{host} {' '.join(numbers)}" for host, numbers in ports.items())
    return f"on {plural(len(places), 'port')}: {', '.join(listed)}"


def place_count(group: Iterable[Finding]) -> str:
    """Name the place, or say how many there are: ``on 3 ports``."""
    places = dict.fromkeys(finding.where for finding in group)
    if len(places) == 1:
        return where(group)
    ports = all(_PORT.fullmatch(place) for place in places)
    return f"on {len(places)} ports" if ports else f"in {len(places)} places"
