"""The output of a monitoring plugin: a status line with performance data, then the details.

The form is that of the Monitoring Plugins Development Guidelines, read by Nagios, Icinga, Naemon and Checkmk.
"""

from __future__ import annotations

import re
from enum import IntEnum

from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report, reachability, total_ms
from mailprobe.output.counts import Counts, count, news, of_target, open_question
from mailprobe.output.groups import checks_of, grouped, heading, same_cause
from mailprobe.output.widths import width_of
from mailprobe.output.words import clean, in_trouble, plural

_LINE = 79  # the guidelines want less than 80 characters
_LAST_WORDS = re.compile(r"( at)?(,? \d+)? \S+$")  # a count goes with its noun, "at" with its place


class State(IntEnum):
    """Exit statuses of plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


WORSE = (State.OK, State.UNKNOWN, State.WARNING, State.CRITICAL)


def nagios(report: Report) -> tuple[str, State]:
    """Give the text of the plugin and its exit status.

    Errors are critical; what could not be decided is UNKNOWN unless something worse was found. A notice
    changes nothing.
    """
    wrong = [finding for finding in news(report) if state_of(finding) is not State.OK]
    wrong.sort(key=lambda finding: -WORSE.index(state_of(finding)))
    states = [state_of(finding) for finding in wrong]
    states += [State.UNKNOWN for target in report.targets if target.trouble]
    state = max(states, key=WORSE.index, default=State.OK if report.findings else State.UNKNOWN)
    lines = [f"{_status_line(report, wrong, state)} | {' '.join(_performance(report))}"]
    lines += [one_line(_detail(group)) for group in grouped(wrong, _line_key)]
    lines += [one_line(f"UNKNOWN: {each.asked}: {in_trouble(each.trouble)}") for each in report.targets if each.trouble]
    return "\n".join(lines) + "\n", state


def state_of(finding: Finding) -> State:
    """Give the status that one finding asks for: notices change nothing."""
    if finding.severity is Severity.INFO:
        return State.OK
    if finding.verdict is Verdict.FAIL:
        return State.CRITICAL if finding.severity is Severity.ERROR else State.WARNING
    return State.UNKNOWN if open_question(finding) else State.OK


def _status_line(report: Report, wrong: list[Finding], state: State) -> str:
    asked = [target.asked for target in report.targets]
    names = asked[0] if len(asked) == 1 else f"{len(asked)} targets"
    worst, *others = checks_of(wrong) or [""]
    more = f" and {len(others)} more" if others else ""
    line = one_line(f"MAILPROBE {state.name} - {worst}{more}{worst and ': '}{_sentence(report)} at {names}")
    if width_of(line) <= _LINE:
        return line
    while width_of(line) > _LINE - len(" ..."):
        line = _LAST_WORDS.sub("", line)
    return f"{line} ..."


def _sentence(report: Report) -> str:
    counts = count(news(report))
    open_ones = counts.undecided + counts.broken
    said = [
        plural(counts.errors, "error") if counts.errors else "",
        plural(counts.warnings, "warning") if counts.warnings else "",
        f"{open_ones} undecided" if open_ones else "",
    ]
    return ", ".join(part for part in said if part) or (
        f"{counts.passed} passed" if report.findings else "nothing was checked"
    )


def _line_key(finding: Finding) -> object:
    """Fold what is undecided for one reason; what failed has a line for each place."""
    place = (finding.check, finding.target, finding.where, finding.detail)
    return same_cause(finding) if open_question(finding) else place


def _detail(group: list[Finding]) -> str:
    first, checks = group[0], checks_of(group)
    cause = f" ({first.cause.value})" if first.cause else ""
    listed = f": {', '.join(checks)}" if len(checks) > 1 else ""
    return f"{state_of(first).name}: {heading(group)}: {first.detail or first.claim}{cause}{listed}"


def one_line(text: str) -> str:
    """Keep text on one line and free of the bar that begins performance data."""
    return clean(text).replace("|", " ")


def _performance(report: Report) -> list[str]:
    several = len(report.targets) > 1
    data = []
    for target in report.targets:
        prefix = f"{target.asked} " if several else ""
        data += _totals(prefix, count(of_target(report, target.asked)))
    for view in report.sessions:
        session = view.session
        place = f"{session.port} {session.address}" + (f" {session.host} {view.target}" if several else "")
        spent = total_ms(session)
        if reachability(session) == "open" and spent is not None:
            data.append(_datum(f"time {place}", f"{spent / 1000:.6f}s", minimum="0"))
        if view.certificate and view.certificate.days_left is not None:
            data.append(_datum(f"days {place}", f"{view.certificate.days_left}"))
    return list({datum.partition("=")[0]: datum for datum in data}.values())


def _totals(prefix: str, counts: Counts) -> list[str]:
    return [
        _datum(f"{prefix}errors", f"{counts.errors}", critical="0", minimum="0"),
        _datum(f"{prefix}warnings", f"{counts.warnings}", warning="0", minimum="0"),
        _datum(f"{prefix}undecided", f"{counts.undecided + counts.broken}", minimum="0"),
        _datum(f"{prefix}passed", f"{counts.passed}", minimum="0"),
    ]


def _datum(label: str, value: str, warning: str = "", critical: str = "", minimum: str = "") -> str:
    quoted = one_line(label).replace("=", "_").replace("'", "''")
    return f"'{quoted}'={value};{warning};{critical};{minimum};"
