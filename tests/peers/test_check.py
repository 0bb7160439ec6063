"""`mailprobe check` on a real Postfix and a real Dovecot: right verdicts, and the manners of a good guest."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.installed import mailprobe
from tests.peers.certificates import Kind
from tests.peers.mailhost import ACCESS_PORTS, SMTP_PORTS, MailHost, MailHostFactory

LOG_LIMIT_S = 10
STARTTLS_PORTS = {25, 587, 110, 143}
IMPLICIT_PORTS = {465, 995, 993}
SEVEN = STARTTLS_PORTS | IMPLICIT_PORTS
ABOUT_TIME = {"greeting-prompt", "mx-ttl"}  # what they say of a good server differs from run to run

Finding = Mapping[str, Any]
Failures = dict[str, set[int]]


class Visitor:
    """Runs commands against one host, as `MAILPROBE_LAB` leads there."""

    def __init__(self, host: MailHost, resolver: str, directory: Path) -> None:
        file = directory / "lab.json"
        host.lab_file(resolver).write(file)
        self._env = {"MAILPROBE_LAB": str(file)}

    def run(self, *arguments: str) -> tuple[int, str]:
        done = mailprobe(*arguments, env=self._env)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def check(self, *arguments: str) -> tuple[int, list[Finding]]:
        status, text = self.run("check", "--format", "json", *(arguments or (MailHost.domain,)))
        return status, json.loads(text)["findings"]


@pytest.fixture
def visitor(resolver: str, tmp_path: Path) -> Callable[[MailHost], Visitor]:
    return lambda host: Visitor(host, resolver, tmp_path)


def of(verdict: str, findings: list[Finding]) -> Failures:
    """Give the checks with that verdict, each with the ports it speaks of; none for a domain or a host."""
    found: Failures = {}
    for finding in findings:
        if finding["verdict"] == verdict:
            port = re.search(r"]:(\d+)$", finding["where"])
            found.setdefault(finding["check"], set()).update({int(port[1])} if port else set())
    return found


# Verdicts


def test_a_healthy_host_has_nothing_wrong(mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]) -> None:
    status, findings = visitor(mail_host()).check()
    assert {finding["verdict"] for finding in findings} == {"ok", "not-applicable"}
    assert status == 0


@pytest.mark.parametrize(
    ("kind", "failures"),
    [
        (Kind.EXPIRED, {"certificate-expired": SEVEN}),
        (
            Kind.SELF_SIGNED,
            {"certificate-self-signed": SEVEN - {25}, "relay-certificate-self-signed": {25}},
        ),
        (
            Kind.INCOMPLETE,
            {"certificate-chain-complete": SEVEN - {25}, "relay-certificate-chain-complete": {25}},
        ),
    ],
)
def test_a_bad_certificate_fails_its_own_check_only(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor], kind: Kind, failures: Failures
) -> None:
    status, findings = visitor(mail_host(certificate=kind)).check()
    assert of("fail", findings) == failures
    assert of("unknown", findings) == {}
    assert status == 1


def test_without_starttls_only_that_is_wrong(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    # Neither server offers a login in clear, even though it has no TLS to offer.
    status, findings = visitor(mail_host(starttls=False)).check()
    assert of("fail", findings) == {"starttls-offered": {587, 110, 143}, "relay-starttls-offered": {25}}
    assert of("unknown", findings) == {}
    assert {143} <= of("ok", findings)["imap-login-before-tls"]
    assert {110} <= of("ok", findings)["pop3-login-before-tls"]
    assert {25, 587} <= of("ok", findings)["auth-before-tls"]
    assert status == 1


def test_old_tls_is_found_on_the_ports_that_are_asked_for_it(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    guest = visitor(mail_host(legacy_tls=True))
    status, findings = guest.check()
    assert of("fail", findings) == {"tls-legacy": IMPLICIT_PORTS}
    assert status == 0
    assert guest.check("--fail-on", "warning", MailHost.domain)[0] == 1
    assert of("fail", guest.check("--thorough", MailHost.domain)[1]) == {"tls-legacy": SEVEN}


def test_a_healthy_host_refuses_old_tls_everywhere(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    findings = visitor(mail_host()).check("--thorough", MailHost.domain)[1]
    assert of("fail", findings) == of("unknown", findings) == {}
    assert of("ok", findings)["tls-legacy"] == SEVEN


def test_logins_in_clear_are_found(mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]) -> None:
    status, findings = visitor(mail_host(plaintext_auth=True)).check()
    assert of("fail", findings) == {
        "auth-before-tls": {587},
        "pop3-login-before-tls": {110},
        "imap-login-before-tls": {143},
    }
    assert of("unknown", findings) == {}
    assert status == 1


def test_with_dovecot_down_the_ports_that_take_logins_are_dead(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    status, findings = visitor(mail_host(dovecot=False)).check()
    assert of("fail", findings) == {"greeting-sent": {465}, "dialogue-complete": {587}}
    assert set().union(*of("unknown", findings).values()) == {465, 587}
    assert status == 1


def test_nothing_can_be_injected(mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]) -> None:
    findings = visitor(mail_host()).check("--only", "starttls", MailHost.domain)[1]
    proved = of("ok", findings)
    assert proved["starttls-command-injection"] == STARTTLS_PORTS
    assert proved["starttls-response-injection"] == STARTTLS_PORTS
    assert proved["starttls-state-discarded"] == {25}


@pytest.mark.parametrize(
    ("target", "status", "failing"),
    [
        ("nullmx.test", 0, set()),
        ("cnamemx.test", 1, {"mx-target-cname", "certificate-name", "relay-certificate-name"}),
        ("danglingmx.test", 1, {"mx-target-resolves"}),
        ("nomx.test", 1, {"mx-present", "certificate-name", "relay-certificate-name"}),
        ("nomail.test", 1, {"mx-present", "mx-usable"}),
        ("www.alias.test", 0, {"domain-alias"}),
        ("secure.test", 0, set()),
        ("bogus.test", 1, {"dns-complete"}),
        ("absent.test", 1, {"domain-exists"}),
        ("outside.example", 3, set()),
    ],
)
def test_a_domain_is_judged_by_its_records(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor], target: str, status: int, failing: set[str]
) -> None:
    found, findings = visitor(mail_host()).check(target)
    assert set(of("fail", findings)) == failing
    assert found == status


# Evidence


def test_judging_collected_evidence_gives_what_check_gives(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor], tmp_path: Path
) -> None:
    guest = visitor(mail_host(certificate=Kind.EXPIRED))
    evidence = tmp_path / "evidence.json"
    status, text = guest.run("collect", MailHost.domain)
    assert status == 0
    evidence.write_text(text, encoding="utf-8")
    judged = [guest.run("judge", "--format", "json", str(evidence)) for _ in range(2)]
    assert judged[0] == judged[1]
    status, findings = guest.check()
    assert judged[0][0] == status == 1
    assert steady(json.loads(judged[0][1])["findings"]) == steady(findings)


def test_judge_reads_what_collect_pipes_into_it(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    guest = visitor(mail_host())
    judged = mailprobe("judge", "--format", "json", "-", given=guest.run("collect", MailHost.domain)[1])
    assert steady(json.loads(judged.stdout)["findings"]) == steady(guest.check()[1])
    assert judged.returncode == 0


def steady(findings: list[Finding]) -> list[Finding]:
    """Leave out the words of findings that tell a time."""
    return [{**finding, "detail": ""} if finding["check"] in ABOUT_TIME else finding for finding in findings]


# Manners


class Logs:
    """What the servers of a host logged since, once they have written down all that went before."""

    def __init__(self, host: MailHost) -> None:
        self._processes = host.processes
        self._seen = [0 for _ in self._processes]
        self.until("postfix", all_gone)
        self.until("dovecot", lambda lines: sum(": Disconnected: " in line for line in lines) >= len(ACCESS_PORTS))
        self._seen = [len(process.log) for process in self._processes]

    def lines(self, kind: str) -> list[str]:
        logs = [(process.log, seen) for process, seen in zip(self._processes, self._seen, strict=True)]
        mine = [log[seen:] for log, seen in logs if ("Dovecot" in log) == (kind == "dovecot")]
        return "".join(mine).splitlines()

    def until(self, kind: str, complete: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the log has everything: it is written when the visitor has long gone."""
        deadline = time.monotonic() + LOG_LIMIT_S
        while not complete(lines := self.lines(kind)):
            assert time.monotonic() < deadline, lines
            time.sleep(0.01)
        return lines


