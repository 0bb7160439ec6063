"""`mailprobe protocols --prove` on a real Postfix in front of a real Dovecot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.installed import mailprobe
from tests.peers.mailhost import PASSWORD, MailHost, MailHostFactory


def prove(host: MailHost, resolver: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = directory / "lab.json"
    host.lab_file(resolver).write(file)
    logins = ("--login", "prover", "--sender-login", "sender", "--address", f"prover@{host.domain}")
    env = {"MAILPROBE_LAB": str(file), "MAILPROBE_PASSWORD": PASSWORD}
    return mailprobe("protocols", "--prove", host.name, *logins, *options, env=env)


def test_every_row_is_proven(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    done = prove(mail_host(), resolver, tmp_path, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert {(row["question"], row["protocol"]): row["holds"] for row in rows if not row["holds"]} == {}
    assert len(rows) == 28


def test_a_server_without_starttls_proves_what_it_can(
    mail_host: MailHostFactory, resolver: str, tmp_path: Path
) -> None:
    done = prove(mail_host(starttls=False), resolver, tmp_path, "--format", "json")
    rows = {(row["question"], row["protocol"]): row for row in json.loads(done.stdout)}
    assert rows["encryption", "POP3"]["holds"] is True  # "none, or STLS"
    assert rows["encryption", "POP3"]["detail"] == "110 stays in clear"
    assert rows["encryption", "IMAP"]["holds"] is not True
    assert rows["encryption", "POP3S"]["holds"] is True
    assert rows["function", "SMTP"]["holds"] is None  # no password goes out in clear
    assert PASSWORD not in done.stdout
    assert done.returncode in (1, 3)
