"""The lab's servers over real sockets, met by the standard library's clients and by Debian's tools."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import imaplib
import ipaddress
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailprobe.lab.driver import Done, Listener, serve
from mailprobe.lab.maildrop import Maildrop
from mailprobe.lab.plan import (
    Action,
    AnswerNext,
    Close,
    Drip,
    Flood,
    Hang,
    Pause,
    Plan,
    Raw,
    Rule,
    StartTls,
    after,
    before,
    dripping,
    edit,
    instead,
    say,
    starting_tls,
)
from mailprobe.lab.tls_pipe import end_point
from mailprobe.model.ports import Role
from mailprobe.protocols.events import ServerCore
from mailprobe.protocols.imap.config import ImapConfig
from mailprobe.protocols.imap.server import ImapServer
from mailprobe.protocols.mailstore import Envelope, Verdict
from mailprobe.protocols.pop3.server import Pop3Config, Pop3Server
from mailprobe.protocols.sasl import ChannelBinding, Credentials, client_exchange
from mailprobe.protocols.smtp.client import SmtpClient
from mailprobe.protocols.smtp.config import SmtpConfig
from mailprobe.protocols.smtp.server import SmtpServer

HOST = "127.0.0.1"
LETTER = b"From: alice@lab.test\r\nSubject: hello\r\n\r\n.dot\r\nend\r\n"


class Servers:
    """An event loop in a thread, and what listens in it."""

    def __init__(self, certificate: Path) -> None:
        self.certificate = certificate
        self.mail = Maildrop()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.client_context = ssl.create_default_context(cafile=certificate)
        self.failures: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, context: self.failures.append(context))
        self._listeners: list[tuple[Listener, asyncio.Server]] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def listen(self, core: Callable[[], ServerCore], *rules: Rule, **options: Any) -> int:
        arguments: dict[str, Any] = {
            "context": lambda: self.context,
            "subscribe": self.mail.subscribe,
            "idle_s": 20.0,
            **options,
        }
        listener = Listener(core, plan=Plan(rules), **arguments)
        server = asyncio.run_coroutine_threadsafe(serve(listener, HOST, 0), self._loop).result()
        self._listeners.append((listener, server))
        return int(server.sockets[0].getsockname()[1])

    def smtp(self, *rules: Rule, role: Role = Role.RELAY, **options: Any) -> int:
        return self.listen(lambda: SmtpServer(SmtpConfig(role=role), self.mail), *rules, **options)

    def pop3(self, *rules: Rule, **options: Any) -> int:
        return self.listen(lambda: Pop3Server(Pop3Config(), self.mail), *rules, **options)

    def imap(self, *rules: Rule, **options: Any) -> int:
        return self.listen(lambda: ImapServer(ImapConfig(), self.mail), *rules, **options)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop's thread, and wait until it is done."""

        async def now() -> None:
            function(*arguments)

        asyncio.run_coroutine_threadsafe(now(), self._loop).result()

    def put(self, data: bytes = LETTER) -> None:
        mailbox = self.mail.mailbox("alice", "INBOX")
        assert mailbox is not None
        self._loop.call_soon_threadsafe(mailbox.append, data)

    def open_connections(self) -> int:
        return sum(len(listener.connections) for listener, _ in self._listeners)

    def stop(self) -> None:
        async def close() -> None:
            for listener, server in self._listeners:
                server.close()
                listener.abort()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(asyncio.sleep(0))  # lets the aborted connections go
        self._loop.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.lab.test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("pki") / "server.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def servers(certificate: Path) -> Iterator[Servers]:
    running = Servers(certificate)
    yield running
    running.stop()
    assert running.failures == []


