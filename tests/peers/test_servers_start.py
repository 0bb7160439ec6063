"""Each server starts, answers an independent client, stops, and leaves no process behind."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
import subprocess
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.peers.availability import require_program
from tests.peers.certificates import CertificateAuthority, Kind
from tests.peers.mailhost import MailHost, MailHostFactory, Variant
from tests.peers.nameserver import NameServer
from tests.peers.servers.nsd import Nsd
from tests.peers.servers.process import PortTaken, ServerError, on_free_ports

LIMIT_S = 20


def verifying(host: MailHost) -> ssl.SSLContext:
    """Make a context that verifies the chain; the connection goes to an address, so the name is left aside."""
    context = ssl.create_default_context(cafile=str(host.ca_file))
    context.check_hostname = False
    return context


def smtp(host: MailHost, port: int) -> smtplib.SMTP:
    return smtplib.SMTP(*host.endpoint(port), local_hostname="client.example.test", timeout=LIMIT_S)


def smtps(host: MailHost) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL(
        *host.endpoint(465), local_hostname="client.example.test", timeout=LIMIT_S, context=verifying(host)
    )


def imap(host: MailHost) -> imaplib.IMAP4:
    return imaplib.IMAP4(*host.endpoint(143), timeout=LIMIT_S)


def imaps(host: MailHost) -> imaplib.IMAP4_SSL:
    return imaplib.IMAP4_SSL(*host.endpoint(993), ssl_context=verifying(host), timeout=LIMIT_S)


def pop3(host: MailHost) -> poplib.POP3:
    return poplib.POP3(*host.endpoint(110), timeout=LIMIT_S)


def pop3s(host: MailHost) -> poplib.POP3_SSL:
    return poplib.POP3_SSL(*host.endpoint(995), context=verifying(host), timeout=LIMIT_S)


def s_client(host: MailHost, port: int, *options: str) -> str:
    """Run `openssl s_client` and give everything it printed."""
    starttls = {25: "smtp", 587: "smtp", 110: "pop3", 143: "imap"}.get(port)
    command = [require_program("openssl"), "s_client", "-connect", "{}:{}".format(*host.endpoint(port))]
    command += ["-CAfile", str(host.ca_file), *options]
    command += ["-starttls", starttls] if starttls else []
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.stdout + done.stderr


def nslookup(resolver: str, name: str, kind: str) -> str:
    address, _, port = resolver.partition(":")
    command = [require_program("nslookup"), f"-port={port}", f"-type={kind}", name, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout


def test_the_relay_offers_starttls_and_no_logins(mail_host: MailHostFactory) -> None:
    host = mail_host()
    with smtp(host, 25) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        client.starttls(context=verifying(host))
        client.ehlo()
        assert client.has_extn("pipelining")
        assert not client.has_extn("auth")
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == "TLSv1.3"
        assert client.mail("someone@elsewhere.test")[0] == 250
        assert client.rcpt("someone@elsewhere.test")[0] == 554


def test_submission_offers_logins_inside_tls_only(mail_host: MailHostFactory) -> None:
    host = mail_host()
    with smtp(host, 587) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        client.starttls(context=verifying(host))
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        client.login("alice", host.password)


def test_submissions_speaks_tls_first(mail_host: MailHostFactory) -> None:
    host = mail_host()
    with smtps(host) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        client.login("alice", host.password)


def test_pop3_takes_logins_inside_tls_only(mail_host: MailHostFactory) -> None:
    host = mail_host()
    client = pop3(host)
    assert "USER" not in client.capa()
    client.stls(verifying(host))
    assert "USER" in client.capa()
    client.user("pop-user")
    client.pass_(host.password)
    assert client.stat() == (0, 0)
    client.quit()


def test_pop3s_speaks_tls_first(mail_host: MailHostFactory) -> None:
    client = pop3s(mail_host())
    client.user("pops-user")
    client.pass_(mail_host().password)
    client.quit()


def test_imap_takes_logins_inside_tls_only(mail_host: MailHostFactory) -> None:
    host = mail_host()
    with imap(host) as client:
        assert "LOGINDISABLED" in client.capabilities
        client.starttls(verifying(host))
        assert "LOGINDISABLED" not in client.capabilities
        client.login("imap-user", host.password)
        assert client.select() == ("OK", [b"0"])


def test_a_submitted_letter_arrives_in_the_mailbox(mail_host: MailHostFactory) -> None:
    host = mail_host()
    letter = EmailMessage()
    letter["Subject"] = "delivered"
    with smtps(host) as sender:
        sender.login("writer", host.password)
        sender.send_message(letter, f"writer@{host.domain}", f"reader@{host.domain}")
    with imaps(host) as reader:
        reader.login("reader", host.password)
        deadline = time.monotonic() + LIMIT_S
        while reader.select()[1] == [b"0"]:
            assert time.monotonic() < deadline, [process.log for process in host.processes]
        part = reader.fetch("1", "(BODY[HEADER])")[1][0]
        assert isinstance(part, tuple)
        assert b"Subject: delivered" in part[1]


@pytest.mark.parametrize("port", [25, 587, 465, 110, 995, 143, 993])
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (Kind.VALID, "Verify return code: 0 (ok)"),
        (Kind.EXPIRED, "Verify return code: 10 (certificate has expired)"),
        (Kind.SELF_SIGNED, "Verify return code: 18 (self-signed certificate)"),
        (Kind.INCOMPLETE, "Verify return code: 21 (unable to verify the first certificate)"),
    ],
)
def test_all_seven_ports_show_the_certificate(mail_host: MailHostFactory, port: int, kind: Kind, verdict: str) -> None:
    host = mail_host(certificate=kind)
    name = ["-verify_hostname", host.name, "-servername", host.name]
    assert verdict in s_client(host, port, *name)


@pytest.mark.parametrize(("legacy", "protocol"), [(False, "Cipher is (NONE)"), (True, "New, TLSv1.0, Cipher is")])
@pytest.mark.parametrize("port", [25, 587, 465, 110, 995, 143, 993])
def test_only_the_legacy_host_takes_tls_1_0(mail_host: MailHostFactory, port: int, legacy: bool, protocol: str) -> None:
    assert protocol in s_client(mail_host(legacy_tls=legacy), port, "-tls1", "-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize("legacy", [False, True])
def test_only_the_legacy_relay_takes_anonymous_suites(mail_host: MailHostFactory, legacy: bool) -> None:
    shown = s_client(mail_host(legacy_tls=legacy), 25, "-tls1_2", "-cipher", "aNULL:@SECLEVEL=0")
    assert ("Cipher is AECDH-" in shown or "Cipher is ADH-" in shown) is legacy


def test_without_starttls_only_the_tls_ports_have_tls(mail_host: MailHostFactory) -> None:
    host = mail_host(starttls=False)
    for port in (25, 587):
        with smtp(host, port) as client:
            client.ehlo()
            assert not client.has_extn("starttls")
            assert not client.has_extn("auth")
    with imap(host) as reader:
        assert "STARTTLS" not in reader.capabilities
        assert "LOGINDISABLED" in reader.capabilities
    popper = pop3(host)
    assert "STLS" not in popper.capa()
    popper.quit()
    smtps(host).quit()
    imaps(host).logout()
    pop3s(host).quit()


def test_with_dovecot_down_the_relay_still_works(mail_host: MailHostFactory) -> None:
    host = mail_host(dovecot=False)
    for port in (110, 995, 143, 993):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(host.endpoint(port), timeout=LIMIT_S)
    with smtp(host, 25) as client:
        assert client.ehlo()[0] == 250
    with smtp(host, 587) as client:
        client.ehlo()
        client.starttls(context=verifying(host))
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.ehlo()
    plain = socket.create_connection(host.endpoint(465), timeout=LIMIT_S)
    with verifying(host).wrap_socket(plain) as secured:
        assert secured.recv(100) == b""


def test_plaintext_logins_where_they_are_allowed(mail_host: MailHostFactory) -> None:
    host = mail_host(plaintext_auth=True)
    with smtp(host, 587) as sender:
        sender.login("alice", host.password)
        assert sender.has_extn("starttls")
    with imap(host) as reader:
        assert "LOGINDISABLED" not in reader.capabilities
        reader.login("alice", host.password)
    client = pop3(host)
    assert "USER" in client.capa()
    client.quit()


def test_one_variant_is_one_host(mail_host: MailHostFactory) -> None:
    assert mail_host() is mail_host(certificate=Kind.VALID)
    assert mail_host() is not mail_host(plaintext_auth=True)


def test_the_lab_file_leads_to_the_host(mail_host: MailHostFactory, resolver: str) -> None:
    host = mail_host()
    described = host.lab_file(resolver)
    assert described.resolver == resolver
    assert described.ports[f"{host.address}:25"] == f"{host.address}:{host.ports[25]}"
    assert f"{host.ports[465]}:submissions" in host.port_list


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("example.test", "MX", "mail exchanger = 10 mail.example.test."),
        ("mail.example.test", "A", "Address: 127.0.0.25"),
        ("127.0.0.25", "PTR", "name = mail.example.test."),
        ("nullmx.test", "MX", "mail exchanger = 0 ."),
        ("cnamemx.test", "MX", "mail exchanger = 10 alias.cnamemx.test."),
        ("alias.cnamemx.test", "A", "canonical name = mail.example.test."),
        ("danglingmx.test", "MX", "mail exchanger = 10 nowhere.danglingmx.test."),
        ("nowhere.danglingmx.test", "A", "NXDOMAIN"),
        ("nomx.test", "MX", "No answer"),
        ("nomx.test", "A", "Address: 127.0.0.25"),
        ("nomail.test", "A", "No answer"),
        ("www.alias.test", "MX", "canonical name = example.test."),
        ("threemx.test", "MX", "mail exchanger = 20 third.threemx.test."),
        ("many.test", "TXT", '"059 xxx'),
        ("secure.test", "MX", "mail exchanger = 10 mail.example.test."),
        ("bogus.test", "MX", "SERVFAIL"),
        ("absent.test", "MX", "NXDOMAIN"),
        ("outside.example", "MX", "SERVFAIL"),
    ],
)
def test_nslookup_through_unbound(resolver: str, name: str, kind: str, said: str) -> None:
    assert said in nslookup(resolver, name, kind)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (("+ignore", "many.test", "TXT"), "flags: qr tc"),
        (("+dnssec", "secure.test", "MX"), "flags: qr rd ra ad"),
        (("+cd", "bogus.test", "MX"), "status: NOERROR"),
        (("bogus.test", "MX"), "EDE: 6 (DNSSEC Bogus)"),
    ],
)
def test_dig_through_unbound(resolver: str, query: tuple[str, ...], said: str) -> None:
    address, _, port = resolver.partition(":")
    command = [require_program("dig"), f"@{address}", "-p", port, *query]
    assert said in subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout


def test_nsd_answers_with_authority_and_refuses_the_rest(name_server: NameServer) -> None:
    address, _, port = name_server.authoritative.partition(":")
    command = [require_program("dig"), f"@{address}", "-p", port, "+norecurse"]
    for name, said in (("example.test", "flags: qr aa"), ("outside.example", "status: REFUSED")):
        done = subprocess.run([*command, name, "MX"], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        assert said in done.stdout


def processes_of(directory: Path) -> list[str]:
    """Give the command lines of running processes that name this directory or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if command and (str(directory) in command or (entry / "cwd").readlink().is_relative_to(directory)):
                found.append(command)
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("mail_host")
def test_a_stopped_mail_host_leaves_nothing(
    server_directory: Path, certificate_authority: CertificateAuthority
) -> None:
    directory = server_directory / "stopped"
    attempt = iter(range(10))
    host = on_free_ports(
        lambda: MailHost(directory / str(next(attempt)), certificate_authority, Variant(starttls=False))
    )
    smtps(host).quit()
    imaps(host).logout()
    assert all(process.members() for process in host.processes)
    assert processes_of(directory)
    host.stop()
    assert not any(process.members() for process in host.processes)
    assert processes_of(directory) == []
    for port in host.ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(host.endpoint(port), timeout=LIMIT_S)


@pytest.mark.usefixtures("name_server")
def test_a_stopped_name_server_leaves_nothing(server_directory: Path) -> None:
    directory = server_directory / "stopped-dns"
    server = NameServer(directory)
    assert "mail.example.test" in nslookup(server.resolver, "example.test", "MX")
    assert len(processes_of(directory)) >= 2
    server.stop()
    assert processes_of(directory) == []


@pytest.mark.usefixtures("name_server")
def test_a_taken_port_is_told_apart_and_tried_again(server_directory: Path) -> None:
    directory = server_directory / "taken"
    with socket.socket() as other:
        first = Nsd(directory / "first", {})
        other.bind(("127.0.0.1", first.port))
        other.listen()
        with pytest.raises(PortTaken):
            first.start()
        waiting = iter([first, second := Nsd(directory / "second", {})])
        assert on_free_ports(lambda: next(waiting)) is second
    first.stop()
    second.stop()


@pytest.mark.usefixtures("name_server")
def test_a_server_that_cannot_start_says_what_it_printed(server_directory: Path) -> None:
    broken = Nsd(server_directory / "broken", {})
    (server_directory / "broken/nsd.conf").write_text("nonsense\n")
    with pytest.raises(ServerError, match="syntax error"):
        broken.start()
