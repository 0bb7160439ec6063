"""`mailprobe trip`, as a user runs it, against the lab."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mailprobe.lab.post.control import Order, ring
from mailprobe.lab.world import Lab
from mailprobe.model.road import Part
from mailprobe.output.road import PARTS
from tests.installed import COMMAND, LIMIT_S, environment, mailprobe
from tests.output.test_machine_formats import exposition, performance_data

ALICE, BOB = "alice@sender.lab.test", "bob@receiver.lab.test"
STEPS = (
    "1 user agent hands over",
    "2 waits in the spool",
    "3 alias expander",
    "4 MTA client takes it",
    "5 crosses the network",
    "6 alias expander finds the target",
    "7 stored in the mailbox",
    "8 user agent reads it",
)


def steps(text: str) -> list[str]:
    """Give the number and the words of each step that a timeline shows, each once."""
    found = re.findall(r"^([1-8])  \d\d:\d\d:\d\d\.\d{3} +\+\S+ \w+ +\S+\.test +(.+)$", text, re.MULTILINE)
    return list(dict.fromkeys(f"{number} {words}" for number, words in found))


def times(text: str) -> list[str]:
    """Give the lines of a timeline that tell of an event."""
    return re.findall(r"^[1-8-]  \d\d:\d\d:\d\d\.\d{3}.+$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab that runs elsewhere, as seen from the command."""
    folder = tmp_path_factory.mktemp("lab")
    with Lab(directory=folder / "mail") as lab:
        lab.lab_file().write(folder / "lab.json")
        yield folder / "lab.json"


def test_the_eight_steps_are_shown_with_their_times_and_then_the_verdict() -> None:
    done = mailprobe("trip", "--lab")
    assert done.returncode == 0, done.stderr
    assert set(STEPS) <= set(steps(done.stdout))
    assert f"{ALICE} to {BOB}," in done.stdout
    assert re.search(r"^  1  +\S+ +mx\.sender\.lab\.test +ESMTPSA +yes", done.stdout, re.MULTILINE)
    assert re.search(r"^  2  +mx\.sender\S* +mx\.receiver\.lab\.test +ESMTPS +yes", done.stdout, re.MULTILINE)
    assert re.search(rf"^{ALICE} to {BOB}: \d+ passed$", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("part", "reached", "waits"),
    [
        (Part.PICKUP, 2, "waits in the spool at sender.lab.test"),
        (Part.EXPANDER, 2, "waits in the queue (incoming) at sender.lab.test"),
        (Part.CLIENT, 3, "at sender.lab.test"),
        (Part.SERVER, 4, "waits in the queue (deferred) at sender.lab.test"),
        (Part.MAILBOX, 6, "at receiver.lab.test"),
        (Part.READER, 7, "mail/bob/new/"),
    ],
)
def test_a_part_that_stands_still_has_the_letter_waiting_and_then_lets_it_go(
    part: Part, reached: int, waits: str
) -> None:
    done = mailprobe("trip", "--lab", "--pause", part.value)
    assert done.returncode == 0, done.stdout + done.stderr
    standing, _, gone = done.stdout.partition(f"\n\N{EM DASH} {PARTS[part]} goes on \N{EM DASH}\n")
    assert standing.startswith(f"\N{EM DASH} {PARTS[part]} is paused; the letter waits: \N{EM DASH}\n")
    assert "Press Enter" not in standing
    assert max(int(step[0]) for step in steps(standing)) == reached
    shown = " ".join(done.stdout.split())
    assert waits in shown
    assert re.search(r"since \d\d:\d\d:\d\d UTC", shown)
    assert set(STEPS) <= {*steps(standing), *steps(gone)}
    assert min(int(step[0]) for step in steps(gone)) > 1
    assert not set(times(standing)).intersection(times(gone))
    assert "found   in INBOX" in gone
    assert re.search(r" after \d(\.\d)? s; unchanged", gone)


def test_a_pause_makes_nothing_late() -> None:
    done = mailprobe("trip", "--lab", "--pause", "server", "--crit", "0.01", "--warn", "0.01", "--format", "json")
    assert done.returncode == 0, done.stdout
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    for check in ("trip-quick", "trip-not-late"):
        assert (found[check]["verdict"], found[check]["detail"]) == ("not-applicable", "not judged: paused on purpose")


def test_a_pause_at_a_site_that_the_letter_does_not_come_to_holds_nothing_up() -> None:
    done = mailprobe("trip", "--lab", "--pause", "server@sender.lab.test")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("\N{EM DASH} the MTA server is paused; the letter is not held up by that: ")


