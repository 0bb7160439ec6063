"""The library as the README shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mailprobe
from mailprobe import Lab, UsageError, Verdict, gather, judge, read_evidence, write_evidence

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_names_what_fails(mail_lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    used = code.replace('gather("example.com")', 'gather("certificate-expired.lab.test", lab=lab)')
    assert used != code
    exec(compile(used, str(README), "exec"), {"lab": mail_lab})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("error certificate-expired mx.certificate-expired.lab.test [") for line in lines)


def test_evidence_survives_being_written(mail_lab: Lab) -> None:
    evidence = gather("certificate-expired.lab.test", lab=mail_lab)
    again = read_evidence(write_evidence(evidence))
    assert again == evidence
    assert judge(again) == judge(evidence)


def test_only_and_skip_choose_checks(mail_lab: Lab) -> None:
    evidence = gather("good.lab.test", lab=mail_lab)
    checks = {finding.check for finding in judge(evidence, only=["certificate"], skip=["certificate-name"])}
    assert "certificate-expired" in checks
    assert "certificate-name" not in checks
    assert all(finding.verdict is not Verdict.FAIL for finding in judge(evidence))


@pytest.mark.parametrize("target", ["..", "a b", "a.test:0"])
def test_bad_targets_raise_usage_errors(target: str) -> None:
    with pytest.raises(UsageError):
        gather(target)


def test_unknown_checks_raise_usage_errors(mail_lab: Lab) -> None:
    with pytest.raises(UsageError):
        judge(gather("mx-null.lab.test", lab=mail_lab), only=["nosuch"])


def test_every_public_name_is_there() -> None:
    for name in mailprobe.__all__:
        assert getattr(mailprobe, name) is not None
    with pytest.raises(AttributeError, match="nosuch"):
        _ = mailprobe.nosuch
