from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as Tree

import msgspec
import pytest

from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.finding import Finding, Severity, Verdict
from mailprobe.model.view import Report
from mailprobe.output import json_output, jsonl, prometheus
from mailprobe.output.github import github
from mailprobe.output.junit import junit
from mailprobe.output.nagios import State, nagios
from mailprobe.output.rows import port_rows
from mailprobe.output.words import clean
from tests.output.samples import (
    HOSTILE,
    NOW,
    assert_harmless,
    everything,
    finding,
    hostile,
    report,
    seven,
    target,
    trouble,
)

REPORTS = [report(), report(*everything()), hostile()]

# Monitoring Plugins Development Guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = rf"(?:@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?)"
_DATUM = re.compile(
    rf"'(?P<label>(?:[^'=|]|'')+)'=(?P<value>U|{_NUMBER})(?P<unit>us|ms|s|%|B|KB|MB|TB|c)?"
    rf"(?:;(?P<warn>{_RANGE})(?:;(?P<crit>{_RANGE})(?:;(?P<min>{_NUMBER})?(?:;(?P<max>{_NUMBER})?)?)?)?)?(?: |$)"
)
_SERIES = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})?'
    r" (?P<value>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
)
_ANNOTATION = re.compile(r"::(error|warning|notice) title=[^:,\r\n]*::[^\r\n]*")


def performance_data(text: str) -> dict[str, str]:
    """Read the performance data of a plugin's first line, whole, or fail."""
    line = text.split("\n")[0].partition(" | ")[2]
    data, position = {}, 0
    while position < len(line):
        match = _DATUM.match(line, position)
        assert match is not None, line[position:]
        assert match["label"] not in data
        data[match["label"]] = match["value"] + (match["unit"] or "")
        position = match.end()
    return data


def exposition(text: str) -> dict[str, float]:
    """Read the exposition format, whole, or fail: families in one piece, announced, no series twice."""
    assert text.endswith("\n")
    series: dict[str, float] = {}
    announced: list[str] = []
    helped = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {helped} gauge"
            assert helped not in announced
            announced.append(helped)
        else:
            match = _SERIES.fullmatch(line)
            assert match is not None, line
            assert match["name"] == announced[-1]
            key = line.rpartition(" ")[0]
            assert key not in series
            series[key] = float(match["value"])
    return series


