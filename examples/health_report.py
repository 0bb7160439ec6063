"""Says of each domain what has to be mended first.

python health_report.py example.com example.net
python health_report.py --lab certificate-expired.lab.test good.lab.test
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from mailprobe import gather, judge
from mailprobe.lab.world import Lab
from mailprobe.model.finding import Finding, Severity, Verdict


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Keep what failed, errors before warnings before notices."""
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    return sorted(failed, key=lambda finding: -finding.severity.rank)


def report(domain: str, findings: Sequence[Finding]) -> str:
    """Write one line for a healthy domain, and one for each thing to do otherwise."""
    failed = worst_first(findings)
    undecided = sum(finding.verdict is Verdict.UNKNOWN for finding in findings)
    lines = [f"{domain}: {len(failed)} to mend, {undecided} undecided"]
    lines += [f"  {finding.severity.value}: {finding.detail} -> {finding.advice}" for finding in failed]
    return "\n".join(dict.fromkeys(lines))


def main(arguments: Sequence[str]) -> int:
    """Report on every domain; the status is 1 when any has an error."""
    domains = [argument for argument in arguments if argument != "--lab"]
    with Lab() if "--lab" in arguments else nullcontext() as lab:
        evidence = gather(*domains, lab=lab)
    findings = judge(evidence)
    for domain in domains:
        print(report(domain, [finding for finding in findings if finding.target == domain]))
    return int(any(item.verdict is Verdict.FAIL and item.severity is Severity.ERROR for item in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