def test_a_person_at_a_terminal_says_when_a_part_goes_on() -> None:
    terminal, inside = pty.openpty()
    run = [COMMAND, "trip", "--lab", "--pause", "pickup"]
    with subprocess.Popen(run, stdin=inside, stdout=inside, stderr=inside, env=environment()) as command:
        os.close(inside)
        seen = until(terminal, "Press Enter to let it go on")
        (file,) = re.findall(r"/\S+/maildrop/\w+", "".join(seen.split("since")[-1].split()).replace("Press", " "))
        assert b"\r\nSubject: mailprobe trip " in Path(file).read_bytes()
        os.write(terminal, b"\n")
        seen = until(terminal, "passed")
        os.close(terminal)
        assert command.wait(LIMIT_S) == 0
    assert "the pickup goes on" in seen
    assert "waiting for" not in seen


def test_ctrl_c_ends_the_wait_for_a_person() -> None:
    terminal, inside = pty.openpty()
    run = [COMMAND, "trip", "--lab", "--pause", "pickup"]
    with subprocess.Popen(run, stdin=inside, stdout=inside, stderr=inside, env=environment()) as command:
        os.close(inside)
        until(terminal, "Press Enter to let it go on")
        command.send_signal(signal.SIGINT)
        assert "interrupted" in until(terminal, "interrupted")
        os.close(terminal)
        assert command.wait(LIMIT_S) == 130


def until(terminal: int, words: str) -> str:
    """Read from a terminal until these words have come, or its end."""
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells of a terminal's end
        while words.encode() not in seen and (octets := os.read(terminal, 65_536)):
            seen += octets
    return seen.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("flow-good",), 0, "bob@flow-good.lab.test: 11 passed"),
        (("flow-alias-loop",), 1, "The report says why (550 5.4.6 alias loop: team -> friends -> team)"),
        (("FLOW-alias-one-to-many.lab.test",), 0, "team@flow-alias-one-to-many.lab.test: 11 passed"),
        (("flow-late", "--crit", "10m"), 0, "1 warning"),
        (("flow-queue-deferred", "--wait", "1s"), 1, "accepted, never arrived"),
        (("flow-greylisting",), 0, "took 300 s; the limit is 95 s"),
    ],
)
def test_a_scenario_stands_for_its_addresses_and_options(words: tuple[str, ...], status: int, said: str) -> None:
    done = mailprobe("trip", "--lab", *words)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in " ".join(done.stdout.split())


