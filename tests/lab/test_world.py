"""The whole lab: independent clients work against healthy hosts, every scenario stands, nothing is left behind."""

from __future__ import annotations

import email
import imaplib
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Reach, Scenario, Site
from mailprobe.lab.world import SCENARIOS, Lab
from mailprobe.model.finding import Verdict
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import WELL_KNOWN
from mailprobe.net.labs import Elsewhere

TIMEOUT_S = 10
LETTER = b"From: alice@good.lab.test\r\nTo: bob@good.lab.test\r\nSubject: %b\r\n\r\n.Hello\r\n"
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def trusting(lab: Lab) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab.ca_file))


def records(lab: Lab, name: str, kind: str) -> list[str]:
    host, _, port = lab.resolver.rpartition(":")
    reply = dns.query.udp(dns.message.make_query(name, kind), host, port=int(port), timeout=TIMEOUT_S)
    wanted = dns.rdatatype.from_text(kind)
    return [str(rdata).lower() for rrset in reply.answer if rrset.rdtype == wanted for rdata in rrset]


def address_of(lab: Lab, host: str) -> str:
    return records(lab, host, "A")[0]


def connect(lab: Lab, host: str, port: int) -> socket.socket:
    return socket.create_connection(lab.route(address_of(lab, host), port), TIMEOUT_S)


# -- the standard clients, which know nothing of the lab --------------------------------------------------------


def smtp(lab: Lab, host: str, port: int) -> smtplib.SMTP:
    client = smtplib.SMTP(timeout=TIMEOUT_S)
    client.connect(*lab.route(address_of(lab, host), port))
    client._host = host  # type: ignore[attr-defined]  # the name that starttls() verifies
    return client


def deliver(lab: Lab, trusting: ssl.SSLContext, subject: bytes) -> None:
    with smtp(lab, "mx.good.lab.test", 587) as client:
        client.starttls(context=trusting)
        client.login("alice", "secret")
        assert client.sendmail("alice@good.lab.test", ["bob@good.lab.test"], LETTER % subject) == {}


def test_smtplib_delivers_to_the_exchanger(lab: Lab, trusting: ssl.SSLContext) -> None:
    with smtp(lab, "mx.good.lab.test", 25) as client:
        client.starttls(context=trusting)
        assert client.sendmail("eve@elsewhere.test", ["bob@good.lab.test"], LETTER % b"relay") == {}


def test_exchanger_is_no_open_relay(lab: Lab) -> None:
    with smtp(lab, "mx.good.lab.test", 25) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail("eve@elsewhere.test", ["mallory@elsewhere.test"], LETTER % b"relay")


def test_smtplib_submits_over_implicit_tls(lab: Lab, trusting: ssl.SSLContext) -> None:
    raw = connect(lab, "mx.good.lab.test", 465)
    with trusting.wrap_socket(raw, server_hostname="mx.good.lab.test") as channel:
        client = smtplib.SMTP()
        client.sock, client.file = channel, channel.makefile("rb")
        assert client.getreply()[0] == 220
        client.login("bob", "secret")
        client.quit()


def test_imaplib_reads_flags_and_deletes(lab: Lab, trusting: ssl.SSLContext) -> None:
    deliver(lab, trusting, b"for imap")

    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return connect(lab, self.host, self.port)

    client = Client("mx.good.lab.test", 143)
    client.starttls(trusting)
    client.login("bob", "secret")
    client.select()
    status, found = client.search(None, "SUBJECT", '"for imap"')
    number = found[0].split()[-1].decode()
    status, fetched = client.fetch(number, "(FLAGS BODY[])")
    assert status == "OK"
    assert isinstance(fetched[0], tuple)
    assert email.message_from_bytes(fetched[0][1]).get_payload() == ".Hello\r\n"
    client.store(number, "+FLAGS", r"(\Deleted)")
    client.expunge()
    assert client.search(None, "SUBJECT", '"for imap"') == ("OK", [b""])
    client.logout()


def test_poplib_lists_retrieves_and_deletes(lab: Lab, trusting: ssl.SSLContext) -> None:
    deliver(lab, trusting, b"for pop3")

    class Client(poplib.POP3):
        def _create_socket(self, timeout: float) -> socket.socket:
            return connect(lab, self.host, self.port)

    client = Client("mx.good.lab.test", 110, timeout=TIMEOUT_S)
    client.stls(trusting)
    client.user("bob")
    client.pass_("secret")
    count = client.stat()[0]
    assert count >= 1
    assert client.retr(count)[1][-1] == b".Hello"
    client.dele(count)
    client.quit()


