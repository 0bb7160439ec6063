"""The findings of `check` and `judge` for a person: what is wrong comes first, then what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mailprobe.model.evidence import Kind, Struct, Target, Trouble
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.counts import count, of_target, open_question
from mailprobe.output.groups import checks_of, grouped, heading, place_count, same_cause, same_check, where
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.widths import paragraph
from mailprobe.output.words import because, clean, in_trouble, remedy

_LABEL = 8  # columns of "error   ", "seen    ", ...


class _Writer(Struct, frozen=True):
    """Writes labelled lines in one manner; *explain* adds the rule of each check and where it comes from."""

    style: Style
    width: int
    explain: bool

    def line(self, label: str, text: str, tone: Callable[[str], str] | None = None) -> str:
        """Write *text* behind its label, wrapped."""
        written = paragraph(text, self.width, first=label.ljust(_LABEL), rest=" " * _LABEL)
        return (tone or self.style.dim)(label) + written[len(label) :]

    def prose(self, label: str, text: str) -> list[str]:
        """Write text that may have line ends of its own; nothing where there is none."""
        return [self.line(label, clean(" ".join(text.split())))] if text else []


def findings(
    report: Report, style: Style = PLAIN, width: int = 80, *, verbose: bool = False, explain: bool = False
) -> str:
    """Write errors, warnings, what is undecided and notices, then one line of summary, for each target.

    The same check failing in several places is one paragraph. *verbose* adds the checks that passed, *explain*
    the rule of each check and where it comes from.
    """
    writer = _Writer(style=style, width=width, explain=explain)
    return "\n".join(_target(target, of_target(report, target.asked), writer, verbose) for target in report.targets)


def _target(target: Target, found: list[Finding], writer: _Writer, verbose: bool) -> str:
    parts = [_failed(group, writer) for group in _failures(found, Severity.ERROR)]
    parts += [_failed(group, writer) for group in _failures(found, Severity.WARNING)]
    parts += [_undecided(group, writer) for group in grouped(filter(open_question, found), same_cause)]
    parts += [_failed(group, writer) for group in _failures(found, Severity.INFO)]
    passed = [finding for finding in found if finding.verdict is Verdict.OK]
    if verbose and passed:
        parts.append("\n".join(_passed(group, writer) for group in grouped(passed, same_check)))
    if target.trouble and not _told_already(target.trouble, found):
        parts.insert(0, writer.line("stopped", in_trouble(target.trouble), writer.style.bad))
    summary = paragraph(f"{clean(target.asked)}: {count(found).sentence()}", writer.width, rest="  ")
    return "\n".join([*(part + "\n" for part in parts), writer.style.strong(summary)]) + "\n"


def _told_already(trouble: Trouble, found: Iterable[Finding]) -> bool:
    """Tell whether a finding says what is wrong; none is about this machine."""
    telling = {Verdict.FAIL, Verdict.UNKNOWN}
    return trouble.kind is not Kind.LOCAL and any(
        each.verdict in telling and each.severity is Severity.ERROR for each in found
    )


def _failures(found: Iterable[Finding], severity: Severity) -> list[list[Finding]]:
    failed = (each for each in found if each.verdict is Verdict.FAIL and each.severity is severity)
    return grouped(failed, same_check)


def _failed(group: list[Finding], writer: _Writer) -> str:
    first, style = group[0], writer.style
    tone = {Severity.ERROR: style.bad, Severity.WARNING: style.warn, Severity.INFO: style.note}[first.severity]
    return "\n".join(
        [
            writer.line(first.severity.value, heading(group), tone),
            *(writer.line("seen", seen) for seen in _seen(group)),
            *(writer.prose("rule", first.claim) if writer.explain else []),
            *writer.prose("why", first.why),
            *writer.prose("do", first.advice),
            *(writer.prose("see", first.source) if writer.explain else []),
        ]
    )


def _undecided(group: list[Finding], writer: _Writer) -> str:
    first = group[0]
    checks = checks_of(group)
    label = "broken" if first.verdict is Verdict.BROKEN else "unknown"
    lines = [writer.line(label, heading(group), writer.style.warn)]
    if first.detail:
        lines.append(writer.line("seen", clean(first.detail)))
    if first.cause:
        lines.append(writer.line("because", f"{because(first.cause)} ({first.cause.value})"))
        lines.append(writer.line("do", remedy(first.cause)))
    if writer.explain:
        claims = dict.fromkeys((finding.check, finding.claim) for finding in group)
        for check, claim in claims:
            lines += writer.prose("rule", claim if len(checks) == 1 else f"{check}: {claim}")
    elif len(checks) > 1:
        lines.append(writer.line("checks", ", ".join(checks)))
    return "\n".join(lines)


def _passed(group: list[Finding], writer: _Writer) -> str:
    details = {finding.detail for finding in group}
    agreed = clean(details.pop()) if len(details) == 1 else ""
    said = f"{group[0].check} {place_count(group)}"
    return writer.line("passed", f"{said}: {agreed}" if agreed else said, writer.style.good)


def _seen(group: list[Finding]) -> list[str]:
    """Say what was seen once where all places agree, else per place."""
    told = list(dict.fromkeys(_told(finding) for finding in group))
    if len(told) == 1:
        return [told[0]] if told[0] else []
    return [
        f"{where(finding for finding in group if _told(finding) == text)}: {text or 'nothing noted'}" for text in told
    ]


def _told(finding: Finding) -> str:
    detail, culprit = clean(finding.detail), clean(finding.culprit)
    if not culprit or culprit in detail:
        return detail
    return f"{detail} ({culprit})" if detail else culprit