class Wire:
    """A client that sees every octet."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=10)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            octet = self.socket.recv(1)
            if not octet:
                break
            line += octet
        return line

    def reply(self) -> bytes:
        whole = line = self.line()
        while line[3:4] == b"-":
            line = self.line()
            whole += line
        return whole

    def say(self, data: bytes) -> bytes:
        self.socket.sendall(data + b"\r\n")
        return self.reply()

    def rest(self) -> bytes:
        whole = b""
        while data := self.socket.recv(65536):
            whole += data
        return whole

    def secure(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


# Healthy servers and the standard library


def test_smtplib_delivers_through_starttls_and_login(servers: Servers) -> None:
    with smtplib.SMTP(HOST, servers.smtp(role=Role.SUBMISSION), timeout=10) as client:
        assert "auth" not in client.esmtp_features
        client.starttls(context=servers.client_context)
        client.login("alice", "secret")
        client.sendmail("alice@lab.test", ["bob@lab.test", "x@elsewhere.test"], LETTER)
    mailbox = servers.mail.mailbox("bob", "INBOX")
    assert mailbox is not None
    letter = mailbox.get(1)
    assert letter is not None
    assert letter.data.endswith(LETTER)
    assert b"with ESMTPSA;" in letter.data
    assert servers.mail.relayed[0][0].recipients == ("bob@lab.test", "x@elsewhere.test")


def test_smtplib_delivers_through_implicit_tls(servers: Servers) -> None:
    port = servers.smtp(role=Role.SUBMISSION, implicit=True)
    with smtplib.SMTP_SSL(HOST, port, timeout=10, context=servers.client_context) as client:
        assert client.ehlo()[0] == 250
        assert not client.has_extn("starttls")
        client.login("bob", "secret")
        assert client.sendmail("bob@lab.test", "alice@lab.test", LETTER) == {}


def test_smtplib_relays_in_clear_to_local_users_only(servers: Servers) -> None:
    with smtplib.SMTP(HOST, servers.smtp(), timeout=10) as client:
        refused = client.sendmail("c@c.test", ["alice@lab.test", "x@elsewhere.test"], LETTER)
        assert refused["x@elsewhere.test"][0] == 554
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.login("alice", "secret")


def test_smtplib_is_refused_with_a_wrong_password(servers: Servers) -> None:
    with smtplib.SMTP(HOST, servers.smtp(role=Role.SUBMISSION), timeout=10) as client:
        client.starttls(context=servers.client_context)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice", "wrong")


def read_with_poplib(client: poplib.POP3) -> None:
    client.user("alice")
    client.pass_("secret")
    assert client.stat() == (2, 2 * len(LETTER))
    assert client.list()[1] == [b"1 %d" % len(LETTER), b"2 %d" % len(LETTER)]
    assert client.uidl()[1] == [b"1 1.1", b"2 1.2"]
    assert client.retr(1)[1] == LETTER.splitlines()
    assert client.top(1, 1)[1] == LETTER.splitlines()[:-1]
    client.dele(1)
    assert client.stat()[0] == 1
    client.quit()


def test_poplib_reads_and_deletes_through_stls(servers: Servers) -> None:
    servers.put()
    servers.put()
    client = poplib.POP3(HOST, servers.pop3(), timeout=10)
    assert "STLS" in client.capa()
    client.stls(context=servers.client_context)
    assert "USER" in client.capa()
    read_with_poplib(client)
    mailbox = servers.mail.mailbox("alice", "INBOX")
    assert mailbox is not None
    assert mailbox.uids() == (2,)


def test_poplib_reads_and_deletes_through_implicit_tls(servers: Servers) -> None:
    servers.put()
    servers.put()
    port = servers.pop3(implicit=True)
    read_with_poplib(poplib.POP3_SSL(HOST, port, timeout=10, context=servers.client_context))


def work_with_imaplib(client: imaplib.IMAP4) -> None:
    client.login("alice", "secret")
    assert client.select()[1] == [b"1"]
    assert client.search(None, "UNSEEN")[1] == [b"1"]
    fetched = client.fetch("1", "(FLAGS BODY[])")[1][0]
    assert isinstance(fetched, tuple)
    assert fetched[1] == LETTER
    assert client.store("1", "+FLAGS", "\\Flagged")[1] == [b"1 (FLAGS (\\Flagged \\Seen))"]
    assert client.create("Archive")[0] == "OK"
    assert client.uid("COPY", "1", "Archive")[0] == "OK"
    assert client.list()[1] == [b'() "/" INBOX', b'(\\Archive) "/" Archive']
    assert client.append("INBOX", "(\\Seen)", None, b"Subject: x\n\nbody\n")[0] == "OK"
    assert client.status("INBOX", "(MESSAGES UIDNEXT)")[1] == [b"INBOX (MESSAGES 2 UIDNEXT 3)"]
    client.store("1", "+FLAGS", "\\Deleted")
    assert client.expunge()[1] == [b"1"]
    assert client.close()[0] == "OK"
    assert client.logout()[0] == "BYE"


def test_imaplib_works_through_starttls(servers: Servers) -> None:
    servers.put()
    client = imaplib.IMAP4(HOST, servers.imap(), timeout=10)
    assert "LOGINDISABLED" in client.capabilities
    client.starttls(ssl_context=servers.client_context)
    assert "LOGINDISABLED" not in client.capabilities
    work_with_imaplib(client)


def test_imaplib_works_through_implicit_tls(servers: Servers) -> None:
    servers.put()
    port = servers.imap(implicit=True)
    work_with_imaplib(imaplib.IMAP4_SSL(HOST, port, timeout=10, ssl_context=servers.client_context))


def test_imaplib_authenticates_with_plain(servers: Servers) -> None:
    port = servers.imap(implicit=True)
    client = imaplib.IMAP4_SSL(HOST, port, timeout=10, ssl_context=servers.client_context)
    assert client.authenticate("PLAIN", lambda _: b"\0alice\0secret")[0] == "OK"
    client.logout()


def test_idle_hears_of_mail_from_another_connection(servers: Servers) -> None:
    with Wire(servers.imap(implicit=True)) as wire:
        wire.secure(servers.client_context)
        wire.line()
        wire.socket.sendall(b"a LOGIN alice secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
        while not wire.line().startswith(b"+"):
            pass
        with smtplib.SMTP(HOST, servers.smtp(), timeout=10) as client:
            client.sendmail("c@c.test", "alice@lab.test", LETTER)
        assert wire.line() == b"* 1 EXISTS\r\n"


def test_a_large_letter_goes_in_and_out(servers: Servers) -> None:
    letter = LETTER + (b"x" * 998 + b"\r\n") * 5000
    with smtplib.SMTP(HOST, servers.smtp(), timeout=30) as client:
        client.starttls(context=servers.client_context)
        client.sendmail("c@c.test", "alice@lab.test", letter)
    reader = poplib.POP3_SSL(HOST, servers.pop3(implicit=True), timeout=30, context=servers.client_context)
    reader.user("alice")
    reader.pass_("secret")
    assert b"\r\n".join(reader.retr(1)[1]).endswith(letter[:-2])
    reader.quit()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_every_flight_is_held_back_once(servers: Servers, version: ssl.TLSVersion, delay: float) -> None:
    servers.client_context.minimum_version = servers.client_context.maximum_version = version
    begin = time.monotonic()
    with Wire(servers.smtp(flight_delay_s=delay)) as wire:
        assert wire.reply().startswith(b"220 ")
        wire.say(b"EHLO c.test")
        wire.say(b"STARTTLS")
        wire.secure(servers.client_context)
        wire.say(b"EHLO c.test")
        assert wire.say(b"QUIT").startswith(b"221 ")
    flights = 6 if version is ssl.TLSVersion.TLSv1_3 else 7
    assert time.monotonic() - begin >= flights * delay


# Tools


def run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)


def curl(servers: Servers, url: str, *options: str, given: str = "") -> str:
    certificate = str(servers.certificate)
    command = ("curl", "--silent", "--show-error", "--noproxy", "*", "--ssl-reqd", "--cacert", certificate)
    done = run(*command, "--user", "alice:secret", url, *options, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_submits_and_reads_through_starttls(servers: Servers) -> None:
    smtp, pop3, imap = servers.smtp(role=Role.SUBMISSION), servers.pop3(), servers.imap()
    people = ("--mail-from", "alice@lab.test", "--mail-rcpt", "alice@lab.test")
    curl(servers, f"smtp://localhost:{smtp}/c.test", *people, "--upload-file", "-", given="Subject: curl\n\nhello\n")
    assert curl(servers, f"pop3://localhost:{pop3}/1").rstrip().endswith("Subject: curl\n\nhello")
    assert "Subject: curl" in curl(servers, f"imap://localhost:{imap}/INBOX;MAILINDEX=1")
    assert curl(servers, f"imap://localhost:{imap}/INBOX?SUBJECT%20curl").strip() == "* SEARCH 1"


def test_curl_reads_through_implicit_tls(servers: Servers) -> None:
    servers.put()
    pop3, imap = servers.pop3(implicit=True), servers.imap(implicit=True)
    assert curl(servers, f"pop3s://localhost:{pop3}/").strip() == f"1 {len(LETTER)}"
    assert curl(servers, f"imaps://localhost:{imap}/").strip() == '* LIST () "/" INBOX'


@pytest.mark.parametrize("implicit", [False, True])
def test_swaks_submits(servers: Servers, implicit: bool) -> None:
    port = servers.smtp(role=Role.SUBMISSION, implicit=implicit)
    done = run(
        "swaks", "--server", HOST, "--port", str(port), "--to", "bob@lab.test", "--from", "alice@lab.test",
        "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret", "--helo", "c.test",
        "--tlsc" if implicit else "--tls",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    mailbox = servers.mail.mailbox("bob", "INBOX")
    assert mailbox is not None
    assert mailbox.uids() == (1,)


@pytest.mark.parametrize("protocol", ["smtp", "pop3", "imap"])
def test_openssl_verifies_through_starttls(servers: Servers, protocol: str) -> None:
    port = {"smtp": servers.smtp, "pop3": servers.pop3, "imap": servers.imap}[protocol]()
    command = ("openssl", "s_client", "-connect", f"{HOST}:{port}", "-starttls", protocol, "-CAfile")
    done = run(*command, str(servers.certificate), given="QUIT\r\n")
    assert "Verify return code: 0 (ok)" in done.stdout


# Servers with a plan


def rule(when: str, do: Callable[[list[Action]], list[Action]], **fields: Any) -> Rule:
    return Rule(when, do, **fields)


def test_greeting_may_be_another_and_the_end(servers: Servers) -> None:
    with Wire(servers.smtp(rule("greeting", instead(Raw(b"421 later\r\n"), Close())))) as wire:
        assert wire.rest() == b"421 later\r\n"


def test_connection_may_be_reset_before_the_greeting(servers: Servers) -> None:
    port = servers.smtp(rule("greeting", instead(Close("rst"))))
    with pytest.raises(ConnectionResetError), Wire(port) as wire:  # it may come before connect() returns
        wire.rest()


def test_reset_comes_at_the_end_of_data(servers: Servers) -> None:
    with Wire(servers.smtp(rule("eom", instead(Close("rst"))))) as wire:
        wire.reply()
        for command in (b"EHLO c.test", b"MAIL FROM:<>", b"RCPT TO:<alice@lab.test>", b"DATA"):
            assert wire.say(command)[:1] in b"23"
        with pytest.raises(ConnectionResetError):
            wire.say(b".")


def test_hanging_server_says_nothing_and_stays(servers: Servers) -> None:
    with Wire(servers.smtp(rule("ehlo", instead(Hang())))) as wire:
        wire.reply()
        wire.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.say(b"EHLO c.test")


def test_silent_client_is_dropped(servers: Servers) -> None:
    with Wire(servers.smtp(idle_s=0.05)) as wire:
        wire.reply()
        with contextlib.suppress(ConnectionResetError):
            assert wire.rest() == b""


def test_greeting_may_drip(servers: Servers) -> None:
    with Wire(servers.smtp(rule("greeting", dripping(1, 0.001)))) as wire:
        assert wire.reply() == b"220 mail.lab.test ESMTP\r\n"
        assert wire.say(b"NOOP") == b"250 Ok\r\n"


def test_pauses_keep_the_order(servers: Servers) -> None:
    port = servers.smtp(rule("helo", before(Pause(0.02))), rule("noop", instead(Drip(b"250 a\r\n", 3, 0.01))))
    with Wire(port) as wire:
        wire.reply()
        wire.socket.sendall(b"HELO c.test\r\nNOOP\r\nRSET\r\nQUIT\r\n")
        assert wire.rest() == b"250 mail.lab.test\r\n250 a\r\n250 Ok\r\n221 Bye\r\n"


def test_rules_count_over_connections_or_in_each(servers: Servers) -> None:
    no = say(b"450 later\r\n")
    over, each = servers.smtp(rule("noop", no, nth=2)), servers.smtp(rule("noop", no, nth=2, each_connection=True))
    seen = []
    for port in (over, over, each, each):
        with Wire(port) as wire:
            wire.reply()
            seen.append((wire.say(b"NOOP")[:3], wire.say(b"NOOP")[:3]))
    assert seen == [(b"250", b"450"), (b"250", b"250"), (b"250", b"450"), (b"250", b"450")]


def test_rules_may_be_for_inside_tls_only(servers: Servers) -> None:
    with Wire(servers.smtp(rule("ehlo", say(b"503 no\r\n"), secure=True))) as wire:
        wire.reply()
        assert wire.say(b"EHLO c.test").startswith(b"250-")
        wire.say(b"STARTTLS")
        wire.secure(servers.client_context)
        assert wire.say(b"EHLO c.test") == b"503 no\r\n"


def test_starttls_may_be_refused_and_the_server_goes_on(servers: Servers) -> None:
    with Wire(servers.smtp(rule("starttls", say(b"454 no\r\n")))) as wire:
        wire.reply()
        assert wire.say(b"STARTTLS") == b"454 no\r\n"
        assert wire.say(b"NOOP") == b"250 Ok\r\n"


def test_starttls_may_be_answered_in_clear(servers: Servers) -> None:
    do = instead(Raw(b"220 go\r\n"), AnswerNext(b"500 what?\r\n"), Close())
    with Wire(servers.smtp(rule("starttls", do))) as wire:
        wire.reply()
        assert wire.say(b"STARTTLS") == b"220 go\r\n"
        wire.socket.sendall(b"\x16\x03\x01")
        assert wire.rest() == b"500 what?\r\n"


def test_replies_may_be_edited(servers: Servers) -> None:
    port = servers.smtp(rule("ehlo", edit(lambda data: data.replace(b"STARTTLS", b"XXXXXXXA"))))
    with Wire(port) as wire:
        wire.reply()
        assert b"XXXXXXXA" in wire.say(b"EHLO c.test")


def inject_command(port: int, servers: Servers) -> bytes:
    """Put a command behind STARTTLS, and give what is said first inside TLS."""
    with Wire(port) as wire:
        wire.reply()
        wire.say(b"EHLO c.test")
        assert wire.say(b"STARTTLS\r\nHELP").startswith(b"220 ")
        wire.secure(servers.client_context)
        return wire.say(b"NOOP")


def test_command_injection_is_thrown_away_by_default(servers: Servers) -> None:
    assert inject_command(servers.smtp(), servers) == b"250 Ok\r\n"
    assert inject_command(servers.smtp(flight_delay_s=0.01), servers) == b"250 Ok\r\n"


def test_command_injection_works_when_the_buffer_is_kept(servers: Servers) -> None:
    keep = rule("starttls", starting_tls(StartTls(keep_buffer=True)))
    assert inject_command(servers.smtp(keep), servers) == b"214 See RFC 5321\r\n"


def test_command_injection_works_in_a_segment_of_its_own(servers: Servers) -> None:
    with Wire(servers.smtp(rule("starttls", starting_tls(StartTls(keep_buffer=True))))) as wire:
        wire.reply()
        wire.say(b"STARTTLS")
        wire.socket.sendall(b"HELP\r\n")
        wire.secure(servers.client_context)
        assert wire.reply() == b"214 See RFC 5321\r\n"


def test_response_injection_comes_in_the_same_segment(servers: Servers) -> None:
    port = servers.smtp(rule("starttls", starting_tls(StartTls(before=b"250 injected\r\n"))))
    with Wire(port) as wire:
        wire.reply()
        wire.socket.sendall(b"STARTTLS\r\n")
        assert wire.socket.recv(65536).endswith(b"start TLS\r\n250 injected\r\n")
        wire.secure(servers.client_context)
        assert wire.say(b"NOOP") == b"250 Ok\r\n"


def test_plaintext_may_come_ahead_of_the_handshake(servers: Servers) -> None:
    port = servers.smtp(rule("starttls", starting_tls(StartTls(after=b"250 what?\r\n"))))
    with Wire(port) as wire:
        wire.reply()
        wire.say(b"STARTTLS")
        with pytest.raises(ssl.SSLError):
            wire.secure(servers.client_context)


def test_implicit_tls_may_fail_at_the_handshake(servers: Servers) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal, handshake_failure
    port = servers.smtp(rule("connect", instead(AnswerNext(alert), Close())), implicit=True)
    with Wire(port) as wire, pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        wire.secure(servers.client_context)


def test_connection_may_end_right_after_the_handshake(servers: Servers) -> None:
    with Wire(servers.smtp(rule("secured", after(Close())), implicit=True)) as wire:
        wire.secure(servers.client_context)
        assert wire.rest() == b""


@pytest.mark.parametrize(("how", "clean"), [("fin", True), ("no-close-notify", False)])
def test_close_notify_may_be_left_out(servers: Servers, how: str, clean: bool) -> None:
    with Wire(servers.smtp(rule("quit", instead(Close(how))), implicit=True)) as wire:  # type: ignore[arg-type]
        wire.socket = servers.client_context.wrap_socket(
            wire.socket, server_hostname="localhost", suppress_ragged_eofs=False
        )
        wire.reply()
        wire.socket.sendall(b"QUIT\r\n")
        if clean:
            assert wire.rest() == b""
        else:
            with pytest.raises(ssl.SSLEOFError):
                wire.rest()


def test_implicit_tls_meets_a_client_in_clear(servers: Servers) -> None:
    with Wire(servers.smtp(implicit=True)) as wire:
        wire.socket.sendall(b"EHLO c.test\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"220" not in wire.rest()


def test_flood_stops_when_the_client_does_not_read(servers: Servers) -> None:
    with Wire(servers.smtp(rule("greeting", instead(Flood(b"220-x\r\n", 1 << 30))))) as wire:
        assert wire.line() == b"220-x\r\n"
        assert wire.line() == b"220-x\r\n"
    with Wire(servers.smtp(rule("greeting", instead(Flood(b"220-x\r\n", 700000), Close())))) as wire:
        assert len(wire.rest()) == 700000


def test_half_closing_client_gets_its_replies(servers: Servers) -> None:
    with Wire(servers.smtp()) as wire:
        wire.socket.sendall(b"HELO c.test\r\n")
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.rest().endswith(b"250 mail.lab.test\r\n")


# Others decide on a message


QUEUED = Verdict(250, "2.0.0", "Queued as 4F")
PIPELINED = b"EHLO c.test\r\nMAIL FROM:<c@c.test>\r\nRCPT TO:<alice@lab.test>\r\nBDAT 3 LAST\r\na\r\nNOOP\r\n"


class Office:
    """Is handed messages, and says what becomes of them when it is told to, or at once."""

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.messages: list[tuple[Envelope, bytes]] = []
        self.waiting: list[Done] = []
        self.came = threading.Semaphore(0)

    def accept(self, envelope: Envelope, data: bytes, done: Done) -> None:
        self.messages.append((envelope, data))
        if self.at_once:
            done(QUEUED)
        else:
            self.waiting.append(done)
        self.came.release()


def pipelined(port: int, data: bytes = PIPELINED) -> Wire:
    """Send everything at once, and read up to the replies that do not depend on the message."""
    wire = Wire(port)
    wire.reply()
    wire.socket.sendall(data)
    assert [wire.reply()[:3] for _ in range(3)] == [b"250"] * 3
    return wire


@pytest.mark.parametrize("at_once", [True, False])
def test_a_message_waits_for_its_verdict_and_the_rest_behind_it(servers: Servers, at_once: bool) -> None:
    office = Office(at_once)
    with pipelined(servers.smtp(accept=office.accept)) as wire:
        assert office.came.acquire(timeout=10)
        wire.socket.sendall(b"QUIT\r\n")
        if not at_once:
            wire.socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                wire.socket.recv(1)
            wire.socket.settimeout(10)
            servers.call(office.waiting[0], QUEUED)
            servers.call(office.waiting[0], QUEUED)  # once too often
        assert wire.rest() == b"250 2.0.0 Queued as 4F\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"
    ((envelope, data),) = office.messages
    assert data == b"a\r\n"
    assert (envelope.client_address, envelope.tls) == (HOST, "")
    assert servers.mail.mailbox("alice", "INBOX").uids() == ()  # type: ignore[union-attr]


def test_a_verdict_may_come_after_the_client_has_gone(servers: Servers) -> None:
    office = Office()
    with pipelined(servers.smtp(accept=office.accept)) as wire:
        assert office.came.acquire(timeout=10)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    deadline = time.monotonic() + 10
    while servers.open_connections() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    servers.call(office.waiting[0], QUEUED)


def test_a_half_closing_client_gets_its_verdict(servers: Servers) -> None:
    office = Office()
    with pipelined(servers.smtp(accept=office.accept)) as wire:
        assert office.came.acquire(timeout=10)
        wire.socket.shutdown(socket.SHUT_WR)
        servers.call(lambda: None)
        servers.call(office.waiting[0], QUEUED)
        assert wire.rest() == b"250 2.0.0 Queued as 4F\r\n250 2.0.0 Ok\r\n"


def test_who_waits_for_a_verdict_is_not_idle(servers: Servers) -> None:
    office = Office()
    with pipelined(servers.smtp(accept=office.accept, idle_s=0.05)) as wire:
        assert office.came.acquire(timeout=10)
        wire.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.socket.recv(1)
        servers.call(office.waiting[0], QUEUED)
        assert wire.reply() == b"250 2.0.0 Queued as 4F\r\n"


@pytest.mark.parametrize("accepting", [True, False])
def test_a_reset_may_come_after_the_message_was_stored(servers: Servers, accepting: bool) -> None:
    office = Office(at_once=True)
    port = servers.smtp(rule("bdat", instead(Close("rst"))), accept=office.accept if accepting else None)
    with pipelined(port) as wire, pytest.raises(ConnectionResetError):
        wire.rest()
    stored = servers.mail.mailbox("alice", "INBOX").uids()  # type: ignore[union-attr]
    assert (len(office.messages), len(stored)) == ((1, 0) if accepting else (0, 1))


def test_a_reset_before_the_message_keeps_it_out(servers: Servers) -> None:
    office = Office(at_once=True)
    port = servers.smtp(rule("rcpt", instead(Close("rst"))), accept=office.accept)
    with Wire(port) as wire, contextlib.suppress(ConnectionResetError):
        wire.socket.sendall(PIPELINED)
        wire.rest()
    assert office.messages == []


def test_lmtp_delivers_for_smtplib(servers: Servers) -> None:
    port = servers.listen(lambda: SmtpServer(SmtpConfig(lmtp=True), servers.mail))
    with smtplib.LMTP(HOST, port) as client:
        assert client.sendmail("c@c.test", ["alice@lab.test"], LETTER) == {}
    assert servers.mail.mailbox("alice", "INBOX").uids() == (1,)  # type: ignore[union-attr]


def test_25_megabytes_arrive_as_they_were(servers: Servers) -> None:
    office = Office(at_once=True)
    config = SmtpConfig(size_limit=64 << 20)
    port = servers.listen(lambda: SmtpServer(config, servers.mail), accept=office.accept)
    letter = b"Subject: big\r\n\r\n" + b"".join(b".%0997d\r\n" % number for number in range(25_000))
    wire = SmtpClient()
    with pipelined(port, wire.ehlo("c.test") + wire.mail("c@c.test") + wire.rcpt("alice@lab.test")) as client:
        assert client.say(b"DATA")[:3] == b"354"
        client.socket.sendall(wire.body(letter))
        assert client.reply() == b"250 2.0.0 Queued as 4F\r\n"
    assert office.messages[0][1] == letter


# Logging in


def test_cram_md5_lets_in_imaplib_and_smtplib(servers: Servers) -> None:
    imap = servers.listen(lambda: ImapServer(ImapConfig(sasl_inside_tls=("CRAM-MD5",)), servers.mail), implicit=True)
    reader = imaplib.IMAP4_SSL(HOST, imap, timeout=10, ssl_context=servers.client_context)
    assert reader.login_cram_md5("alice", "secret")[0] == "OK"
    reader.logout()
    config = SmtpConfig(role=Role.SUBMISSION, auth_inside_tls=("CRAM-MD5",))
    smtp = servers.listen(lambda: SmtpServer(config, servers.mail), implicit=True)
    with smtplib.SMTP_SSL(HOST, smtp, timeout=10, context=servers.client_context) as client:
        assert client.login("alice", "secret")[0] == 235


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["tls-unique", "tls-server-end-point"])
def test_scram_is_bound_to_the_connection(servers: Servers, version: ssl.TLSVersion, kind: str) -> None:
    servers.client_context.maximum_version = servers.client_context.minimum_version = version
    own = ssl.PEM_cert_to_DER_cert(x509_part(servers.certificate))
    config = SmtpConfig(role=Role.SUBMISSION, auth_inside_tls=("SCRAM-SHA-256-PLUS",))
    port = servers.listen(lambda: SmtpServer(config, servers.mail), implicit=True, certificate=lambda: own)
    with smtplib.SMTP_SSL(HOST, port, timeout=10, context=servers.client_context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        seen = client.sock.getpeercert(binary_form=True)
        assert seen is not None
        unique = client.sock.get_channel_binding("tls-unique") or b""
        binding = ChannelBinding("tls-unique", unique) if kind == "tls-unique" else ChannelBinding(
            "tls-server-end-point", end_point(seen)
        )  # fmt: skip
        exchange = client_exchange("SCRAM-SHA-256-PLUS", Credentials("alice", password="secret"), binding)
        client.ehlo()
        code, reply = client.docmd("AUTH SCRAM-SHA-256-PLUS", base64.b64encode(exchange.initial() or b"").decode())
        while code == 334:
            answer = exchange.respond(base64.b64decode(reply))
            code, reply = client.docmd(base64.b64encode(answer).decode())
        expected = 501 if kind == "tls-unique" and version is ssl.TLSVersion.TLSv1_3 else 235
        assert code == expected


def x509_part(certificate: Path) -> str:
    _, begin, rest = certificate.read_text().partition("-----BEGIN CERTIFICATE-----")
    return begin + rest


# Hostile clients


@pytest.mark.parametrize("kind", ["smtp", "pop3", "imap"])
def test_endless_line_ends_the_connection(servers: Servers, kind: str) -> None:
    port = {"smtp": servers.smtp, "pop3": servers.pop3, "imap": servers.imap}[kind]()
    with Wire(port) as wire:
        wire.line()
        with contextlib.suppress(ConnectionError):
            for _ in range(17):
                wire.socket.sendall(b"x" * 65536)
        assert wire.line().strip() in (b"421 Line too long", b"-ERR line too long", b"* BYE line too long")


def test_huge_literal_ends_the_connection(servers: Servers) -> None:
    with Wire(servers.imap()) as wire:
        wire.line()
        wire.socket.sendall(b"a LOGIN {4000000000+}\r\n")
        assert wire.rest() == b"* BYE [TOOBIG] literal too big\r\n"


def test_binary_is_survived(servers: Servers) -> None:
    junk = bytes(range(256)) * 100
    for port in (servers.smtp(), servers.pop3(), servers.imap(), servers.smtp(implicit=True)):
        with Wire(port) as wire, contextlib.suppress(ConnectionError):
            wire.socket.sendall(junk)
            wire.socket.shutdown(socket.SHUT_WR)
            wire.rest()


def test_client_that_never_reads_is_not_read_either(servers: Servers) -> None:
    for _ in range(4):
        servers.put(b"x" * 1000000)
    with Wire(servers.imap(implicit=True)) as wire:
        wire.secure(servers.client_context)
        wire.socket.settimeout(0.5)
        wire.socket.sendall(b"a LOGIN alice secret\r\nb SELECT INBOX\r\n")
        with pytest.raises(TimeoutError):
            wire.socket.sendall(b"c FETCH 1:* RFC822\r\n" * 1000000)


def test_connections_that_end_leave_nothing(servers: Servers) -> None:
    port = servers.smtp()
    for _ in range(5):
        with Wire(port) as wire:
            wire.reply()
            wire.say(b"QUIT")
            wire.rest()
    with Wire(port) as wire:
        wire.reply()
    deadline = time.monotonic() + 5
    while servers.open_connections() and time.monotonic() < deadline:
        with Wire(port) as wire:
            wire.socket.close()
        threading.Event().wait(0.01)
    assert servers.open_connections() <= 1
