r"""One JSON document for all that was found.

Only ASCII leaves here: everything else is a ``\u`` escape, so no byte that a server sent can move a terminal,
and no locale can spoil it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from mailprobe.model.view import Report
from mailprobe.output.counts import count


def findings(report: Report) -> str:
    """Write the report: version, time, each target with its counts, and every finding."""
    document = {
        "mailprobe": report.mailprobe,
        "collected_at": report.collected_at,
        "targets": [
            {
                "target": target.asked,
                "trouble": target.trouble,
                "counts": count(finding for finding in report.findings if finding.target == target.asked),
            }
            for target in report.targets
        ],
        "findings": report.findings,
    }
    return json.dumps(msgspec.to_builtins(document), indent=2) + "\n"


def rows(items: Sequence[msgspec.Struct]) -> str:
    """Write rows of `mx`, `ports` or DNS answers as one list."""
    return json.dumps(msgspec.to_builtins(items), indent=2) + "\n"
