"""Says of each domain what has to be mended, the worst first.

    python health_report.py example.com example.net
    python health_report.py --lab certificate-expired.lab.test good.lab.test

The exit status is 1 when a domain has an error, 3 when only something could not be decided, and else 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from mailprobe import Finding, Lab, Severity, UsageError, Verdict, gather, judge


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Keep what failed, errors before warnings before notices."""
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    return sorted(failed, key=lambda finding: -finding.severity.rank)


def report(domain: str, findings: Sequence[Finding]) -> str:
    """Write one line for a healthy domain, and two for each thing to do otherwise."""
    failed = worst_first(findings)
    undecided = sum(finding.verdict is Verdict.UNKNOWN for finding in findings)
    lines = [f"{domain}: {len(failed)} to mend, {undecided} undecided"]
    lines += [f"  {finding.severity}: {finding.where}: {finding.detail}\n    {finding.advice}" for finding in failed]
    return "\n".join(lines)


def exit_status(findings: Sequence[Finding]) -> int:
    """Let errors weigh more than what could not be decided."""
    weighty = [finding for finding in findings if finding.severity is Severity.ERROR]
    if any(finding.verdict is Verdict.FAIL for finding in weighty):
        return 1
    return 3 if any(finding.verdict is Verdict.UNKNOWN for finding in weighty) else 0


def main(arguments: Sequence[str]) -> int:
    """Report on every domain."""
    domains = [argument for argument in arguments if argument != "--lab"]
    if not domains:
        print("usage: health_report.py [--lab] DOMAIN...", file=sys.stderr)
        return 2
    try:
        with Lab() if "--lab" in arguments else nullcontext() as lab:
            evidence = gather(*domains, lab=lab)
    except UsageError as error:
        print(f"health_report.py: {error}", file=sys.stderr)
        return 2
    findings = judge(evidence)
    for domain in domains:
        print(report(domain, [finding for finding in findings if finding.target == domain]))
    return exit_status(findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
