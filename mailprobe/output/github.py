"""GitHub Actions workflow commands: a finding becomes an annotation of the run."""

from __future__ import annotations

from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.counts import count, of_target
from mailprobe.output.words import because, clean, in_trouble

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def github(report: Report) -> str:
    """Write failed checks at their level and undecided ones as warnings, then a plain line per target."""
    lines = []
    for target in report.targets:
        if target.trouble:
            lines.append(_command("error", f"{target.asked} stopped", in_trouble(target.trouble)))
        found = of_target(report, target.asked)
        lines += [_annotation(finding) for finding in found if finding.verdict is not Verdict.OK and _level(finding)]
        lines.append(f"mailprobe: {clean(target.asked)}: {count(found).sentence()}")
    return "".join(line + "\n" for line in lines)


def _level(finding: Finding) -> str:
    match finding.verdict:
        case Verdict.FAIL:
            return _LEVELS[finding.severity]
        case Verdict.UNKNOWN | Verdict.BROKEN:
            return "notice" if finding.severity is Severity.INFO else "warning"
        case _:
            return ""


def _annotation(finding: Finding) -> str:
    undecided = "" if finding.verdict is Verdict.FAIL else f" ({finding.verdict.value})"
    parts = [finding.detail or finding.claim, finding.culprit, because(finding.cause) if finding.cause else ""]
    if finding.verdict is Verdict.FAIL:
        parts.append(" ".join(finding.advice.split()))
    message = "\n".join(clean(part) for part in parts if part)
    return _command(_level(finding), f"{finding.check}{undecided} at {finding.where}", message)


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(clean(title))}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