def test_a_scenario_can_be_seen_in_a_lab_that_runs_elsewhere(lab_file: Path) -> None:
    done = mailprobe("trip", "flow-alias-nested", env={"MAILPROBE_LAB": str(lab_file)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_paused_in_a_lab_elsewhere_is_told_with_how_it_goes_on(lab_file: Path) -> None:
    directory = lab_file.parent / "mail"
    ring(directory, Order("pause", part="pickup", site="sender.lab.test"))
    try:
        done = mailprobe("trip", "--wait", "1s", env={"MAILPROBE_LAB": str(lab_file)})
    finally:
        ring(directory, Order("resume", part="pickup", site="sender.lab.test"))
    assert done.returncode == 1
    hint = "`mailprobe lab resume pickup sender.lab.test` lets it go on"
    assert done.stderr == f"mailprobe: the pickup at sender.lab.test is paused; {hint}\n"
    assert "waits in the spool at sender.lab.test: the pickup is paused" in " ".join(done.stdout.split())


def test_a_reader_that_is_paused_in_a_lab_elsewhere_limits_nobody(lab_file: Path) -> None:
    directory = lab_file.parent / "mail"
    ring(directory, Order("pause", part="reader", site="receiver.lab.test"))
    try:
        done = mailprobe("trip", "--wait", "1s", env={"MAILPROBE_LAB": str(lab_file)})
    finally:
        ring(directory, Order("resume", part="reader", site="receiver.lab.test"))
    assert done.returncode == 3
    assert "mailprobe lab resume reader receiver.lab.test" in done.stderr
    assert "[UNAVAILABLE]" in done.stdout
    assert "rate-limited" not in done.stdout


def test_a_part_can_be_paused_at_the_other_site() -> None:
    done = mailprobe("trip", "--lab", "--pause", "expander@receiver.lab.test")
    assert done.returncode == 0, done.stdout
    assert max(int(step[0]) for step in steps(done.stdout.split("\nsince ")[0])) == 5


@pytest.mark.parametrize(
    ("words", "status", "check"),
    [
        ((ALICE, "bob@flow-junk.lab.test"), 0, "warning trip-inbox"),
        ((ALICE, "bob@flow-junk.lab.test", "--fail-on", "warning"), 1, "warning trip-inbox"),
        ((ALICE, "bob@flow-silent-drop.lab.test"), 1, "error   trip-arrives"),
        ((ALICE, "bob@flow-greylisting.lab.test"), 0, "warning trip-quick"),
        ((ALICE, "bob@flow-greylisting.lab.test", "--mx"), 3, "unknown trip-accepted"),
        ((ALICE, "nosuch@flow-unknown-user.lab.test", "--to-user", "bob"), 1, "5.1.1"),
        (("alice@flow-refused.lab.test", BOB), 1, "error   trip-accepted"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told(words: tuple[str, ...], status: int, check: str) -> None:
    done = mailprobe("trip", "--lab", *words)
    assert done.returncode == status, done.stdout + done.stderr
    assert check in done.stdout


def test_passwords_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    wrong = mailprobe("trip", "--lab", env={"MAILPROBE_TO_PASSWORD": "mistyped"})
    assert wrong.returncode == 3
    assert "could not be read: bob cannot log in" in " ".join(wrong.stdout.split())
    assert "--to-user names another user" in " ".join(wrong.stdout.split())
    assert "mistyped" not in wrong.stdout + wrong.stderr
    refused = mailprobe("trip", "--lab", env={"MAILPROBE_FROM_PASSWORD": "mistyped"})
    assert refused.returncode == 1
    assert "trip-accepted" in refused.stdout
    file = tmp_path / "password"
    file.write_text("secret\n")
    files = ("--from-password-file", str(file), "--to-password-file", str(file))
    assert mailprobe("trip", "--lab", *files, env={"MAILPROBE_TO_PASSWORD": "mistyped"}).returncode == 0


def test_the_conversations_are_shown_with_secrets_masked() -> None:
    done = mailprobe("trip", "--lab", "-v")
    assert done.returncode == 0
    for line in ("~>   MAIL FROM:<alice@sender.lab.test>", "passed  trip-arrives", "TLS handshake"):
        assert line in done.stdout
    assert "secret" not in done.stdout


def test_a_sender_domain_without_an_address_leaves_it_undecided() -> None:
    done = mailprobe("trip", "--lab", "a@a.test", "b@b.test")
    assert done.returncode == 3
    assert "not sent: 5.4.4 a.test: no address; --submit and --mx name other ways" in " ".join(done.stdout.split())
    assert "server's words" not in done.stdout


def test_a_letter_that_came_back_leaves_nothing_open_though_the_mailbox_cannot_be_read() -> None:
    done = mailprobe("trip", "--lab", "flow-unknown-user", "--to-user", "nosuch", "--format", "json")
    assert done.returncode == 1
    verdicts = [each["verdict"] for each in json.loads(done.stdout)["findings"]]
    assert (verdicts.count("not-applicable"), verdicts.count("unknown"), verdicts.count("fail")) == (9, 0, 1)


def test_pop3_reads_as_well() -> None:
    done = mailprobe("trip", "--lab", ALICE, BOB, "--pop3", "receiver.lab.test", "--format", "json")
    assert done.returncode == 0, done.stdout
    (shown,) = json.loads(done.stdout)["trips"]
    assert (shown["look"]["access"], shown["state"]) == ("pop3", "arrived")


def test_json_has_the_evidence_the_findings_and_the_road() -> None:
    document = json.loads(mailprobe("trip", "--lab", "--format", "json").stdout)
    assert {event["step"] for event in document["road"]} == set(range(1, 9))
    assert document["trips"][0]["copies"][0]["unchanged"] is True
    assert {finding["check"] for finding in document["findings"]} >= {"trip-arrives", "trip-clocks"}


def test_json_lines_and_junit_and_github_have_their_forms() -> None:
    (line,) = mailprobe("trip", "--lab", "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["state"] == "arrived"
    lost = ("trip", "--lab", ALICE, "bob@flow-silent-drop.lab.test")
    root = ElementTree.fromstring(mailprobe(*lost, "--format", "junit").stdout)
    assert [case.attrib["name"] for case in root.iter("testcase") if case.find("failure") is not None] == [
        "trip-arrives"
    ]
    assert "::error title=trip-arrives" in mailprobe(*lost, "--format", "github").stdout


@pytest.mark.parametrize(
    ("to", "status", "word"),
    [(BOB, 0, "OK"), ("bob@flow-junk.lab.test", 1, "WARNING"), ("bob@flow-silent-drop.lab.test", 2, "CRITICAL")],
)
def test_a_plugin_has_one_line_with_performance_data_and_the_plugin_statuses(to: str, status: int, word: str) -> None:
    done = mailprobe("trip", "--lab", ALICE, to, "--format", "nagios", "--warn", "95", "--crit", "5m")
    assert done.returncode == status
    first = done.stdout.splitlines()[0]
    assert re.match(rf"MAILPROBE {word} - (arrived after [\d.]+ s in |not-arrived after 600 s: alice@)", first)
    assert re.search(r" \| delay=(U|[0-9.]+s);95;300;0 hops=(U|\d);;;0 ", first)
    quoted = re.sub(r"(?<= )(\w+)=", r"'\1'=", first.partition(" | ")[2].join((" ", "")))
    assert performance_data(f"x | {quoted.strip()}")


def test_metrics_have_the_delay_of_each_hop() -> None:
    series = exposition(mailprobe("trip", "--lab", "--format", "prometheus").stdout)
    way = f'from="{ALICE}",to="{BOB}"'
    assert series[f"mailprobe_trip_delay_seconds{{{way}}}"] < 60
    assert series[f'mailprobe_trip_letters{{{way},state="arrived"}}'] == 1
    assert len([name for name in series if name.startswith("mailprobe_trip_hop_delay_seconds")]) == 2


def test_runs_take_turns_with_a_state_file(lab_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    run = ("trip", "--state", str(state), "--format", "jsonl")
    env = {"MAILPROBE_LAB": str(lab_file)}
    first = mailprobe(*run, env=env)
    assert first.returncode == 0, first.stderr
    assert [json.loads(line)["state"] for line in first.stdout.splitlines()] == ["pending"]
    second = [json.loads(line) for line in mailprobe(*run, env=env).stdout.splitlines()]
    assert [line["state"] for line in second] == ["arrived", "pending"]
    assert second[0]["token"] == json.loads(first.stdout)["token"]


def test_the_road_is_read_from_a_lab_that_runs_elsewhere(lab_file: Path) -> None:
    done = mailprobe("trip", env={"MAILPROBE_LAB": str(lab_file)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(STEPS) <= set(steps(done.stdout))


def test_a_damaged_state_file_is_left_as_it_is(lab_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{broken")
    done = mailprobe("trip", "--state", str(state), env={"MAILPROBE_LAB": str(lab_file)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(state) in done.stderr
    assert state.read_text() == "{broken"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "two addresses are needed, FROM and TO: mailprobe trip a@a.test b@b.test; or --lab"),
        ((ALICE,), "two addresses are needed"),
        (("--lab", ALICE), "two addresses are needed"),
        (("--lab", "alice", BOB), "'alice'"),
        (("--lab", f"{ALICE}, eve@e.test", BOB), "one address is needed"),
        (("--lab", "alice@sender.lab.test\r\nBcc: eve@e.test", BOB), "line end"),
        (("--lab", ALICE, BOB, "--mx", "--submit", "a.test"), "exclude each other"),
        (("--lab", ALICE, BOB, "--imap", "a.test", "--pop3", "a.test"), "exclude each other"),
        (("--lab", ALICE, BOB, "--imap", "a.test:25"), "port 25 is for smtp"),
        (("--lab", ALICE, BOB, "--imap", "a.test:995"), "port 995 is for pop3s"),
        (("--lab", "--pause", "postman"), "no part 'postman'"),
        (("--lab", "--pause", "client@nowhere.test"), "nowhere.test"),
        (("--lab", "--pause", "client", "--pause", "server"), "--pause is given 2 times"),
        (("--lab", "--state", "x.json"), "`mailprobe lab up --directory DIR`, and set MAILPROBE_LAB"),
        (("--lab", "flow-nosuch"), "no scenario of a letter; `mailprobe lab list flow`"),
        (("--lab", "good"), "no scenario of a letter; `mailprobe lab list flow`"),
        (("--lab", "flow-\x1b[31m"), "no scenario of a letter"),
        (("flow-good",), "or --lab"),
        (("--lost-after", "1h", "--lab"), "--state"),
        (("--lab", "--wait", "soon"), "no duration"),
        (("--lab", "--wait", "-5"), "no duration"),
        (("--lab", "--warn", "400"), "late"),
        (("--lab", "--to-password-file", "/nowhere/at/all"), "No such file"),
        ((ALICE, BOB), "MAILPROBE_TO_PASSWORD"),
        ((ALICE, BOB, "--pause", "client"), "needs --lab"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_anything_is_sent(words: tuple[str, ...], said: str) -> None:
    done = mailprobe("trip", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert done.stderr.rstrip("\n").isprintable()


def test_help_tells_what_a_trip_is() -> None:
    done = mailprobe("trip", "--help")
    assert done.returncode == 0
    for option in (
        "--lab flow-greylisting",
        "--submit",
        "--mx",
        "--imap",
        "--pop3",
        "--wait",
        "--warn",
        "--crit",
        "--state",
        "--keep",
        "--pause",
    ):
        assert option in done.stdout
