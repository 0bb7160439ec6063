"""JUnit XML: a suite per target, a case per finding.

There is no one standard. This is valid by the two schemas that tools test against, that of Ant's JUnitReport
(which wants properties, package, id, hostname and both system streams) and that of Jenkins' xUnit plugin.
"""

from __future__ import annotations

from datetime import UTC
from xml.etree import ElementTree as Tree

from mailprobe.model.evidence import Target
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output.counts import count, of_target, open_question
from mailprobe.output.words import because, clean, in_trouble


def junit(report: Report) -> str:
    """Write a failed check as failure, a broken one or an undecided one of severity error as error.

    Undecided checks of lesser severity, and those that do not apply, are skipped.
    """
    root = Tree.Element("testsuites")
    for number, target in enumerate(report.targets):
        root.append(_suite(report, target, number))
    Tree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Tree.tostring(root, encoding="unicode")}\n'


def _suite(report: Report, target: Target, number: int) -> Tree.Element:
    found = of_target(report, target.asked)
    suite = Tree.Element("testsuite")
    properties = Tree.SubElement(suite, "properties")
    Tree.SubElement(properties, "property", name="mailprobe", value=clean(report.mailprobe))
    if target.trouble:
        suite.append(_stopped(target))
    suite.extend(_case(finding) for finding in found)
    Tree.SubElement(suite, "system-out").text = f"{clean(target.asked)}: {count(found).sentence()}"
    Tree.SubElement(suite, "system-err")
    name = _token(target.asked)
    suite.attrib.update(
        name=name,
        package="mailprobe",
        id=f"{number}",
        hostname=name,
        timestamp=report.collected_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        tests=f"{len(suite.findall('testcase'))}",
        failures=f"{len(suite.findall('testcase/failure'))}",
        errors=f"{len(suite.findall('testcase/error'))}",
        skipped=f"{len(suite.findall('testcase/skipped'))}",
        time="0",
    )
    return suite


def _stopped(target: Target) -> Tree.Element:
    case = Tree.Element("testcase", name="collect", classname=_token(target.asked), time="0")
    said = in_trouble(target.trouble) if target.trouble else ""
    Tree.SubElement(case, "error", type="stopped", message=said).text = said
    return case


def _case(finding: Finding) -> Tree.Element:
    case = Tree.Element("testcase", name=_token(finding.check), classname=_token(finding.where), time="0")
    message = clean(finding.detail or finding.claim)
    if finding.cause:
        message += f" ({finding.cause.value}: {because(finding.cause)})"
    if finding.verdict is Verdict.FAIL:
        Tree.SubElement(case, "failure", type=finding.severity.value, message=message).text = _body(finding)
    elif finding.verdict is Verdict.BROKEN or (open_question(finding) and finding.severity is Severity.ERROR):
        Tree.SubElement(case, "error", type=finding.verdict.value, message=message).text = _body(finding)
    elif finding.verdict is not Verdict.OK:
        Tree.SubElement(case, "skipped", message=f"{finding.verdict.value}: {message}")
    return case


def _body(finding: Finding) -> str:
    facts = {
        "where": clean(finding.where),
        "seen": clean(finding.detail),
        "culprit": clean(finding.culprit),
        "rule": _prose(finding.claim),
        "why": _prose(finding.why),
        "do": _prose(finding.advice),
        "see": finding.source,
    }
    return "\n".join(f"{label}: {text}" for label, text in facts.items() if text)


def _prose(text: str) -> str:
    return clean(" ".join(text.split()))


def _token(text: str) -> str:
    """Make an xs:token of at least one character."""
    return " ".join(clean(text).split()) or "-"
