"""From evidence to what the user sees and to the exit status; `check` and `judge` share it, so they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mailprobe.cli.options import format_option, put, say, style, width
from mailprobe.cli.views import report
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Evidence
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import CheckCard, Report

if TYPE_CHECKING:
    from mailprobe.checks.registry import Check

FAILED, UNDECIDED = 1, 3
Command = TypeVar("Command", bound=Callable[..., Any])


class Wanted(msgspec.Struct, frozen=True):
    """How the user wants to be told: form, choice of checks, and what makes the run fail."""

    form: str
    only: tuple[str, ...]
    skip: tuple[str, ...]
    fail_on: str
    baseline: Path | None
    explain: bool
    verbose: int


_OPTIONS = (
    format_option("table", "json", "jsonl", "nagios", "prometheus", "junit", "github"),
    click.option("--only", multiple=True, metavar="CHECK", help="Run only this check or topic; may be repeated."),
    click.option("--skip", multiple=True, metavar="CHECK", help="Leave out this check or topic; may be repeated."),
    click.option(
        "--fail-on",
        type=click.Choice([severity.value for severity in Severity]),
        default=Severity.ERROR.value,
        help="Lowest severity that makes the exit status 1 (default error).",
    ),
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Leave out what failed already in this earlier run (--format json).",
    ),
    click.option("--explain", is_flag=True, help="Add the explanation of every check that did not pass."),
    click.option("-v", "--verbose", count=True, help="Show the checks that passed; twice: the conversations as well."),
)


def judging_options(command: Command) -> Command:
    """Add the options of commands that judge."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def deliver(evidence: Evidence, wanted: Wanted) -> int:
    """Judge, write the findings to stdout, and give the exit status.

    Raises:
        UsageError: an unknown check, or a baseline that cannot be read.
    """
    # The checks are imported while the servers are waited for, not before: see `mailprobe.cli.meanwhile`.
    from mailprobe.checks.judge import choose
    from mailprobe.checks.judge import judge as judge_evidence

    checks = choose(_split(wanted.only), _split(wanted.skip))
    known = _read_baseline(wanted.baseline) if wanted.baseline else set()
    findings = judge_evidence(evidence, checks)
    fresh = [finding for finding in findings if not (_is_failure(finding) and _identity(finding) in known)]
    if len(fresh) < len(findings):
        say(f"mailprobe: {len(findings) - len(fresh)} findings of the baseline are left out")
    result = report(evidence, fresh)
    if wanted.form == "nagios":
        from mailprobe.output.nagios import nagios

        text, state = nagios(result)
        put(text)
        return int(state)
    put(_written(result, wanted))
    if wanted.explain and wanted.form == "table":
        _explain_all(fresh)
    return exit_status(fresh, Severity(wanted.fail_on))


def _written(result: Report, wanted: Wanted) -> str:
    if wanted.form == "table":
        from mailprobe.output.findings import findings as table

        text = table(result, style(), width(), verbose=wanted.verbose > 0)
        return text if wanted.verbose < 2 else f"{text}\n{_transcript(result)}"
    if wanted.form == "prometheus":
        from mailprobe.output.prometheus import findings as metrics

        return metrics(result)
    if wanted.form == "junit":
        from mailprobe.output.junit import junit

        return junit(result)
    if wanted.form == "github":
        from mailprobe.output.github import github

        return github(result)
    if wanted.form == "jsonl":
        from mailprobe.output.jsonl import findings as lines

        return lines(result)
    from mailprobe.output.json_output import findings as document

    return document(result)


def _transcript(result: Report) -> str:
    from mailprobe.output.transcript import transcript

    return transcript(result.sessions, style())


def exit_status(findings: Sequence[Finding], threshold: Severity) -> int:
    """Give 1 for a failure at or above the threshold, 3 when something of that weight is undecided, else 0."""
    weighty = [finding for finding in findings if finding.severity.rank >= threshold.rank]
    if any(_is_failure(finding) for finding in weighty):
        return FAILED
    undecided = {Verdict.UNKNOWN, Verdict.BROKEN}
    return UNDECIDED if any(finding.verdict in undecided for finding in weighty) else 0


def _is_failure(finding: Finding) -> bool:
    return finding.verdict is Verdict.FAIL


def _split(words: tuple[str, ...]) -> list[str]:
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


class _BaselineFinding(msgspec.Struct):
    check: str
    target: str
    where: str
    verdict: Verdict


class _Baseline(msgspec.Struct):
    findings: list[_BaselineFinding]


def _identity(finding: Finding | _BaselineFinding) -> tuple[str, str, str]:
    return finding.check, finding.target, finding.where


def _read_baseline(path: Path) -> set[tuple[str, str, str]]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Baseline).findings
    except OSError as error:
        raise UsageError(f"--baseline {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--baseline {path}: not what `check --format json` writes: {error}") from None
    return {_identity(finding) for finding in found if finding.verdict is Verdict.FAIL}


def card(check: Check) -> CheckCard:
    """Give what is known of a check before it runs."""
    return CheckCard(
        id=check.id,
        claim=check.claim,
        severity=check.severity,
        why=check.why,
        advice=check.advice,
        source=check.source,
        subject=check.subject.__name__.lower().replace("target", "domain"),
    )


def _explain_all(findings: Sequence[Finding]) -> None:
    from mailprobe.checks import CHECKS
    from mailprobe.output.explain import explain

    open_ones = [item.check for item in findings if item.verdict not in {Verdict.OK, Verdict.NOT_APPLICABLE}]
    for identity in dict.fromkeys(open_ones):
        put("\n" + explain(card(CHECKS[identity]), style(), width()))
