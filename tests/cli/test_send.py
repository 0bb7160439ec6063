"""`mailprobe send` as a user runs it: against the lab, and with all that cannot be meant."""

from __future__ import annotations

import email
import json
import os
import pty
import subprocess
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailprobe.lab.world import Lab
from mailprobe.mail.samples import SAMPLES
from mailprobe.records.dkim_key import private_key
from tests.installed import COMMAND, environment, mailprobe

BOB = "bob@good.lab.test"
GOOD = ("send", "--lab", "--to", BOB)
SUBMIT = (*GOOD, "--server", "mx.good.lab.test", "--user", "alice")
PRINT = ("send", "--from", "alice@a.test", "--to", "bob@b.test", "--print")


def printed(*more: str, given: str = "") -> email.message.Message:
    done = mailprobe(*PRINT, *more, given=given)
    assert done.returncode == 0, done.stderr
    return email.message_from_string(done.stdout)


# -- sending ---------------------------------------------------------------------------------------------------


def test_a_letter_is_submitted_and_every_recipient_told() -> None:
    done = mailprobe(*SUBMIT, "--to", "nobody@good.lab.test")
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines() if "@good.lab.test" in line and "via" not in line]
    assert [row[1] for row in rows] == ["accepted", "refused"]
    assert "logged in as alice by" in " ".join(done.stdout.split())


def test_all_accepted_is_0_and_the_lab_needs_no_more_than_a_name() -> None:
    done = mailprobe("send", "--lab", "--format", "jsonl")
    row = json.loads(done.stdout)
    assert (done.returncode, row["outcome"], row["code"]) == (0, "accepted", "250")
    assert (row["sender"], row["recipient"]) == ("alice@sender.lab.test", "bob@receiver.lab.test")


def test_the_transcript_is_shown_and_hides_the_password() -> None:
    done = mailprobe(*SUBMIT, "--auth", "login", "-v", env={"MAILPROBE_PASSWORD": "secret"})
    assert "  ~>   AUTH LOGIN" in done.stdout
    assert "  ~>   [masked]" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert "c2VjcmV0" not in done.stdout


def test_a_wrong_password_is_1_and_said() -> None:
    done = mailprobe(*SUBMIT, env={"MAILPROBE_PASSWORD": "wrong"})
    assert done.returncode == 1
    assert "535" in done.stdout
    assert "not logged in as alice" in " ".join(done.stdout.split())


def test_a_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\nmore\n")
    assert mailprobe(*SUBMIT, "--password-file", str(file), env={"MAILPROBE_PASSWORD": "x"}).returncode == 0


def test_json_has_all_there_is() -> None:
    document = json.loads(mailprobe(*GOOD, "--mx", "--format", "json").stdout)
    assert document["recipients"][0]["outcome"] == "accepted"
    assert document["conversations"][0]["tls"]["version"] == "TLSv1.3"


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_can_be_sent(name: str) -> None:
    done = mailprobe(*GOOD, "--mx", "--sample", name)
    assert done.returncode in {0, 1}, done.stderr
    assert "accepted" in done.stdout or "refused" in done.stdout


@pytest.mark.parametrize(
    ("domain", "status", "said"),
    [
        ("mx-null.lab.test", 1, "null MX"),
        ("domain-missing.lab.test", 1, "does not exist"),
        ("dns-servfail.lab.test", 3, "could not be looked up"),
    ],
)
def test_a_domain_without_a_way_is_told(domain: str, status: int, said: str) -> None:
    done = mailprobe("send", "--lab", "--to", f"bob@{domain}", "--mx", "--timeout", "5")
    assert done.returncode == status
    assert said in " ".join(done.stdout.split())


def test_a_server_that_is_not_there_is_3() -> None:
    done = mailprobe("send", "--from", "a@a.test", "--to", "b@b.test", "--server", "127.0.0.1:1", "--security", "clear")
    assert done.returncode == 3
    assert "connection refused" in done.stdout