@pytest.mark.parametrize("port", [465, 995, 993])
def test_certificate_of_an_implicit_port_is_trusted(lab: Lab, trusting: ssl.SSLContext, port: int) -> None:
    for name in ("mx.good.lab.test", "good.lab.test"):
        raw = connect(lab, name, port)
        with trusting.wrap_socket(raw, server_hostname=name) as channel:
            assert channel.version() == "TLSv1.3"


# -- names ------------------------------------------------------------------------------------------------------


def test_manuals_domains_have_the_manuals_exchangers(lab: Lab) -> None:
    assert records(lab, "google.com", "MX") == ["10 smtp.google.com."]
    assert records(lab, "pens.ac.id", "MX") == [
        "10 pmg2.pens.ac.id.",
        "20 mail.pens.ac.id.",
        "30 pmg.pens.ac.id.",
    ]


@pytest.mark.parametrize(
    "host", ["smtp.google.com", "pmg2.pens.ac.id", "mail.pens.ac.id", "pmg.pens.ac.id", "mx.good.lab.test"]
)
def test_healthy_hosts_have_a_reverse_name_that_leads_back(lab: Lab, host: str) -> None:
    address = address_of(lab, host)
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert records(lab, reverse, "PTR") == [f"{host}."]


def test_scenario_is_a_domain_and_a_host(lab: Lab) -> None:
    assert records(lab, "starttls-hang.lab.test", "MX") == ["10 mx.starttls-hang.lab.test."]
    assert address_of(lab, "starttls-hang.lab.test") == address_of(lab, "mx.starttls-hang.lab.test")


# -- the catalogue ----------------------------------------------------------------------------------------------


def test_names_are_unique_and_fit_a_label() -> None:
    assert len(BY_NAME) == len(SCENARIOS) >= 100
    assert all(len(name) <= 40 and name.replace("-", "").isalnum() for name in BY_NAME)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_twin_exists_and_is_not_meant_to_fail_the_same_check(scenario: Scenario) -> None:
    twin = BY_NAME[scenario.twin]
    assert twin.check != scenario.check or twin.verdict is Verdict.OK
    assert scenario.wrong
    assert scenario.layer


def test_every_named_check_fails_somewhere() -> None:
    failing = {scenario.check for scenario in SCENARIOS if scenario.verdict is Verdict.FAIL}
    assert {scenario.check for scenario in SCENARIOS} == failing


def test_every_port_of_every_scenario_can_be_bound() -> None:
    with Lab() as running:
        written = running.lab_file()
        listening = [where for named, where in written.ports.items() if named.startswith("127.53.1.")]
        assert len(set(listening)) == len(listening)
        assert len(written.ports) >= len(SCENARIOS) * len(WELL_KNOWN)
        assert written.resolver == running.resolver
        assert Path(written.ca_file).is_file()
        nowhere = {written.ports[f"{address}:25"] for address in ("127.0.0.1", "192.0.2.25", "10.53.0.25")}
        assert nowhere == {"{}:{}".format(*running.route("192.0.2.25", 25))}


def reach(lab: Lab, name: str, port: int) -> str:
    try:
        connection = socket.create_connection(lab.route(address_of(lab, name), port), 0.3)
    except ConnectionRefusedError:
        return Reach.REFUSED
    except TimeoutError:
        return Reach.FILTERED
    connection.close()
    return Reach.OPEN


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [
        ("mx.good.lab.test", 25, Reach.OPEN),
        ("mx.exchanger-refused.lab.test", 25, Reach.REFUSED),
        ("mx.exchanger-refused.lab.test", 587, Reach.OPEN),
        ("mx.exchanger-filtered.lab.test", 25, Reach.FILTERED),
        ("mx.relay-only.lab.test", 993, Reach.REFUSED),
        ("mx2.exchanger-one-of-two-refused.lab.test", 25, Reach.REFUSED),
    ],
)
def test_reach(lab: Lab, name: str, port: int, expected: Reach) -> None:
    assert reach(lab, name, port) == expected


# -- ways -------------------------------------------------------------------------------------------------------


