"""The findings of `check` and `judge` for a person: what is wrong comes first, then what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from mailprobe.model.evidence import Target
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.counts import count, of_target, open_question
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.widths import paragraph
from mailprobe.output.words import because, clean, in_trouble, plural

_LABEL = 8  # columns of "error   ", "seen    ", ...
_PORT = re.compile(r"(?P<host>.+ \[[^]]*\]|\[[^]]*\]|[^:]+):(?P<port>\d+)")


def findings(report: Report, style: Style = PLAIN, width: int = 80, *, verbose: bool = False) -> str:
    """Write errors, warnings, what is undecided and notices, then one line of summary, for each target.

    The same check failing in several places is one paragraph. *verbose* adds the checks that passed.
    """
    return "\n".join(
        _target(target, of_target(report, target.asked), style, width, verbose) for target in report.targets
    )


def _target(target: Target, found: list[Finding], style: Style, width: int, verbose: bool) -> str:
    parts = [_failed(group, style, width) for group in _failures(found, Severity.ERROR)]
    parts += [_failed(group, style, width) for group in _failures(found, Severity.WARNING)]
    parts += [_undecided(group, style, width) for group in _grouped(filter(open_question, found), _same_cause)]
    parts += [_failed(group, style, width) for group in _failures(found, Severity.INFO)]
    if verbose:
        passed = [finding for finding in found if finding.verdict is Verdict.OK]
        parts += [_passed(group, style, width) for group in _grouped(passed, lambda finding: (finding.check,))]
    if target.trouble:
        parts.insert(0, _line("stopped", in_trouble(target.trouble), width, style.bad))
    summary = paragraph(f"{clean(target.asked)}: {count(found).sentence()}", width, rest="  ")
    return "\n".join([*(part + "\n" for part in parts), style.strong(summary)]) + "\n"


def _failures(found: Iterable[Finding], severity: Severity) -> list[list[Finding]]:
    failed = (each for each in found if each.verdict is Verdict.FAIL and each.severity is severity)
    return _grouped(failed, lambda finding: (finding.check,))


def _same_cause(finding: Finding) -> tuple[object, ...]:
    return (finding.verdict, finding.cause, finding.detail)


def _grouped(found: Iterable[Finding], key: Callable[[Finding], tuple[object, ...]]) -> list[list[Finding]]:
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in found:
        groups.setdefault(key(finding), []).append(finding)
    return list(groups.values())


def _failed(group: list[Finding], style: Style, width: int) -> str:
    first = group[0]
    tone = {Severity.ERROR: style.bad, Severity.WARNING: style.warn, Severity.INFO: style.note}[first.severity]
    lines = [_line(first.severity.value, _heading(first.check, group), width, tone)]
    lines += [_line("seen", seen, width, style.dim) for seen in _seen(group)]
    for label, text in (("rule", first.claim), ("why", first.why), ("do", first.advice), ("see", first.source)):
        if text:
            lines.append(_line(label, clean(" ".join(text.split())), width, style.dim))
    return "\n".join(lines)


def _undecided(group: list[Finding], style: Style, width: int) -> str:
    first = group[0]
    checks = list(dict.fromkeys(finding.check for finding in group))
    label = "broken" if first.verdict is Verdict.BROKEN else "unknown"
    heading = _heading(checks[0], group) if len(checks) == 1 else f"{len(checks)} checks {_where(group)}"
    lines = [_line(label, heading, width, style.warn)]
    if first.detail:
        lines.append(_line("seen", clean(first.detail), width, style.dim))
    if first.cause:
        lines.append(_line("because", f"{because(first.cause)} ({first.cause.value})", width, style.dim))
    if len(checks) > 1:
        lines.append(_line("checks", ", ".join(checks), width, style.dim))
    return "\n".join(lines)


def _passed(group: list[Finding], style: Style, width: int) -> str:
    return _line("passed", _heading(group[0].check, group), width, style.good)


def _seen(group: list[Finding]) -> list[str]:
    """Say what was seen once where all places agree, else per place."""
    told = list(dict.fromkeys(_told(finding) for finding in group))
    if len(told) == 1:
        return [told[0]] if told[0] else []
    return [
        f"{_where([finding for finding in group if _told(finding) == text])}: {text or 'nothing noted'}"
        for text in told
    ]


def _told(finding: Finding) -> str:
    detail, culprit = clean(finding.detail), clean(finding.culprit)
    if not culprit or culprit in detail:
        return detail
    return f"{detail} ({culprit})" if detail else culprit


def _heading(check: str, group: list[Finding]) -> str:
    return f"{check} {_where(group)}"


def _where(group: Sequence[Finding]) -> str:
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


def _line(label: str, text: str, width: int, tone: Callable[[str], str]) -> str:
    written = paragraph(text, width, first=label.ljust(_LABEL), rest=" " * _LABEL)
    return tone(label) + written[len(label) :]
