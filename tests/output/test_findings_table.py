from __future__ import annotations

from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.finding import Cause, Severity, Verdict
from mailprobe.model.view import CheckCard
from mailprobe.output.explain import explain
from mailprobe.output.findings import findings
from mailprobe.output.style import Style
from mailprobe.output.widths import plain, width_of
from tests.output.samples import assert_harmless, everything, finding, hostile, report, target, trouble

SILENT = trouble(Stage.RESOLVE, Kind.TIMEOUT)


def test_one_error_says_where_what_why_and_what_to_do() -> None:
    assert findings(report(finding("starttls-offered"), finding("ehlo-name", Verdict.OK))) == (
        "error   starttls-offered at mx.a.test [192.0.2.1]:25\n"
        "seen    the EHLO reply lists no STARTTLS\n"
        "why     Without it passwords and letters travel in clear.\n"
        "do      Set a certificate and a key, and switch TLS on.\n"
        "\n"
        "a.test: 1 error, 1 passed\n"
    )


def test_explaining_adds_the_rule_and_its_source() -> None:
    assert findings(report(finding("starttls-offered")), explain=True) == (
        "error   starttls-offered at mx.a.test [192.0.2.1]:25\n"
        "seen    the EHLO reply lists no STARTTLS\n"
        "rule    The server offers STARTTLS\n"
        "why     Without it passwords and letters travel in clear.\n"
        "do      Set a certificate and a key, and switch TLS on.\n"
        "see     RFC 3207 §4\n"
        "\n"
        "a.test: 1 error, 0 passed\n"
    )


def test_what_is_wrong_comes_first() -> None:
    lines = findings(report(*everything()), verbose=True).split("\n")
    labels = ("error", "warning", "unknown", "broken", "info", "passed", "a.test:")
    assert [line.split()[0] for line in lines if line.startswith(labels)] == list(labels)


def test_the_same_check_on_several_ports_is_one_paragraph() -> None:
    text = findings(report(*everything()))
    assert text.startswith(
        "error   starttls-offered on 3 ports: mx.a.test [192.0.2.1] 587 143, mx.a.test\n        [2001:db8::1] 143\n"
    )
    assert text.count("starttls-offered") == 1
    assert "a.test: 3 errors, 1 warning, 1 notice, 2 undecided, 1 broken, 1 passed\n" in text
    assert "passed  " not in text


def test_places_with_different_facts_are_told_apart() -> None:
    first = finding("ehlo-name", where="mx.a.test [192.0.2.1]:25", detail="says nothing", culprit="250")
    second = finding("ehlo-name", where="mx.a.test [192.0.2.1]:587", detail="says localhost")
    text = findings(report(first, second))
    assert "seen    at mx.a.test [192.0.2.1]:25: says nothing (250)\n" in text
    assert "seen    at mx.a.test [192.0.2.1]:587: says localhost\n" in text


def test_places_that_are_no_ports_are_listed() -> None:
    made = [finding("ptr-present", where=where) for where in ("192.0.2.1", "2001:db8::1")]
    assert "ptr-present in 2 places: 192.0.2.1, 2001:db8::1\n" in findings(report(*made))


def test_checks_undecided_for_one_reason_are_one_paragraph() -> None:
    text = findings(report(*everything()))
    assert (
        "unknown 2 checks at mx.a.test [192.0.2.1]:25\n"
        "seen    421 4.7.0 too many connections\n"
        "because the server limits how often we may ask (rate-limited)\n"
        "do      ask again later\n"
        "checks  tls-version, tls-cipher\n"
    ) in text


def test_explaining_tells_what_each_undecided_check_asks() -> None:
    silent = finding("a", Verdict.UNKNOWN, cause=Cause.NO_ANSWER, claim="The greeting comes")
    other = finding("b", Verdict.UNKNOWN, cause=Cause.NO_ANSWER, claim="The name is full")
    assert "rule    a: The greeting comes\nrule    b: The name is full\n" in findings(
        report(silent, other), explain=True
    )
    assert "rule    The greeting comes\n" in findings(report(silent), explain=True)


def test_a_target_that_stopped_says_so_first() -> None:
    text = findings(report(targets=(target("a.test", trouble=SILENT),)))
    assert text == "stopped no answer within our limit while resolving the name\n\na.test: 0 passed\n"


def test_what_a_finding_says_is_not_said_before_it_again() -> None:
    stopped = (target("a.test", trouble=SILENT), target("b.test", trouble=SILENT))
    for said in (finding("domain-exists"), finding("dns-complete", Verdict.UNKNOWN)):
        first, second = findings(report(said, targets=stopped)).split("a.test: ")
        assert "stopped" not in first
        assert "stopped" in second


def test_a_finding_never_hides_that_this_machine_could_not_ask() -> None:
    here = trouble(Stage.RESOLVE, Kind.LOCAL, "no address of the family asked for (-4, -6)")
    text = findings(report(finding("mx-target-cname"), targets=(target("a.test", trouble=here),)))
    assert text.startswith("stopped no host could be asked: no address of the family")


def test_passed_checks_are_one_line_each_with_what_all_agree_on() -> None:
    seven = [
        finding("certificate-expires-soon", Verdict.OK, where=f"mx.a.test [192.0.2.1]:{port}", detail="89 days left")
        for port in (25, 587, 465, 110, 995, 143, 993)
    ]
    differing = [
        finding("greeting-prompt", Verdict.OK, where=f"mx.a.test [192.0.2.1]:{port}", detail=f"after {port} ms")
        for port in (25, 587)
    ]
    single = finding("ptr-present", Verdict.OK, where="mx.a.test [192.0.2.1]", detail="PTR mx.a.test.")
    assert findings(report(*seven, *differing, single), verbose=True) == (
        "passed  certificate-expires-soon on 7 ports: 89 days left\n"
        "passed  greeting-prompt on 2 ports\n"
        "passed  ptr-present at mx.a.test [192.0.2.1]: PTR mx.a.test.\n"
        "\n"
        "a.test: 10 passed\n"
    )


def test_known_failures_are_left_out() -> None:
    text = findings(report(finding("mx-ttl", known=True), finding("ehlo-name", Verdict.OK)))
    assert text == "a.test: 1 passed\n"


def test_colour_changes_nothing_but_colour() -> None:
    made = report(*everything())
    for explain_too in (False, True):
        bare = findings(made, verbose=True, explain=explain_too)
        assert plain(findings(made, Style(colour=True), verbose=True, explain=explain_too)) == bare


def test_hostile_text_is_harmless_and_fits() -> None:
    text = findings(hostile(), verbose=True, explain=True)
    assert_harmless(text)
    assert max(map(width_of, text.split("\n"))) <= 80


def test_explain_tells_the_whole_card() -> None:
    card = CheckCard(
        id="mx-ttl",
        claim="MX records last at least five minutes",
        severity=Severity.INFO,
        why="Short ones cost every sender a question.\n\nSome forget them.",
        advice="Raise the TTL.",
        source="RFC 1912 §2.2",
        subject="domain",
    )
    assert explain(card) == (
        "mx-ttl\n"
        "  MX records last at least five minutes\n"
        "  severity info; asked of each domain\n"
        "\n"
        "why\n"
        "  Short ones cost every sender a question.\n"
        "\n"
        "  Some forget them.\n"
        "\n"
        "do\n"
        "  Raise the TTL.\n"
        "\n"
        "see\n"
        "  RFC 1912 §2.2\n"
    )
