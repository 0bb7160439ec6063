"""`mailprobe ports` on a real Postfix and a real Dovecot, on the usual port numbers and on those they really have."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.installed import mailprobe
from tests.peers.certificates import Kind
from tests.peers.mailhost import ACCESS_PORTS, SMTP_PORTS, MailHost, MailHostFactory

SEVEN = (25, 587, 465, 110, 995, 143, 993)
SECURITY = {25: "STARTTLS", 587: "STARTTLS", 465: "TLS", 110: "STARTTLS", 995: "TLS", 143: "STARTTLS", 993: "TLS"}
SPEAKS = {25: "smtp", 587: "smtp", 465: "smtp", 110: "pop3", 995: "pop3", 143: "imap", 993: "imap"}
MODERN = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}

Row = Mapping[str, Any]


class Ask(Protocol):
    """One of two ways to ask a host for its seven ports; the rows come by usual port number."""

    def __call__(self, host: MailHost) -> dict[int, Row]:
        """Run the command, which must find the host up."""


@pytest.fixture(params=["lab file", "port list"])
def ask(request: pytest.FixtureRequest, resolver: str, tmp_path: Path) -> Ask:
    def through_lab_file(host: MailHost) -> dict[int, Row]:
        done = run(host, resolver, tmp_path, "--format", "json")
        return {row["port"]: row for row in succeeded(done)}

    def through_port_list(host: MailHost) -> dict[int, Row]:
        way = ("--resolver", resolver, "--ca-file", str(host.ca_file), "--ports", host.port_list)
        done = mailprobe("ports", *way, "--format", "json", host.name)
        usual = {actual: port for port, actual in host.ports.items()}
        return {usual[row["port"]]: row for row in succeeded(done)}

    return through_lab_file if request.param == "lab file" else through_port_list


def run(host: MailHost, resolver: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command for the usual port numbers, led by a lab file."""
    file = directory / "lab.json"
    host.lab_file(resolver).write(file)
    return mailprobe("ports", *options, host.name, env={"MAILPROBE_LAB": str(file)})


def succeeded(done: subprocess.CompletedProcess[str]) -> list[Row]:
    assert (done.returncode, done.stderr) == (0, "")
    rows: list[Row] = json.loads(done.stdout)
    return rows


def test_a_healthy_host(mail_host: MailHostFactory, ask: Ask) -> None:
    host = mail_host()
    rows = ask(host)
    assert tuple(rows) == SEVEN
    for port, row in rows.items():
        assert (row["host"], row["address"], row["state"]) == (host.name, host.address, "open")
        assert (row["speaks"], row["security"]) == (SPEAKS[port], SECURITY[port])
        assert row["version"] == "TLSv1.3"
        assert row["cipher"] in MODERN
        assert row["certificate"]["verdict"] == "ok"
        assert row["certificate"]["days_left"] == 87
        assert row["certificate"]["subject"] == f"CN={host.name}"
        assert row["notes"] == []


@pytest.mark.parametrize(
    ("kind", "verdict", "days"),
    [
        (Kind.EXPIRED, "expired", -1),
        (Kind.SELF_SIGNED, "self-signed", 87),
        (Kind.INCOMPLETE, "incomplete", 87),
    ],
)
def test_a_bad_certificate_is_told_on_all_seven_ports(
    mail_host: MailHostFactory, ask: Ask, kind: Kind, verdict: str, days: int
) -> None:
    rows = ask(mail_host(certificate=kind))
    assert {port: row["security"] for port, row in rows.items()} == SECURITY
    assert {row["version"] for row in rows.values()} == {"TLSv1.3"}
    told = {(row["certificate"]["verdict"], row["certificate"]["days_left"]) for row in rows.values()}
    assert told == {(verdict, days)}


def test_without_starttls_four_ports_are_plain(mail_host: MailHostFactory, ask: Ask) -> None:
    rows = ask(mail_host(starttls=False))
    for port, row in rows.items():
        tls = SECURITY[port] == "TLS"
        assert (row["state"], row["speaks"]) == ("open", SPEAKS[port])
        assert row["security"] == ("TLS" if tls else "plain")
        assert (row["version"] is not None) == (row["certificate"] is not None) == tls