@pytest.mark.parametrize("phase", ["connect", "greeting", "ehlo", "starttls", "tls", "mail", "rcpt", "data"])
def test_it_stops_where_it_is_told_to_and_that_is_0(phase: str) -> None:
    done = mailprobe(*GOOD, "--mx", "--stop-after", phase)
    assert done.returncode == 0
    assert f"stopped after {phase.upper()}, as asked" in " ".join(done.stdout.split())
    assert "accepted" not in done.stdout


def test_many_are_summed_up() -> None:
    done = mailprobe(*GOOD, "--mx", "--count", "50", "--connections", "2", "--rate", "10000")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 letters in ")
    assert "50 accepted" in done.stdout
    summary = json.loads(mailprobe(*GOOD, "--mx", "--count", "3", "--format", "json").stdout)
    assert summary["accepted"] == 3


def test_a_lab_elsewhere_takes_letters_too(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        file = tmp_path / "lab.json"
        lab.lab_file().write(file)
        done = mailprobe("send", "--to", BOB, "--mx", env={"MAILPROBE_LAB": str(file)})
    assert done.returncode == 0, done.stdout + done.stderr


# -- the letter ------------------------------------------------------------------------------------------------


def test_a_letter_is_made_of_its_options(tmp_path: Path) -> None:
    file = tmp_path / "grüße.txt"
    file.write_bytes("Grüße\r\n".encode())
    letter = printed(
        *("--cc", "Carol <carol@c.test>", "--bcc", "dave@d.test", "--reply-to", "r@a.test", "--subject", "Grüße"),
        *("--text", "hello", "--html", "<p>hello", "--header", "X-One: 1", "--attach", str(file)),
        *("--attach", f"{file}:application/x-own"),
    )
    assert (letter["Cc"], letter["Reply-To"], letter["X-One"], letter["Bcc"]) == (
        "Carol <carol@c.test>",
        "r@a.test",
        "1",
        None,
    )
    kinds = [part.get_content_type() for part in letter.walk()]
    assert kinds == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/plain"),
        "application/x-own",
    ]
    *_, last = letter.walk()
    assert (last.get_filename(), last.get_payload(decode=True)) == ("grüße.txt", "Grüße\r\n".encode())


def test_text_and_html_come_from_files_and_stdin(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>page")
    letter = printed("--text-file", "-", "--html-file", str(page), given="from stdin\n")
    _, text, html = letter.walk()
    assert (text.get_payload(decode=True), html.get_payload(decode=True)) == (b"from stdin\n", b"<p>page\n")


def test_a_ready_letter_comes_from_stdin_as_it_is() -> None:
    given = "Subject: ready\nX-Odd:  1\n\n.\nhi\n"
    done = mailprobe(*PRINT, "--data", "-", given=given)
    assert done.stdout == given  # the test reads it in text mode, which makes CRLF LF again
    assert "line ends were made CRLF" in done.stderr


def test_a_ready_letter_says_itself_whom_it_is_for() -> None:
    given = f"From: alice@a.test\nTo: {BOB}\nBcc: nobody@good.lab.test\n\nhi\n"
    done = mailprobe("send", "--lab", "--mx", "--data", "-", "--format", "jsonl", given=given)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["recipient"], row["outcome"]) for row in rows] == [
        (BOB, "accepted"),
        ("nobody@good.lab.test", "refused"),
    ]
    assert "Bcc" in done.stderr


