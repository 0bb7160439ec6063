"""How many findings of each sort there are: the summary line of every format counts the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mailprobe.model.evidence import Struct
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.words import plural


class Counts(Struct, frozen=True, kw_only=True):
    """Failed checks by severity, and the others by verdict; *known* are failures of the baseline."""

    errors: int
    warnings: int
    notices: int
    undecided: int
    broken: int
    passed: int
    not_applicable: int
    known: int

    def sentence(self) -> str:
        """Write the counts that matter: ``3 errors, 1 warning, 2 undecided, 58 passed``."""
        parts = [
            plural(self.errors, "error") if self.errors else "",
            plural(self.warnings, "warning") if self.warnings else "",
            plural(self.notices, "notice") if self.notices else "",
            f"{self.undecided} undecided" if self.undecided else "",
            f"{self.broken} broken" if self.broken else "",
            f"{self.passed} passed",
        ]
        return ", ".join(part for part in parts if part)


def count(findings: Iterable[Finding]) -> Counts:
    """Count findings."""
    tally = Counter(_sort(finding) for finding in findings)
    return Counts(
        errors=tally[Severity.ERROR],
        warnings=tally[Severity.WARNING],
        notices=tally[Severity.INFO],
        undecided=tally[Verdict.UNKNOWN],
        broken=tally[Verdict.BROKEN],
        passed=tally[Verdict.OK],
        not_applicable=tally[Verdict.NOT_APPLICABLE],
        known=tally["known"],
    )


def _sort(finding: Finding) -> str:
    if finding.known:
        return "known"
    return finding.severity if finding.verdict is Verdict.FAIL else finding.verdict


def of_target(report: Report, asked: str) -> list[Finding]:
    """Pick the news about one target, in the report's order."""
    return [finding for finding in news(report) if finding.target == asked]


def news(report: Report) -> list[Finding]:
    """Leave out the failures that the baseline knows."""
    return [finding for finding in report.findings if not finding.known]


def open_question(finding: Finding) -> bool:
    """Tell whether the check could not decide, or broke."""
    return finding.verdict in {Verdict.UNKNOWN, Verdict.BROKEN}
