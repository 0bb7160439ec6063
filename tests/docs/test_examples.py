"""Every example is run, its own commands against the lab."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BINARIES = Path(sys.executable).parent
GOOD, BAD = "good.lab.test", "certificate-expired.lab.test"


def run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of an example with the lab around it."""
    environment = {**os.environ, "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}", **variables}
    environment.pop("MAILPROBE_LAB", None)
    inside_lab = ["mailprobe", "lab", "run", "--", *command]
    return subprocess.run(
        inside_lab, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def steps(text: str, key: str) -> list[str]:
    """Read the shell commands under a key of a YAML file, in the plain form that the examples use."""
    single = re.findall(rf"^\s*(?:- )?{key}: (\S.*)$", text, re.MULTILINE)
    block = re.search(rf"^(\s*){key}:\n((?:\1  .*\n)+)", text, re.MULTILINE)
    listed = [line.strip().removeprefix("- ") for line in block[2].splitlines()] if block else []
    return [step for step in (*single, *listed) if "install" not in step]


@pytest.mark.parametrize(("domain", "status"), [(GOOD, 0), (BAD, 1)])
def test_github_workflow_annotates_and_fails_on_errors(domain: str, status: int, tmp_path: Path) -> None:
    (step,) = steps((EXAMPLES / "github-workflow.yml").read_text(), "run")
    done = run(["bash", "-e", "-c", step], tmp_path, {"MAIL_DOMAIN": domain})
    assert done.returncode == status, done.stderr
    assert ("::error title=certificate-expired" in done.stdout) == (status == 1)


@pytest.mark.parametrize(("domain", "status"), [(GOOD, 0), (BAD, 1)])
def test_gitlab_job_leaves_a_report_and_evidence(domain: str, status: int, tmp_path: Path) -> None:
    script = steps((EXAMPLES / "gitlab-ci.yml").read_text(), "script")
    assert len(script) == 2
    done = run(["bash", "-e", "-c", "\n".join(script)], tmp_path, {"MAIL_DOMAIN": domain})
    assert done.returncode == status, done.stderr
    suite = ElementTree.parse(tmp_path / "mail.xml").getroot()
    assert bool(suite.findall(".//failure")) == (status == 1)
    assert json.loads((tmp_path / "evidence.json").read_text())["targets"][0]["asked"] == domain


@pytest.mark.parametrize(("domain", "status", "word"), [(GOOD, 0, "OK"), (BAD, 2, "CRITICAL")])
def test_icinga_command_gives_the_plugin_status(domain: str, status: int, word: str, tmp_path: Path) -> None:
    text = (EXAMPLES / "icinga2-command.conf").read_text()
    listed = re.search(r"command = \[(.*?)\]", text)
    assert listed is not None
    command = [word.replace("$mailprobe_target$", domain) for word in re.findall(r'"([^"]*)"', listed[1])]
    done = run(command, tmp_path, {})
    assert done.returncode == status, done.stderr
    assert done.stdout.startswith(f"MAILPROBE {word} - ")


def test_nagios_command_gives_the_plugin_status(tmp_path: Path) -> None:
    line = re.search(r"command_line\s+(.*)", (EXAMPLES / "nagios-command.cfg").read_text())
    assert line is not None
    done = run(shlex.split(line[1].replace("$ARG1$", BAD)), tmp_path, {})
    assert done.returncode == 2
    assert "|" in done.stdout


def test_nagios_trip_finds_the_letter_of_the_run_before(tmp_path: Path) -> None:
    line = re.search(r"command_line\s+(.*)", (EXAMPLES / "nagios-trip.cfg").read_text())
    assert line is not None
    (tmp_path / "password").write_text("secret\n")
    values = ("alice@sender.lab.test", "bob@receiver.lab.test", "trip.json", "password", "password")
    text = line[1]
    for number, value in enumerate(values, 1):
        text = text.replace(f"$ARG{number}$", value)
    twice = f"{text} >first; {text} >second; echo $? >status"
    done = run(["bash", "-c", twice], tmp_path, {})
    assert done.returncode == 0, done.stderr
    assert " pending=1;" in (tmp_path / "first").read_text()
    assert (tmp_path / "second").read_text().startswith("MAILPROBE OK - ")
    assert " arrived=1;" in (tmp_path / "second").read_text()
    assert (tmp_path / "status").read_text().strip() == "0"


def test_metrics_unit_writes_a_whole_file(tmp_path: Path) -> None:
    text = (EXAMPLES / "mailprobe-metrics.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    done = run(shlex.split(line), tmp_path, {"MAIL_DOMAIN": BAD, "TEXTFILE_DIRECTORY": str(tmp_path)})
    assert done.returncode in {int(status) for status in re.findall(r"^SuccessExitStatus=(.*)$", text, re.M)[0].split()}
    written = (tmp_path / "mailprobe.prom").read_text()
    assert f'mailprobe_success{{target="{BAD}"}} 0' in written
    assert [path.name for path in tmp_path.iterdir()] == ["mailprobe.prom"]


def test_timer_starts_the_unit_of_its_name() -> None:
    assert (EXAMPLES / "mailprobe-metrics.timer").with_suffix(".service").exists()


def test_health_report_names_what_to_mend(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "health_report.py"), "--lab", GOOD, BAD]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{GOOD}: 0 to mend, 0 undecided" in done.stdout
    assert re.search(r"^  error: mx\.\S+ \[127\.53\.\d+\.\d+\]:25: expired on", done.stdout, re.MULTILINE)


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.name not in {"README.md", "__pycache__"}:
            assert path.stem in listed
            assert path.stem.split(".")[0] in Path(__file__).read_text()