def test_a_letter_is_signed(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    letter = printed("--dkim-key", str(file), "--dkim-selector", "s1")
    assert "d=a.test" in letter["DKIM-Signature"]
    assert "s=s1" in letter["DKIM-Signature"]


def test_a_letter_is_signed_last_when_it_has_its_date_and_message_id(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for options, given in (((), ""), (("--data", "-", "--complete"), "Subject: x\n\nhi\n")):
        done = mailprobe(*PRINT, *options, "--dkim-key", str(file), "--dkim-selector", "s1", given=given)
        octets = done.stdout.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        covered = email.message_from_bytes(octets)["DKIM-Signature"].partition(" h=")[2].partition(";")[0]
        assert {"date", "message-id"} <= {name.strip() for name in covered.split(":")}
        record = private_key(file.read_bytes()).record.encode()
        assert dkim.verify(octets, dnsfunc=lambda _name, record=record, **_: record)


def test_a_terminal_gets_no_control_characters_of_a_letter() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *PRINT, "--data", "-"],
        stdin=subprocess.PIPE,
        stdout=follower,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    process.communicate(b"Subject: \x1b]0;title\x07\n\n\x9b2J\n", timeout=30)
    shown = os.read(leader, 65_536)
    os.close(leader)
    os.close(follower)
    assert b"\\x1b]0;title\\x07" in shown
    assert b"\x1b" not in shown
    assert b"\x9b" not in shown


# -- wrong usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "b@b.test", "--mx"), "--from"),
        (("--from", "a@a.test", "--mx"), "--to"),
        (("--from", "a@a.test", "--to", "b@b.test"), "where to: --server"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--server", "x.test"), "exclude each other"),
        (("--from", "a@a.test", "--to", "b@b.test", "--server", "x..test"), "no domain name"),
        (("--from", "a@a.test", "--to", "b@b.test", "--lmtp", "x.test"), "LMTP has no port of its own"),
        (("--from", "a@a.test", "--to", "b@b.test", "--socket", "/x", "--security", "tls"), "leave out --security"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--security", "tls"), "--security starttls"),
        (("--from", "a@a.test", "--to", "b b", "--mx"), "no address"),
        (("--from", "a@a.test", "--to", "b@b.test\r\nRCPT TO:<x@x.test>", "--mx"), "line end"),
        (("--from", "a@a.test", "--to", "b@b.test", "--subject", "x\nBcc: y@y.test", "--mx"), "line end"),
        (("--from", "a@a.test", "--to", "b@b.test", "--header", "X", "--mx"), "no colon"),
        (("--from", "a@a.test", "--to", "b@b.test", "--attach", "/nonexistent", "--mx"), "No such file"),
        (("--from", "a@a.test", "--to", "b@b.test", "--attach", "/", "--mx"), "directory"),
        (("--from", "a@a.test", "--to", "b@b.test", "--text", "x", "--text-file", "y", "--mx"), "exclude each other"),
        (("--from", "a@a.test", "--to", "b@b.test", "--data", "x", "--sample", "dots", "--mx"), "exclude each other"),
        (("--from", "a@a.test", "--to", "b@b.test", "--data", "x", "--subject", "y", "--mx"), "leave out --subject"),
        (("--from", "a@a.test", "--to", "b@b.test", "--strict", "--mx"), "see --data"),
        (("--from", "a@a.test", "--to", "b@b.test", "--sample", "none", "--mx"), "eicar"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--notify", "ALWAYS"), "NEVER"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--envid", "a b\n"), "printable"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--rate", "1"), "--count"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--count", "0"), "from 1"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--count", "2", "--rate", "nan"), "--rate"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--count", "2", "--connections", "999"), "from 1 to 100"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--dkim-selector", "s"), "--dkim-key"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--dkim-key", "/x"), "--dkim-selector"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--dkim-key", "/x", "--dkim-selector", "s"), "/x: No such"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--stop-after", "auth"), "--login"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--stop-after", "lunch"), "lunch"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--stop-after", "tls", "--security", "clear"), "no TLS"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--user", "a"), "MAILPROBE_PASSWORD"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--insecure-login"), "--login"),
        (("--from", "a@a.test", "--to", "b@b.test", "--mx", "--auth", "NTLM"), "known are"),
        (
            ("--from", "a@a.test", "--to", "b@b.test", "--mx", "--user", "a", "--password-file", "/nonexistent"),
            "No such",
        ),
    ],
)
def test_what_cannot_be_meant_is_2_and_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = mailprobe("send", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_option_takes_a_password() -> None:
    assert "--password " not in mailprobe("send", "--help").stdout


@pytest.mark.parametrize("phase", ["connect", "greeting", "ehlo", "starttls", "tls", "auth"])
def test_the_labs_own_login_is_no_reason_not_to_stop_before_it(phase: str) -> None:
    done = mailprobe("send", "--lab", "--stop-after", phase)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"stopped after {phase.upper()}" in " ".join(done.stdout.split())
