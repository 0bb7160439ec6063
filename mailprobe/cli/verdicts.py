"""From evidence to what the user sees and to the exit status; `check` and `judge` share it, so they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mailprobe.cli.files import EVIDENCE_LIMIT, read
from mailprobe.cli.options import choice, format_option, put, say, style, width
from mailprobe.cli.status import FAILED, UNDECIDED
from mailprobe.cli.views import report
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Evidence
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import CheckCard, Report

if TYPE_CHECKING:
    from mailprobe.checks.registry import Check

Command = TypeVar("Command", bound=Callable[..., Any])


class Wanted(msgspec.Struct, frozen=True):
    """How the user wants to be told: form, choice of checks, and what makes the run fail."""

    form: str
    only: tuple[str, ...]
    skip: tuple[str, ...]
    fail_on: str
    baseline: Path | None
    explain: bool
    undecided_ok: bool
    verbose: int


_OPTIONS = (
    format_option("table", "json", "jsonl", "nagios", "prometheus", "junit", "github"),
    click.option(
        "--only", multiple=True, metavar="CHECK", help="Run only these checks or topics, separated by commas."
    ),
    click.option(
        "--skip", multiple=True, metavar="CHECK", help="Leave out these checks or topics, separated by commas."
    ),
    click.option(
        "--fail-on",
        type=choice(Severity),
        default=Severity.ERROR.value,
        help="Lowest severity that makes the exit status 1 (default error).",
    ),
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Leave out what failed already in this earlier run (--format json).",
    ),
    click.option("--explain", is_flag=True, help="Add the rule and its source to every finding."),
    click.option("--undecided-ok", is_flag=True, help="Exit with 0 instead of 3 when something could not be decided."),
    click.option("-v", "--verbose", count=True, help="Show the checks that passed; twice: the conversations as well."),
)


def judging_options(command: Command) -> Command:
    """Add the options of commands that judge."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_wishes(wanted: Wanted) -> None:
    """Find out what cannot be before anything is asked, so that nobody waits for servers only to be told.

    Raises:
        UsageError: an unknown check, no check left, or a baseline that cannot be read.
    """
    if wanted.only or wanted.skip:
        _chosen(wanted)
    if wanted.baseline:
        _read_baseline(wanted.baseline)


def deliver(evidence: Evidence, wanted: Wanted) -> int:
    """Judge, write the findings to stdout, and give the exit status.

    Raises:
        UsageError: as `check_wishes`.
    """
    # The checks are imported while the servers are waited for, not before: see `mailprobe.cli.meanwhile`.
    from mailprobe.checks.judge import judge as judge_evidence

    findings = judge_evidence(evidence, _chosen(wanted))
    if wanted.baseline:
        findings = _marked(findings, _read_baseline(wanted.baseline))
    result = report(evidence, findings)
    if wanted.form == "nagios":
        from mailprobe.output.nagios import nagios

        text, state = nagios(result)
        put(text)
        return int(state)
    put(_written(result, wanted))
    status = exit_status(findings, Severity(wanted.fail_on))
    return 0 if status == UNDECIDED and wanted.undecided_ok else status


def _chosen(wanted: Wanted) -> list[Check]:
    from mailprobe.checks.judge import choose

    checks = choose(_split("--only", wanted.only), _split("--skip", wanted.skip))
    if not checks:
        raise UsageError("--only and --skip together leave no check to run")
    return checks


def _marked(findings: Sequence[Finding], known: set[tuple[str, str, str]]) -> list[Finding]:
    """Mark what failed in the baseline already."""
    marked = [
        msgspec.structs.replace(finding, known=_is_failure(finding) and _identity(finding) in known)
        for finding in findings
    ]
    count = sum(finding.known for finding in marked)
    if count:
        say(f"mailprobe: {count} findings of the baseline are left out")
    return marked


def _written(result: Report, wanted: Wanted) -> str:
    if wanted.form == "table":
        from mailprobe.output.findings import findings as table

        text = table(result, style(), width(), verbose=wanted.verbose > 0, explain=wanted.explain)
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
    weighty = [item for item in findings if item.severity.rank >= threshold.rank and not item.known]
    if any(_is_failure(finding) for finding in weighty):
        return FAILED
    undecided = {Verdict.UNKNOWN, Verdict.BROKEN}
    return UNDECIDED if any(finding.verdict in undecided for finding in weighty) else 0


def _is_failure(finding: Finding) -> bool:
    return finding.verdict is Verdict.FAIL


def _split(option: str, words: tuple[str, ...]) -> list[str]:
    parts = [part.strip() for word in words for part in word.split(",")]
    if "" in parts:
        raise UsageError(f"{option} {','.join(words)!r} names no check; leave the option out to run all of them")
    return parts


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
        found = msgspec.json.decode(read(str(path), "--baseline", EVIDENCE_LIMIT, pipes=True), type=_Baseline).findings
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
