"""What the commands print and how they exit, against the lab."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mailprobe.checks import CHECKS
from mailprobe.lab.world import SCENARIOS
from tests.installed import COMMAND, environment, mailprobe


def test_mx_lists_exchangers_by_preference_with_addresses() -> None:
    done = mailprobe("mx", "--lab", "pens.ac.id", "google.com")
    assert done.returncode == 0
    places = [done.stdout.index(name) for name in ("pmg2.pens", "mail.pens", "pmg.pens", "smtp.google.com")]
    assert places == sorted(places)
    assert done.stdout.count("127.53.") >= 4


def test_mx_in_the_form_of_nslookup() -> None:
    done = mailprobe("mx", "--lab", "--format", "nslookup", "pens.ac.id")
    found = re.findall(r"^pens\.ac\.id\tmail exchanger = (\d+) (\S+)\.$", done.stdout, re.MULTILINE)
    assert found == [("10", "pmg2.pens.ac.id"), ("20", "mail.pens.ac.id"), ("30", "pmg.pens.ac.id")]
    assert done.stdout.startswith("Server:\t\t127.53.0.53\n")


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("mx-null", 0, "takes no mail"),
        ("mx-implicit", 0, "implicit MX"),
        ("mx-none-no-address", 1, "cannot be delivered"),
        ("mx-target-cname", 0, "CNAME"),
        ("mx-target-nxdomain", 1, "does not exist"),
        ("dns-servfail", 3, "SERVFAIL"),
        ("dns-refused", 3, "REFUSED"),
        ("dns-timeout", 3, "timeout"),
        ("dns-bogus", 3, "DNSSEC validation fails"),
    ],
)
def test_mx_says_what_is_wrong_and_exits_accordingly(name: str, status: int, words: str) -> None:
    assert name in {scenario.name for scenario in SCENARIOS}
    done = mailprobe("mx", "--lab", "--timeout", "3", f"{name}.lab.test")
    assert done.returncode == status, done.stdout
    assert words in " ".join(done.stdout.split())


def test_mx_looks_up_other_types() -> None:
    done = mailprobe("mx", "--lab", "--type", "A", "--format", "jsonl", "good.lab.test")
    row = json.loads(done.stdout)
    assert row["records"][0]["data"].startswith("127.53.")


def test_mx_over_an_event_loop_gives_the_same_records() -> None:
    """TLS resolvers need the loop; the lab's resolver through MAILPROBE_LAB is asked on both ways by other tests."""
    script = (
        "import asyncio; from mailprobe.lab.world import Lab; from mailprobe.net.network import *; "
        "from mailprobe.net.labs import inside; from mailprobe.collect.lookups import roads\n"
        "with Lab() as lab:\n"
        "    one = run_blocking(roads(Network(inside(Reach(), lab)), ['pens.ac.id']))[0]\n"
        "    two = asyncio.run(roads(Network(inside(Reach(), lab)), ['pens.ac.id']))[0]\n"
        "    assert one.domain.mx.records == two.domain.mx.records\n"
        "    assert [h.addresses for h in one.hosts] == [h.addresses for h in two.hosts]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_ports_has_a_row_for_each_of_the_seven() -> None:
    done = mailprobe("ports", "--lab", "--format", "json", "good.lab.test")
    rows = json.loads(done.stdout)
    assert {(row["port"], row["security"]) for row in rows} == {
        *((port, "STARTTLS") for port in (25, 587, 110, 143)),
        *((port, "TLS") for port in (465, 995, 993)),
    }
    assert {row["certificate"]["verdict"] for row in rows} == {"ok"}
    assert all(row["ms"] > 0 for row in rows)


def test_ports_names_what_speaks_on_a_port_of_no_known_service() -> None:
    found = json.loads(mailprobe("lab", "run", "--", "sh", "-c", 'cat "$MAILPROBE_LAB"').stdout)["ports"]
    assert "127.53.1.1:25" in found
    done = mailprobe(
        "lab", "run", "--", COMMAND, "ports", "--format", "json", "--ports", "143:unknown", "good.lab.test"
    )
    (row,) = json.loads(done.stdout)
    assert (row["speaks"], row["security"]) == ("imap", "STARTTLS")


def test_ports_shows_the_conversation_word_by_word() -> None:
    done = mailprobe("ports", "--lab", "--ports", "25", "-v", "good.lab.test")
    lines = [line.split("(")[0].strip() for line in done.stdout.splitlines()]
    assert "->   STARTTLS" in lines
    assert lines.index("->   STARTTLS") < next(n for n, line in enumerate(lines) if line.startswith("<~   250"))


def test_check_of_a_healthy_domain_is_silent_and_zero() -> None:
    done = mailprobe("check", "--lab", "good.lab.test")
    assert done.returncode == 0
    assert re.fullmatch(r"good\.lab\.test: \d+ passed\n", done.stdout)


def test_check_says_what_is_wrong_first_and_what_to_do() -> None:
    done = mailprobe("check", "--lab", "certificate-expired.lab.test")
    assert done.returncode == 1
    assert done.stdout.startswith("error   certificate-expired on 7 ports")
    for label in ("seen", "why", "do"):
        assert re.search(rf"^{label} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["greeting-421", "dns-servfail"])
def test_what_cannot_be_decided_exits_with_3(name: str) -> None:
    done = mailprobe("check", "--lab", f"{name}.lab.test")
    assert done.returncode == 3
    assert "undecided" in done.stdout
    assert "error " not in done.stdout


def test_warnings_fail_only_when_asked_to() -> None:
    target = "ptr-missing.lab.test"
    assert mailprobe("check", "--lab", target).returncode == 0
    assert mailprobe("check", "--lab", "--fail-on", "warning", target).returncode == 1


def test_only_and_skip_take_ids_and_topics() -> None:
    target = "certificate-expired.lab.test"
    assert mailprobe("check", "--lab", "--skip", "certificate", target).returncode == 0
    done = mailprobe("check", "--lab", "--only", "certificate-expired,mx", "--format", "jsonl", target)
    checks = {json.loads(line)["check"] for line in done.stdout.splitlines() if '"check"' in line}
    assert "certificate-expired" in checks
    assert all(check == "certificate-expired" or check.startswith("mx-") for check in checks)


def test_baseline_leaves_out_what_was_known_and_can_be_chained(tmp_path: Path) -> None:
    target = "certificate-expired.lab.test"
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    before = mailprobe("check", "--lab", "--format", "json", target)
    assert before.returncode == 1
    first.write_text(before.stdout)
    after = mailprobe("check", "--lab", "--format", "json", "--baseline", str(first), target)
    assert after.returncode == 0
    assert "7 findings of the baseline are left out" in after.stderr
    second.write_text(after.stdout)
    last = mailprobe("check", "--lab", "--baseline", str(second), target)
    assert last.returncode == 0
    assert "certificate-expired" not in last.stdout.replace(target, "")
    other = mailprobe("check", "--lab", "--baseline", str(first), "tls10-only.lab.test")
    assert other.returncode == 1


def test_explain_adds_the_rule_and_its_source() -> None:
    asked = ("check", "--lab", "--only", "certificate-expired", "certificate-expired.lab.test")
    assert "RFC 5280" not in mailprobe(*asked).stdout
    told = mailprobe(*asked, "--explain").stdout
    assert "The certificate has not expired" in told
    assert "RFC 5280 §4.1.2.5" in told


def test_undecided_can_be_let_pass_and_a_finding_cannot() -> None:
    assert mailprobe("check", "--lab", "--undecided-ok", "greeting-421.lab.test").returncode == 0
    assert mailprobe("check", "--lab", "--undecided-ok", "certificate-expired.lab.test").returncode == 1


def test_a_family_that_is_not_asked_for_is_no_fault_of_the_domain() -> None:
    done = mailprobe("check", "--lab", "-6", "--only", "mx", "good.lab.test")
    assert done.returncode == 0, done.stdout


def test_the_same_target_twice_is_asked_once() -> None:
    done = mailprobe("check", "--lab", "good.lab.test", "good.lab.test")
    assert done.stdout.count("good.lab.test: ") == 1


def test_ports_never_calls_plain_what_it_did_not_see() -> None:
    done = mailprobe("ports", "--lab", "--ports", "25", "--format", "json", "greeting-421.lab.test")
    assert json.loads(done.stdout)[0]["security"] is None


def test_a_host_without_address_is_in_the_json() -> None:
    done = mailprobe("ports", "--lab", "--format", "json", "nosuch.lab.test")
    (row,) = json.loads(done.stdout)
    assert row["state"] == "unresolved"
    assert "NXDOMAIN" in row["notes"][0]


def test_collect_then_judge_equals_check() -> None:
    evidence = mailprobe("collect", "--lab", "certificate-expired.lab.test")
    assert evidence.returncode == 0
    for form in ("table", "json", "junit", "nagios", "prometheus", "github"):
        judged = [mailprobe("judge", "--format", form, "-", given=evidence.stdout) for _ in range(2)]
        assert judged[0].stdout == judged[1].stdout
        assert judged[0].returncode == judged[1].returncode != 0
    checked = mailprobe("check", "--lab", "--format", "json", "certificate-expired.lab.test")
    judged_json = mailprobe("judge", "--format", "json", "-", given=evidence.stdout)
    assert verdicts(checked.stdout) == verdicts(judged_json.stdout)


def verdicts(document: str) -> list[tuple[str, str, str]]:
    return [(item["check"], item["where"], item["verdict"]) for item in json.loads(document)["findings"]]


def test_junit_counts_what_failed() -> None:
    done = mailprobe("check", "--lab", "--format", "junit", "certificate-expired.lab.test")
    root = ElementTree.fromstring(done.stdout)
    assert len(root.findall(".//failure")) == 7


def test_nagios_gives_plugin_statuses() -> None:
    for name, status, word in [
        ("good", 0, "OK"),
        ("ptr-missing", 1, "WARNING"),
        ("certificate-expired", 2, "CRITICAL"),
        ("greeting-421", 3, "UNKNOWN"),
    ]:
        done = mailprobe("check", "--lab", "--format", "nagios", f"{name}.lab.test")
        assert (done.returncode, done.stdout.split(" - ")[0]) == (status, f"MAILPROBE {word}")


def test_lab_may_stand_before_the_command() -> None:
    assert mailprobe("--lab", "check", "good.lab.test").returncode == 0


def test_several_targets_are_each_told_of() -> None:
    done = mailprobe("check", "--lab", "good.lab.test", "certificate-expired.lab.test")
    assert done.returncode == 1
    assert "good.lab.test: " in done.stdout
    assert "certificate-expired.lab.test: 7 errors" in done.stdout


def test_explain_knows_every_check() -> None:
    listed = mailprobe("explain").stdout
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == list(CHECKS)
    done = mailprobe("explain", "starttls-works")
    assert done.returncode == 0
    assert "RFC 3207" in done.stdout


def test_lab_list_as_json_has_what_programs_need() -> None:
    entries = json.loads(mailprobe("lab", "list", "--format", "json").stdout)
    assert len(entries) >= 90
    for entry in entries:
        assert {"name", "check", "verdict", "twin", "wrong"} <= set(entry)


def test_lab_run_gives_the_status_of_the_command() -> None:
    assert mailprobe("lab", "run", "--", "sh", "-c", "exit 7").returncode == 7
    done = mailprobe("lab", "run", "--", COMMAND, "check", "good.lab.test")
    assert done.returncode == 0


def test_help_fits_and_names_every_command() -> None:
    done = mailprobe("--help")
    assert done.returncode == 0
    for command in ("mx", "ports", "check", "collect", "judge", "explain", "lab"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
        assert mailprobe(command, "--help").returncode == 0


def on_terminal(*arguments: str, **variables: str) -> str:
    """Run on a terminal of its own and give what it shows."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [COMMAND, *arguments], env=environment({"TERM": "xterm", **variables}), stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux tells that the other side is closed
                break
            if not part:
                break
            shown += part
        process.wait(timeout=60)
    os.close(leader)
    return shown.decode()


def test_colour_is_for_terminals_only_and_can_be_declined() -> None:
    target = "certificate-expired.lab.test"
    assert "\x1b[" in on_terminal("check", "--lab", target)
    assert "\x1b[" not in on_terminal("check", "--lab", target, NO_COLOR="1")
    assert "\x1b[" not in mailprobe("check", "--lab", target).stdout


def test_a_person_is_told_what_a_long_run_waits_for() -> None:
    silent = ("ports", "--lab", "--ports", "25", "--timeout", "4", "greeting-silence.lab.test")
    assert re.search(r"\d s, waiting for 127\.53\.\d+\.\d+:25", on_terminal(*silent))
    assert "waiting for" not in mailprobe(*silent).stderr


def test_hostile_words_never_reach_the_terminal() -> None:
    for name in ("greeting-escapes", "certificate-escapes"):
        assert name in {scenario.name for scenario in SCENARIOS}
        for form in ("table", "json", "nagios", "github", "prometheus", "junit"):
            shown = mailprobe("check", "--lab", "-vv", "--format", form, f"{name}.lab.test").stdout
            assert "\x1b" not in shown
            assert "\x07" not in shown
