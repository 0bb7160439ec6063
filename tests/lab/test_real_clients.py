"""Debian's own clients in the lab: to curl, swaks, openssl and nslookup its healthy host is a host like any other."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Iterator

import pytest

from mailprobe.lab.world import Lab
from tests.installed import mailprobe
from tests.lab.clients import HOST, LIMIT_S, curl, nslookup, place, run, swaks

pytestmark = pytest.mark.peers

INJECTED = "starttls-response-injection.lab.test"
LETTER = "From: alice@good.lab.test\r\nTo: bob@good.lab.test\r\nSubject: {}\r\n\r\n.Hello\r\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.mark.parametrize(
    ("submit", "popping", "reading"),
    [
        pytest.param(("smtp", 587), ("pop3", 110), ("imap", 143), id="STARTTLS"),
        pytest.param(("smtps", 465), ("pop3s", 995), ("imaps", 993), id="TLS"),
    ],
)
def test_curl_submits_and_reads(
    lab: Lab, submit: tuple[str, int], popping: tuple[str, int], reading: tuple[str, int]
) -> None:
    subject = f"curl {submit[0]}"
    people = ("--mail-from", "bob@good.lab.test", "--mail-rcpt", "bob@good.lab.test")
    curl(lab, *submit, "client.test", *people, "--upload-file", "-", given=LETTER.format(subject))

    last = curl(lab, *popping, "").split("\n")[-2].split()[0]
    letter = curl(lab, *popping, last)
    assert f"Subject: {subject}" in letter
    assert letter.rstrip().endswith(".Hello")

    assert "INBOX" in curl(lab, *reading, "")
    assert "EXISTS" in curl(lab, *reading, "", "--request", "EXAMINE INBOX")
    assert f"Subject: {subject}" in curl(lab, *reading, f"INBOX;MAILINDEX={last}")
    assert curl(lab, *reading, f"INBOX?SUBJECT%20{submit[0]}").split()[2:] != []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(("port", "mode"), [(587, "--tls"), (465, "--tlsc")])
def test_swaks_logs_in_and_sends(lab: Lab, port: int, mode: str, mechanism: str) -> None:
    login = ("--auth", mechanism, "--auth-user", "alice", "--auth-password", "secret")
    done = swaks(lab, HOST, port, mode, *login)
    assert done.returncode == 0, done.stdout
    assert "<~  235 " in done.stdout


def test_swaks_delivers_to_the_exchanger(lab: Lab) -> None:
    done = swaks(lab, HOST, 25, "--tls")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("port", "starttls"), [(25, "smtp"), (587, "smtp"), (465, ""), (110, "pop3"), (995, ""), (143, "imap"), (993, "")]
)
def test_openssl_verifies_chain_and_name(lab: Lab, port: int, starttls: str) -> None:
    address, actual = place(lab, port)
    options = ("-starttls", starttls, "-name", "client.test") if starttls else ()
    done = run(
        "openssl", "s_client", "-connect", f"{address}:{actual}", "-CAfile", str(lab.ca_file), "-servername", HOST,
        "-verify_hostname", HOST, "-verify_return_error", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"Verified peername: {HOST}" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout
    assert "New, TLSv1.3, Cipher is" in done.stdout


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("MX", "good.lab.test"),
        ("MX", "google.com"),
        ("MX", "pens.ac.id"),
        ("MX", "mx-null.lab.test"),
        ("MX", "no-such-name.lab.test"),
        ("A", "mx.good.lab.test"),
        ("AAAA", "mx.good.lab.test"),
        ("SOA", "lab.test"),
    ],
)
def test_nslookup_and_mailprobe_print_the_same(lab: Lab, kind: str, name: str) -> None:
    printed = nslookup(lab, kind, name)
    assert f"Address:\t{lab.resolver.replace(':', '#')}" in printed
    ours = mailprobe("mx", "--resolver", lab.resolver, "--type", kind, "--format", "nslookup", name)
    assert ours.stdout == printed


def test_nslookup_finds_the_exchangers_of_the_named_domains(lab: Lab) -> None:
    assert "google.com\tmail exchanger = 10 smtp.google.com." in nslookup(lab, "MX", "google.com")
    printed = nslookup(lab, "MX", "pens.ac.id")
    for number, exchanger in ((10, "pmg2"), (20, "mail"), (30, "pmg")):
        assert f"pens.ac.id\tmail exchanger = {number} {exchanger}.pens.ac.id." in printed


# What other clients do not see


def test_swaks_takes_an_injected_reply_for_one_from_inside_tls(lab: Lab) -> None:
    done = swaks(lab, INJECTED, 25, "--tls", "--quit-after", "EHLO")
    assert "<~  250-injected.test" in done.stdout  # "<~" marks what came through TLS
    assert "***" not in done.stdout
    assert done.returncode == 0


def test_smtplib_misses_an_injected_reply(lab: Lab) -> None:
    with smtplib.SMTP(timeout=LIMIT_S) as client:
        client.connect(*place(lab, 25, INJECTED))
        client._host = INJECTED  # type: ignore[attr-defined]  # the name that starttls() verifies
        assert client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))[0] == 220
        letter = LETTER.format("smtplib")
        assert client.sendmail("alice@elsewhere.test", [f"bob@{INJECTED}"], letter) == {}


def test_check_finds_an_injected_reply() -> None:
    done = mailprobe("check", "--lab", "--format", "json", INJECTED)
    failing = {each["check"] for each in json.loads(done.stdout)["findings"] if each["verdict"] == "fail"}
    assert failing == {"starttls-response-injection"}
    assert (done.returncode, done.stderr) == (1, "")