def test_with_dovecot_down_its_ports_refuse(mail_host: MailHostFactory, ask: Ask) -> None:
    rows = ask(mail_host(dovecot=False))
    for port in ACCESS_PORTS:
        assert (rows[port]["state"], rows[port]["speaks"], rows[port]["security"]) == ("refused", None, None)
        assert rows[port]["certificate"] is None
    for port in SMTP_PORTS:
        assert (rows[port]["state"], rows[port]["security"]) == ("open", SECURITY[port])
    # Postfix has nobody to ask about logins, and hangs up where it takes them.
    assert rows[25]["notes"] == []
    assert len(rows[587]["notes"]) == len(rows[465]["notes"]) == 1
    assert "waiting for the greeting" in rows[465]["notes"][0]
    assert "capabilities inside TLS" in rows[587]["notes"][0]


def test_a_host_that_takes_old_tls_still_gets_the_newest(mail_host: MailHostFactory, ask: Ask) -> None:
    rows = ask(mail_host(legacy_tls=True))
    assert {row["version"] for row in rows.values()} == {"TLSv1.3"}
    assert {row["certificate"]["verdict"] for row in rows.values()} == {"ok"}


def test_a_certificate_with_names_only_is_not_compared_with_an_address(mail_host: MailHostFactory) -> None:
    host = mail_host()
    done = mailprobe(
        "ports", "--ca-file", str(host.ca_file), "--ports", host.port_list, "--format", "json", host.address
    )
    assert {row["certificate"]["verdict"] for row in succeeded(done)} == {"trusted"}


def test_a_port_without_a_service_is_named_by_what_greets_there(mail_host: MailHostFactory, resolver: str) -> None:
    host = mail_host()
    plain = [host.ports[port] for port in (25, 110, 143)]
    done = mailprobe(
        "ports", "--resolver", resolver, "--ports", ",".join(map(str, plain)), "--format", "json", host.name
    )
    assert [row["speaks"] for row in succeeded(done)] == ["smtp", "pop3", "imap"]


def test_a_port_with_the_wrong_service_says_so(mail_host: MailHostFactory, resolver: str) -> None:
    host = mail_host()
    listed = f"{host.ports[25]}:submissions,{host.ports[465]}:submission,{host.ports[143]}:pop3"
    done = mailprobe("ports", "--resolver", resolver, "--timeout", "3", "--ports", listed, host.name)
    said = " ".join(done.stdout.split())
    assert f"{host.ports[25]} answers in clear: STARTTLS is served where TLS is expected" in said
    assert f"{host.ports[465]} answers with TLS: SMTP in clear with STARTTLS is expected there" in said
    assert f"{host.ports[143]} speaks IMAP where POP3 is expected" in said


def test_the_table_has_a_row_for_each_port(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    done = run(mail_host(), resolver, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "mail.example.test [127.0.0.25]"
    told = [line.split()[:6] for line in lines[4:11]]
    assert [(row[0], row[2], row[3], row[4], row[5]) for row in told] == [
        (str(port), "open", SPEAKS[port], SECURITY[port], "1.3") for port in SEVEN
    ]
    assert all(" ok 87 d " in line for line in lines[4:11])


def test_what_went_wrong_is_said_once(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    done = run(mail_host(dovecot=False), resolver, tmp_path)
    said = " ".join(done.stdout.split())
    assert "465: the server closed the connection while waiting for the greeting" in said
    assert said.count("closed the connection") == 1


def test_when_every_port_refuses_the_exit_status_is_1(mail_host: MailHostFactory, resolver: str) -> None:
    host = mail_host(dovecot=False)
    closed = ",".join(f"{host.ports[port]}:{SPEAKS[port]}" for port in (110, 143))
    done = mailprobe("ports", "--resolver", resolver, "--ports", closed, host.name)
    assert done.returncode == 1
    assert done.stdout.count("refused") == 2


@pytest.mark.parametrize(("name", "status"), [("absent.test", 1), ("nomail.test", 1), ("outside.example", 3)])
def test_a_host_without_an_address(resolver: str, name: str, status: int) -> None:
    done = mailprobe("ports", "--resolver", resolver, name)
    assert f"mailprobe: {name}: no address to ask" in done.stderr
    assert done.returncode == status