def all_gone(lines: list[str]) -> bool:
    """Tell whether Postfix has logged the end of every connection."""
    counts = [sum(word in line for line in lines) for word in (": connect from ", ": disconnect from ")]
    return counts[0] == counts[1] >= len(SMTP_PORTS)


def postfix_complaints(lines: list[str]) -> Iterator[str]:
    for line in lines:
        complains = re.search(r"lost connection|SSL_accept|pipelining|warning|error|fatal|timeout|too many", line)
        if complains or (": disconnect from " in line and " quit=1 " not in line):
            yield line


def test_ports_leaves_postfix_and_dovecot_nothing_to_complain_of(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    host = mail_host()
    guest = visitor(host)
    logs = Logs(host)
    guest.run("ports", host.name)
    postfix = logs.until("postfix", all_gone)
    assert list(postfix_complaints(postfix)) == []
    assert sum(": connect from " in line for line in postfix) == 3
    dovecot = logs.until("dovecot", lambda lines: len(lines) >= 4)
    assert [line for line in dovecot if "Aborted login by logging out" not in line] == []
    assert len(dovecot) == 4


def test_postfix_complains_of_nothing_but_the_offer_of_old_tls(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    host = mail_host()
    guest = visitor(host)
    logs = Logs(host)
    guest.check()
    postfix = logs.until("postfix", all_gone)
    complaints = list(postfix_complaints(postfix))
    assert all("postfix/submissions/" in line for line in complaints), complaints
    assert [re.sub(r"^.*smtpd\[\d+]: ", "", line).split(" from ")[0] for line in complaints] == [
        "SSL_accept error",
        complaints[1].partition("]: ")[2],
        "lost connection after CONNECT",
        "disconnect",
    ]
    assert "unsupported protocol" in complaints[1]
    # 25 and 587: the survey and the injection; 465: the survey, the handshake without SNI, the old TLS.
    assert sum(": connect from " in line for line in postfix) == 2 + 2 + 3


def test_where_old_tls_is_welcome_postfix_complains_of_nothing(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    host = mail_host(legacy_tls=True)
    guest = visitor(host)
    logs = Logs(host)
    guest.check("--thorough", host.domain)
    assert list(postfix_complaints(logs.until("postfix", all_gone))) == []


def test_dovecot_is_said_goodbye_to_except_where_it_hangs_up_itself(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    host = mail_host()
    guest = visitor(host)
    logs = Logs(host)
    guest.check()
    dovecot = logs.until("dovecot", lambda lines: len(lines) >= 12)
    assert len(dovecot) == 12
    assert [line for line in dovecot if "-login: Info: Disconnected: " not in line] == []
    rest = [line for line in dovecot if "Aborted login by logging out" not in line]
    # Dovecot takes the command put behind STARTTLS for a broken TLS hello (110 and 143), and refuses old TLS.
    assert len(rest) == 4
    assert all("SSL_accept() " in line for line in rest)
    assert sum("unsupported protocol" in line for line in rest) == 2


def test_a_host_without_starttls_is_said_goodbye_to_as_well(
    mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]
) -> None:
    host = mail_host(starttls=False)
    guest = visitor(host)
    logs = Logs(host)
    guest.check()
    complaints = [line for line in postfix_complaints(logs.until("postfix", all_gone)) if "/submissions/" not in line]
    assert complaints == []
    dovecot = logs.until("dovecot", lambda lines: len(lines) >= 10)
    rest = [line for line in dovecot if "Aborted login by logging out" not in line]
    assert ["unsupported protocol" in line for line in rest] == [True, True]
    assert len(dovecot) == 2 * 2 + 2 * 3


def test_nobody_logs_in_and_nothing_is_sent(mail_host: MailHostFactory, visitor: Callable[[MailHost], Visitor]) -> None:
    host = mail_host()
    guest = visitor(host)
    logs = Logs(host)
    guest.check("--thorough", host.domain)
    postfix = logs.until("postfix", all_gone)
    assert not any(word in line for line in postfix for word in (" rcpt=", " data=", " auth=", "queue"))
    assert not any("user=<a" in line or "Login:" in line for line in logs.lines("dovecot"))