def suites(text: str) -> list[Tree.Element]:
    """Read JUnit XML and hold it to what its schemas require: attributes, children in order, true counts."""
    root = Tree.fromstring(text)
    assert (root.tag, root.attrib) == ("testsuites", {})
    for number, suite in enumerate(root):
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {
            *("name", "package", "id", "hostname", "timestamp", "tests", "failures", "errors", "skipped", "time")
        }
        assert all(value for value in suite.attrib.values())
        assert suite.attrib["id"] == str(number)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * (len(tags) - 3), "system-out", "system-err"]
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        for counted, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[counted]) == len(suite.findall(f"testcase/{tag}"))
        for case in suite.findall("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert all(case.attrib.values())
            assert len(case) <= 1
            assert all(child.tag == "skipped" or child.attrib["type"] for child in case)
    return list(root)


def test_json_carries_every_field_of_every_finding() -> None:
    document = json.loads(json_output.findings(report(*everything())))
    assert list(document) == ["mailprobe", "collected_at", "targets", "findings"]
    assert document["collected_at"] == "2026-03-01T12:00:00Z"
    assert document["targets"][0]["counts"]["errors"] == 3
    assert msgspec.convert(document["findings"], tuple[Finding, ...]) == everything()


def test_json_lines_stand_alone() -> None:
    lines = jsonl.findings(report(*everything())).splitlines()
    assert len(lines) == len(everything())
    first = json.loads(lines[0])
    assert first.pop("collected_at") == "2026-03-01T12:00:00Z"
    assert set(first) == set(Finding.__struct_fields__)


def test_rows_have_the_same_fields_in_both_json_forms() -> None:
    rows = port_rows(seven())
    assert json.loads(json_output.rows(rows)) == [json.loads(line) for line in jsonl.rows(rows).splitlines()]


@pytest.mark.parametrize("text", [json_output.findings(hostile()), jsonl.findings(hostile())])
def test_json_is_ascii_and_loses_nothing(text: str) -> None:
    assert text.isascii()
    assert_harmless(text)
    loaded: Any = json.loads(text.splitlines()[0] if text.startswith('{"') else text)
    assert (loaded["findings"][0] if "findings" in loaded else loaded)["detail"] == HOSTILE


@pytest.mark.parametrize(
    ("findings", "state"),
    [
        ([finding("a", Verdict.OK)], State.OK),
        ([finding("a", severity=Severity.INFO)], State.OK),
        ([finding("a", Verdict.UNKNOWN)], State.UNKNOWN),
        ([finding("a", Verdict.BROKEN)], State.UNKNOWN),
        ([finding("a", Verdict.UNKNOWN), finding("b", severity=Severity.WARNING)], State.WARNING),
        ([finding("a", severity=Severity.WARNING), finding("b")], State.CRITICAL),
        ([], State.UNKNOWN),
    ],
)
def test_nagios_status_is_the_worst_found(findings: list[Finding], state: State) -> None:
    text, status = nagios(report(*findings))
    assert status is state
    assert text.startswith(f"MAILPROBE {state.name} - ")
    assert text.partition(" | ")[0].endswith(" at a.test")


def test_nagios_line_is_short_and_says_what_is_wrong() -> None:
    text, status = nagios(report(*everything()))
    first, *rest = text.rstrip("\n").split("\n")
    assert status == 2
    assert first.partition(" | ")[0] == ("MAILPROBE CRITICAL - starttls-offered and 3 more: 3 errors, 1 warning ...")
    assert rest[0] == "CRITICAL: starttls-offered at mx.a.test [192.0.2.1]:587: the EHLO reply lists no STARTTLS"
    assert [line.split(":")[0] for line in rest] == ["CRITICAL"] * 3 + ["WARNING"] + ["UNKNOWN"]
    assert rest[-1] == (
        "UNKNOWN: 2 checks at mx.a.test [192.0.2.1]:25: 421 4.7.0 too many connections (rate-limited):"
        " tls-version, tls-cipher"
    )


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("a.test", "MAILPROBE CRITICAL - certificate-expired: 7 errors, 1 undecided at a.test"),
        ("a-rather-long-name.test", "MAILPROBE CRITICAL - certificate-expired: 7 errors, 1 undecided ..."),
    ],
)
def test_nagios_line_is_cut_between_words(asked: str, line: str) -> None:
    expired = [finding("certificate-expired", where=f"mx.a.test [192.0.2.1]:{port}") for port in range(1, 8)]
    minor = finding("mx-ttl", Verdict.BROKEN, severity=Severity.INFO)
    text, _ = nagios(report(*expired, minor, targets=(target(asked),)))
    assert text.partition(" | ")[0] == line


@pytest.mark.parametrize("passed", [(), (finding("ehlo-name", Verdict.OK),)])
def test_known_failures_alone_are_no_news(passed: tuple[Finding, ...]) -> None:
    made = report(finding("mx-ttl", known=True), *passed)
    text, status = nagios(made)
    assert status is State.OK
    assert text.startswith(f"MAILPROBE OK - {len(passed)} passed at a.test | ")
    for written in (text, github(made), junit(made), prometheus.findings(made)):
        assert "mx-ttl" not in written
    series = exposition(prometheus.findings(made))
    assert series['mailprobe_success{target="a.test"}'] == 1
    assert series['mailprobe_findings{target="a.test",severity="error",verdict="fail"}'] == 0


def test_json_marks_known_failures_and_counts_them_apart() -> None:
    made = report(finding("mx-ttl", known=True), finding("ehlo-name"))
    document = json.loads(json_output.findings(made))
    assert [each["known"] for each in document["findings"]] == [True, False]
    assert (document["targets"][0]["counts"]["errors"], document["targets"][0]["counts"]["known"]) == (1, 1)
    assert [json.loads(line)["known"] for line in jsonl.findings(made).splitlines()] == [True, False]


def test_nagios_performance_data_has_counts_times_and_days() -> None:
    data = performance_data(nagios(report(*everything()))[0])
    assert (data["errors"], data["warnings"], data["undecided"], data["passed"]) == ("3", "1", "3", "1")
    assert data["time 25 192.0.2.1"] == "0.021000s"
    assert data["days 995 192.0.2.1"] == "-3"
    assert "time 110 192.0.2.1" not in data


def test_nagios_labels_name_the_target_when_there_are_several() -> None:
    both = (target("a.test"), target("b.test"))
    data = performance_data(nagios(report(finding("x"), targets=both))[0])
    assert (data["a.test errors"], data["b.test errors"]) == ("1", "0")


@pytest.mark.parametrize("made", REPORTS)
def test_nagios_output_follows_the_guidelines(made: Report) -> None:
    text, status = nagios(made)
    assert 0 <= status <= 3
    assert_harmless(text)
    performance_data(text)
    assert text.count("|") == 1
    assert len(text.partition(" | ")[0]) < 80


