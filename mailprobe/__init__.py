"""mailprobe says whether a domain's mail works, proves it, and says how to fix it.

The library in three calls::

    from mailprobe import gather, judge

    evidence = gather("example.com")
    for finding in judge(evidence):
        if finding.verdict == "fail":
            print(finding.severity, finding.check, finding.where, finding.detail)

Evidence can be kept (`write_evidence`) and judged later (`read_evidence`). On an event loop of your own await
`mailprobe.collect.targets.collect` instead of calling `gather`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from mailprobe.lab.world import Lab
    from mailprobe.model.errors import UsageError
    from mailprobe.model.evidence import Evidence
    from mailprobe.model.finding import Finding, Severity, Verdict
    from mailprobe.net.labs import Reachable

__version__ = "0.1.0"
__all__ = [
    "Evidence",
    "Finding",
    "Lab",
    "Severity",
    "UsageError",
    "Verdict",
    "__version__",
    "gather",
    "judge",
    "read_evidence",
    "write_evidence",
]

_HOMES = {
    "Evidence": "mailprobe.model.evidence",
    "Finding": "mailprobe.model.finding",
    "Lab": "mailprobe.lab.world",
    "Severity": "mailprobe.model.finding",
    "UsageError": "mailprobe.model.errors",
    "Verdict": "mailprobe.model.finding",
}


def __getattr__(name: str) -> object:
    """Import a public type when it is first asked for: the command line starts without any of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mailprobe' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def gather(
    *targets: str,
    resolver: str = "system",
    timeout_s: float | None = None,
    ca_file: Path | None = None,
    ehlo_name: str | None = None,
    lab: Reachable | None = None,
) -> Evidence:
    """Gather evidence about domains, hosts and ``host:port``, as `mailprobe collect` does.

    *timeout_s* bounds each target (60 when None); *ca_file* replaces the system's trust anchors; *lab* is a
    running `mailprobe.lab.world.Lab` to ask instead of the world. Whatever servers do becomes evidence.

    Raises:
        UsageError: a target, resolver or file that cannot be used.
    """
    import asyncio

    from mailprobe.collect.targets import Depth, collect, parse_target
    from mailprobe.net.labs import inside
    from mailprobe.net.limits import Limits
    from mailprobe.net.network import Network, Reach

    limits = Limits() if timeout_s is None else Limits.within(timeout_s)
    reach = Reach(resolver=resolver, ca_file=ca_file, ehlo_name=ehlo_name, limits=limits)
    network = Network(reach if lab is None else inside(reach, lab))
    return asyncio.run(collect(network, [parse_target(target) for target in targets], Depth()))


def judge(evidence: Evidence, *, only: Collection[str] = (), skip: Collection[str] = ()) -> list[Finding]:
    """Judge evidence by all checks, or by those that *only* and *skip* leave; both take ids and topics.

    Raises:
        UsageError: an unknown id or topic.
    """
    from mailprobe.checks import judge as judging

    return judging.judge(evidence, judging.choose(only, skip))


def read_evidence(text: bytes, source: str = "evidence") -> Evidence:
    """Read evidence from JSON; *source* names it in errors.

    Raises:
        EvidenceError: no JSON, no evidence, or evidence of another schema.
    """
    from mailprobe.model import evidence_file

    return evidence_file.read_evidence(text, source)


def write_evidence(evidence: Evidence) -> bytes:
    """Write evidence as JSON."""
    from mailprobe.model import evidence_file

    return evidence_file.write_evidence(evidence)