def test_what_is_not_served_refuses(lab: Lab) -> None:
    for endpoint in (("127.0.0.1", 25), ("192.0.2.25", 25), (address_of(lab, "good.lab.test"), 4190)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(lab.route(*endpoint), TIMEOUT_S)


def test_ipv6_address_leads_to_the_same_listener(lab: Lab) -> None:
    (address,) = records(lab, "mx.address-ipv6.lab.test", "AAAA")
    assert lab.route(address, 25) == lab.route(address_of(lab, "mx.address-ipv6.lab.test"), 25)


def test_routes_stay_the_same_and_may_be_asked_from_any_thread(lab: Lab) -> None:
    address = address_of(lab, "greeting-split.lab.test")
    found: list[tuple[str, int]] = []
    threads = [threading.Thread(target=lambda: found.append(lab.route(address, 25))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_everything_is_on_loopback(lab: Lab) -> None:
    assert lab.resolver.startswith("127.")
    assert all(scenario.domain.endswith(".lab.test") for scenario in SCENARIOS)
    assert lab.route(address_of(lab, "good.lab.test"), 25)[0].startswith("127.")


def test_fixed_ports_are_the_usual_ones_and_an_offset() -> None:
    with Lab(fixed_ports=20000) as running:
        assert running.resolver.endswith(":20053")
        assert running.route(address_of(running, "good.lab.test"), 993)[1] == 20993


def test_second_lab_on_the_same_fixed_ports_says_so_and_leaves_nothing() -> None:
    before = threading.active_count()
    with Lab(fixed_ports=23000):
        second = Lab(fixed_ports=23000)
        with pytest.raises(OSError, match="in use"):
            second.start()
    assert threading.active_count() == before


def test_flight_delay_holds_back_greeting_and_dns() -> None:
    with Lab(flight_delay_s=0.05) as running:
        started = time.monotonic()
        address = address_of(running, "good.lab.test")
        asked = time.monotonic()
        with socket.create_connection(running.route(address, 25), TIMEOUT_S) as connection:
            connection.recv(100)
        assert asked - started >= 0.045
        assert time.monotonic() - asked >= 0.045


# -- post offices -----------------------------------------------------------------------------------------------


def test_no_post_office_is_open_before_a_client_comes() -> None:
    code = (
        "import sys; from mailprobe.lab.world import Lab\n"
        "with Lab() as lab: lab.resolver, lab.ca_file, lab.now()\n"
        "print(*(name for name in ('sqlite3', 'mailprobe.lab.post.office', 'mailprobe.mail') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_lab_file_tells_where_the_mail_is(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as running:
        file = running.lab_file()
        assert Path(file.directory) == tmp_path
        assert Path(file.control).is_socket()
        running.order(Order("tick", seconds=90))
        elsewhere = Elsewhere(file)
        assert abs((elsewhere.now() - running.now()).total_seconds()) < 1
        assert (elsewhere.now() - datetime.now(UTC)).total_seconds() > 80


@pytest.mark.parametrize("text", ["", "soon", "nan", "1e400", "-1e300"])
def test_a_clock_that_cannot_be_read_is_the_real_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock").write_text(text)
    file = LabFile(resolver="127.0.0.1:53", ca_file="", internal_networks=(), ports={}, clock=str(tmp_path / "clock"))
    assert abs((Elsewhere(file).now() - datetime.now(UTC)).total_seconds()) < 5


def test_sites_can_be_added() -> None:
    more = Site(domain="more.lab.test", post=PostSite(users={"erin": "secret"}))
    with Lab(sites=[more]) as running:
        assert records(running, "more.lab.test", "MX") == ["10 mx.more.lab.test."]
        assert ("more.lab.test", address_of(running, "more.lab.test")) in running.hosts()


def test_stop_leaves_nothing_of_a_post_office_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads, before = threading.active_count(), open_files()
    with Lab() as running, smtp(running, "mx.receiver.lab.test", 25) as client:
        client.sendmail("eve@far.test", ["bob@receiver.lab.test"], LETTER % b"x")
        running.rest()
        client.quit()
    assert threading.active_count() == threads
    assert {each for each in open_files() if "socket" in each or ".db" in each} <= before
    assert list(tmp_path.iterdir()) == []


# -- the end ----------------------------------------------------------------------------------------------------


def open_files() -> set[str]:
    return {f"{each.name} {each.readlink()}" for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}


def test_stop_leaves_no_threads_files_or_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = threading.active_count()
    sockets = {each for each in open_files() if "socket" in each}
    lab = Lab()
    lab.start()
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    with context.wrap_socket(connect(lab, "good.lab.test", 993), server_hostname="good.lab.test") as held:
        reach(lab, "exchanger-filtered.lab.test", 25)
        reach(lab, "exchanger-refused.lab.test", 25)
        greeted = connect(lab, "greeting-silence.lab.test", 25)
        directory = lab.ca_file.parent
        assert directory.parent == tmp_path
        assert directory.stat().st_mode & 0o077 == 0
        lab.stop()
        held.close()
        greeted.close()
    assert threading.active_count() == threads
    assert {each for each in open_files() if "socket" in each} <= sockets
    assert list(tmp_path.iterdir()) == []


def test_given_directory_stays_without_what_the_lab_wrote(tmp_path: Path) -> None:
    kept = tmp_path / "lab"
    with Lab(directory=kept) as lab:
        assert lab.ca_file == kept / "ca.pem"
        assert lab.ca_file.is_file()
    assert list(kept.iterdir()) == []