@pytest.mark.parametrize("made", REPORTS)
def test_prometheus_text_is_valid(made: Report) -> None:
    text = prometheus.findings(made)
    exposition(text)
    assert_harmless(text)


def test_prometheus_tells_success_counts_times_and_expiry() -> None:
    series = exposition(prometheus.findings(report(*everything())))
    place = 'target="a.test",host="mx.a.test",address="192.0.2.1",port="25",service="smtp"'
    assert series['mailprobe_success{target="a.test"}'] == 0
    assert series['mailprobe_findings{target="a.test",severity="error",verdict="fail"}'] == 3
    assert series['mailprobe_findings{target="a.test",severity="warning",verdict="broken"}'] == 0
    assert series[f'mailprobe_phase_seconds{{{place},phase="greeting"}}'] == 0.02
    assert series[f'mailprobe_port_open{{{place},state="open"}}'] == 1
    expiry = f'mailprobe_certificate_not_after_timestamp_seconds{{{place},subject="mx.a.test"}}'
    assert series[expiry] == 1780056000
    assert series["mailprobe_last_run_timestamp_seconds"] == NOW.timestamp()
    listed = [key for key in series if key.startswith("mailprobe_finding{")]
    assert len(listed) == 8
    assert not any('verdict="ok"' in key for key in listed)


def test_prometheus_never_calls_silence_success() -> None:
    stopped = target("a.test", trouble=trouble(Stage.RESOLVE, Kind.TIMEOUT))
    passed = finding("a", Verdict.OK)
    for made, success in (
        (report(passed), 1),
        (report(passed, finding("b", Verdict.UNKNOWN)), 0),
        (report(passed, targets=(stopped,)), 0),
        (report(), 0),
    ):
        assert exposition(prometheus.findings(made))['mailprobe_success{target="a.test"}'] == success


def test_prometheus_writes_a_series_once_when_findings_repeat() -> None:
    exposition(prometheus.findings(report(finding("a"), finding("a"), sessions=(*seven(), *seven()))))


def test_prometheus_of_ports_does_not_judge() -> None:
    series = exposition(prometheus.ports("0.1.0", NOW, seven()))
    assert not any(key.startswith(("mailprobe_finding", "mailprobe_success")) for key in series)


@pytest.mark.parametrize("made", REPORTS)
def test_junit_is_valid(made: Report) -> None:
    suites(junit(made))
    assert_harmless(junit(made))


def test_junit_has_a_case_per_finding() -> None:
    (suite,) = suites(junit(report(*everything())))
    outcomes = [(case.attrib["name"], [child.tag for child in case]) for case in suite.findall("testcase")]
    assert outcomes == [
        ("ehlo-name", []),
        ("pop3-apop", ["failure"]),
        *[("starttls-offered", ["failure"])] * 3,
        ("tls-version", ["error"]),
        ("tls-cipher", ["error"]),
        ("ptr-present", ["failure"]),
        ("imap-preauth", ["skipped"]),
        ("mx-ttl", ["error"]),
    ]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib == {"type": "info", "message": "an APOP stamp is sent"}
    assert "see: RFC 3207 §4" in (failure.text or "")


def test_junit_skips_what_is_undecided_and_minor() -> None:
    (suite,) = suites(junit(report(finding("a", Verdict.UNKNOWN, severity=Severity.WARNING))))
    assert suite.attrib["skipped"] == "1"


def test_junit_keeps_hostile_text_readable() -> None:
    (suite,) = suites(junit(hostile()))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == clean(HOSTILE)


@pytest.mark.parametrize("made", REPORTS)
def test_github_commands_are_well_formed(made: Report) -> None:
    text = github(made)
    assert_harmless(text)
    for line in text[:-1].split("\n"):
        assert _ANNOTATION.fullmatch(line) or line.startswith("mailprobe: ")


def test_github_escapes_what_its_format_reserves() -> None:
    lines = github(report(finding("starttls-offered", detail="100% of 5:\nno"), finding("x", Verdict.OK))).split("\n")
    assert lines[0] == (
        "::error title=starttls-offered at mx.a.test [192.0.2.1]%3A25::100%25 of 5:\\x0ano"
        "%0ASet a certificate and a key, and switch TLS on."
    )
    assert lines[1] == "mailprobe: a.test: 1 error, 1 passed"


def test_github_warns_of_what_is_undecided() -> None:
    text = github(report(finding("tls-version", Verdict.UNKNOWN)))
    assert text.startswith("::warning title=tls-version (unknown) at ")
