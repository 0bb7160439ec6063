"""How many findings of each sort there are: the summary line of every format counts the same way."""

from __future__ import annotations

from collections.abc import Iterable

from mailprobe.model.evidence import Struct
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.words import plural


class Counts(Struct, frozen=True, kw_only=True):
    """Failed checks by severity, and the others by verdict."""

    errors: int
    warnings: int
    notices: int
    undecided: int
    broken: int
    passed: int
    not_applicable: int

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
    tally: dict[object, int] = {}
    for finding in findings:
        key = finding.severity if finding.verdict is Verdict.FAIL else finding.verdict
        tally[key] = tally.get(key, 0) + 1
    return Counts(
        errors=tally.get(Severity.ERROR, 0),
        warnings=tally.get(Severity.WARNING, 0),
        notices=tally.get(Severity.INFO, 0),
        undecided=tally.get(Verdict.UNKNOWN, 0),
        broken=tally.get(Verdict.BROKEN, 0),
        passed=tally.get(Verdict.OK, 0),
        not_applicable=tally.get(Verdict.NOT_APPLICABLE, 0),
    )


def of_target(report: Report, asked: str) -> list[Finding]:
    """Pick the findings about one target, in the report's order."""
    return [finding for finding in report.findings if finding.target == asked]


def open_question(finding: Finding) -> bool:
    """Tell whether the check could not decide, or broke."""
    return finding.verdict in {Verdict.UNKNOWN, Verdict.BROKEN}
