"""Metrics in the Prometheus text exposition format 0.0.4, for the node exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from mailprobe.model.evidence import Target
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report, SessionView, reachability
from mailprobe.output.counts import news, of_target, open_question
from mailprobe.output.words import clean

Sample = tuple[Mapping[str, str], float]


def findings(report: Report) -> str:
    """Write what was found and how long it took.

    Passed checks are counted and not listed: a series for each would cost the database more than it tells.
    """
    listed = [each for each in news(report) if each.verdict is Verdict.FAIL or open_question(each)]
    families = [
        family(
            "mailprobe_success",
            "1 when every check of severity error passed or did not apply, else 0.",
            [({"target": target.asked}, float(_succeeded(target, report))) for target in report.targets],
        ),
        family(
            "mailprobe_findings",
            "How many checks ended with this verdict.",
            [sample for target in report.targets for sample in _counted(report, target.asked)],
        ),
        family(
            "mailprobe_finding",
            "1 for each check that failed, broke or could not be decided.",
            [(_labels(finding), 1.0) for finding in listed],
        ),
    ]
    return "".join(families) + _run(report.mailprobe, report.collected_at, report.sessions)


def ports(mailprobe: str, collected_at: datetime, sessions: Sequence[SessionView]) -> str:
    """Write what was seen of ports without judging it."""
    return _run(mailprobe, collected_at, sessions)


def _run(mailprobe: str, collected_at: datetime, sessions: Sequence[SessionView]) -> str:
    return "".join(
        [
            family(
                "mailprobe_port_open",
                "1 when the port took the connection; the state says how it declined otherwise.",
                [({**_place(view), "state": reachability(view.session)}, _is_open(view)) for view in sessions],
            ),
            family(
                "mailprobe_phase_seconds",
                "How long each phase of the conversation took.",
                [
                    ({**_place(view), "phase": phase}, ms / 1000)
                    for view in sessions
                    for phase, ms in view.session.timings.items()
                ],
            ),
            family(
                "mailprobe_certificate_not_after_timestamp_seconds",
                "When the server's certificate expires, in seconds since 1970.",
                _expiries(sessions),
            ),
            family("mailprobe_build_info", "The version that wrote this.", [({"version": mailprobe}, 1.0)]),
            family(
                "mailprobe_last_run_timestamp_seconds",
                "When the evidence was collected, in seconds since 1970.",
                [({}, collected_at.timestamp())],
            ),
        ]
    )


def _succeeded(target: Target, report: Report) -> bool:
    decisive = [each for each in of_target(report, target.asked) if each.severity is Severity.ERROR]
    checked = any(each.target == target.asked for each in report.findings)
    if target.trouble or not checked:
        return False
    return not any(each.verdict is Verdict.FAIL or open_question(each) for each in decisive)


def _counted(report: Report, asked: str) -> list[Sample]:
    """Count every pair of severity and verdict, zeros too, so that no series comes and goes."""
    found = of_target(report, asked)
    return [
        (
            {"target": asked, "severity": severity.value, "verdict": verdict.value},
            float(sum(each.severity is severity and each.verdict is verdict for each in found)),
        )
        for severity in Severity
        for verdict in Verdict
    ]


def _labels(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "target": finding.target,
        "where": finding.where,
        "severity": finding.severity.value,
        "verdict": finding.verdict.value,
    }


def _place(view: SessionView) -> dict[str, str]:
    session = view.session
    return {
        "target": view.target,
        "host": session.host,
        "address": session.address,
        "port": str(session.port),
        "service": session.service,
    }


def _is_open(view: SessionView) -> float:
    return float(reachability(view.session) == "open")


def _expiries(sessions: Iterable[SessionView]) -> list[Sample]:
    return [
        ({**_place(view), "subject": view.certificate.subject}, view.certificate.not_after.timestamp())
        for view in sessions
        if view.certificate and view.certificate.not_after
    ]


def family(name: str, text: str, samples: Sequence[Sample]) -> str:
    """Write one metric; of samples with the same labels the first stands, since twice is an error."""
    lines: dict[str, str] = {}
    for labels, value in samples:
        written = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        series = f"{name}{{{written}}}" if written else name
        lines.setdefault(series, f"{series} {_number(value)}\n")
    if not lines:
        return ""
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n" + "".join(lines.values())


def _escaped(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))
