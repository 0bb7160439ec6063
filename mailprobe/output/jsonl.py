"""JSON lines: one finding or one row a line, for programs that read as they go."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from mailprobe.model.view import Report


def findings(report: Report) -> str:
    """Write each finding on a line of its own, with the time at which the evidence was collected."""
    when = {"collected_at": msgspec.to_builtins(report.collected_at)}
    return "".join(_line(when | msgspec.to_builtins(finding)) for finding in report.findings)


def rows(items: Sequence[msgspec.Struct]) -> str:
    """Write each row of `mx`, `ports` or DNS answers on a line of its own."""
    return "".join(_line(msgspec.to_builtins(item)) for item in items)


def _line(item: object) -> str:
    return json.dumps(item, separators=(",", ":")) + "\n"
