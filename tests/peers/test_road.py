"""The lab and a real mail host hand each other letters, each a server like any other to the other."""

from __future__ import annotations

import email
import email.message
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.journal import trace
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.post.waiting import read_rows
from mailprobe.lab.scenario import Site
from mailprobe.lab.world import Lab
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import SEVEN_PORTS
from mailprobe.model.road import Step, What
from mailprobe.records.delivery_report import delivery_report
from tests.installed import mailprobe
from tests.lab.post.sites import ALICE, BOB, CAROL, RECEIVER, SENDER, address_of, arrived, letter, stored, submit
from tests.peers.availability import require_program, unavailable
from tests.peers.certificates import CertificateAuthority
from tests.peers.mailhost import MailHost, Variant
from tests.peers.servers import postfix
from tests.peers.servers.dovecot import GHOST
from tests.peers.servers.process import on_free_ports
from tests.peers.zones import MAIL_ADDRESS

LIMIT_S = 25.0
OFFICE = "office.lab.test"
GREY = "grey.lab.test"
UMLAUT = "umlaut.lab.test"
ANNA = f"anna@{OFFICE}"
SITES = (
    Site(domain=OFFICE, zone={"@ MX": (f"10 mail.{OFFICE}.",), "mail A": (MAIL_ADDRESS,), "@ A": (), "mx A": ()}),
    Site(domain=GREY, post=PostSite(users={"bob": "secret"}, greylist_s=60)),
    Site(domain=UMLAUT, post=PostSite(users={"grün": "secret"})),
)
# Line ends, dots, a line as long as one may be, octets beyond ASCII: nothing that a server may change.
ODD = b".\r\n..\r\n.dot\r\n" + b"x" * 998 + b"\r\n" + "grüße 台北\r\n".encode() + b"\x01\t \r\nFrom here\r\n\r\n"
Found = TypeVar("Found")


class JoinedLab(Lab):
    """A lab in whose internet a real mail host has an address, too."""

    host: MailHost | None = None

    def route(self, address: str, port: int) -> tuple[str, int]:
        if self.host is not None and address == MAIL_ADDRESS:
            return self.host.endpoint(port)
        return super().route(address, port)


class Road:
    """A running lab and a running mail host that know the way to each other."""

    def __init__(self, directory: Path, authority: CertificateAuthority) -> None:
        self.complaints: list[str] = []
        self.lab = JoinedLab(sites=SITES, complain=self.complaints.append)
        self.lab.start()
        tries = count(1)
        relays = tuple((site, self._exchanger_of(site)) for site in (RECEIVER, SENDER, GREY, UMLAUT))
        variant = Variant(domain=OFFICE, relays=relays, trusted=str(self.lab.ca_file))
        try:
            self.host = on_free_ports(lambda: MailHost(directory / f"host-{next(tries)}", authority, variant))
        except BaseException:
            self.lab.stop()
            raise
        self.lab.host = self.host
        self._directory = directory
        self.lab_file = self._write_lab_file()

    def _exchanger_of(self, site: str) -> str:
        address, port = self.lab.route(address_of(self.lab, f"mx.{site}"), 25)
        return f"{address}:{port}"

    def _write_lab_file(self) -> Path:
        """Write how `mailprobe` in another process reaches both."""
        addresses = [address_of(self.lab, f"mx.{site}") for site in (RECEIVER, SENDER)]
        ways = {
            f"{address}:{port.number}": "{}:{}".format(*self.lab.route(address, port.number))
            for address in addresses
            for port in SEVEN_PORTS
        }
        authorities = self._directory / "authorities.pem"
        authorities.write_bytes(self.lab.ca_file.read_bytes() + self.host.ca_file.read_bytes())
        path = self._directory / "road.json"
        LabFile(
            resolver=self.lab.resolver,
            ca_file=str(authorities),
            internal_networks=(*self.lab.internal_networks, f"{MAIL_ADDRESS}/32"),
            ports={**ways, **self.host.way},
            directory=str(self.lab.mail_directory),
        ).write(path)
        return path

    def stop(self) -> None:
        self.host.stop()
        self.lab.stop()

    def mailprobe(self, *words: str) -> subprocess.CompletedProcess[str]:
        return mailprobe(*words, env={"MAILPROBE_LAB": str(self.lab_file)})

    def submit_to_postfix(self, *options: str, sender: str = ANNA, status: int = 0) -> None:
        """Hand a letter to Postfix, by `mailprobe send`."""
        login = ("--server", f"mail.{OFFICE}", "--user", "anna")
        done = self.mailprobe("send", "--from", sender, *login, *options)
        assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr

    def trip(self, *words: str, status: int = 0) -> dict[str, Any]:
        done = self.mailprobe("trip", *words, "--wait", "20s", "--format", "json")
        assert done.returncode == status, done.stdout + done.stderr
        document = json.loads(done.stdout)
        (shown,) = document["trips"]
        return {**shown, "failed": [each["check"] for each in document["findings"] if each["verdict"] == "fail"]}

    def until(self, look: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + LIMIT_S
        while (found := look()) is None:
            assert time.monotonic() < deadline, self.host.postfix.log[-4000:]
            time.sleep(0.02)
        return found

    def in_lab(self, address: str, number: int = 1) -> list[bytes]:
        """Wait until so many letters lie in a mailbox of the lab."""

        def look() -> list[bytes] | None:
            found = stored(self.lab, address)
            return found if len(found) >= number else None

        return self.until(look)

    def at_office(self, user: str, number: int = 1) -> list[bytes]:
        """Wait until so many letters lie in a mailbox of Dovecot; give them with CRLF."""

        def look() -> list[bytes] | None:
            found = self.host.letters(user)
            return found if len(found) >= number else None

        return [each.replace(b"\n", b"\r\n") for each in self.until(look)]


def no_way() -> None:
    reason = postfix.why_missing()
    if reason is not None:
        unavailable(reason)
    require_program("dovecot")


@pytest.fixture(scope="module")
def road(server_directory: Path, certificate_authority: CertificateAuthority) -> Iterator[Road]:
    """Give a road on which the clocks agree."""
    no_way()
    directory = server_directory / "road"
    directory.mkdir()
    made = Road(directory, certificate_authority)
    yield made
    made.stop()
    assert made.complaints == []


_roads = count(1)


@pytest.fixture
def own_road(server_directory: Path, certificate_authority: CertificateAuthority) -> Iterator[Road]:
    """Give a road whose Postfix may be stopped, and whose clock in the lab may be moved."""
    no_way()
    directory = server_directory / f"road-{next(_roads)}"
    directory.mkdir()
    made = Road(directory, certificate_authority)
    yield made
    made.stop()
    assert made.complaints == []


def body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


def received(octets: bytes) -> list[str]:
    fields = email.message_from_bytes(octets).get_all("Received", [])
    return [" ".join(str(field).split()) for field in fields]


def ready(road: Road, octets: bytes) -> tuple[str, str]:
    path = road._directory / "letter"
    path.write_bytes(octets)
    return "--data", str(path)


# -- Postfix hands letters to the lab ---------------------------------------------------------------------------


def test_what_postfix_relays_lies_in_the_maildir_octet_for_octet(road: Road) -> None:
    data = letter(1, body=ODD)
    road.submit_to_postfix("--to", BOB, *ready(road, data))
    (stored_letter,) = road.in_lab(BOB)
    assert arrived(stored_letter) == data
    last, before = received(stored_letter)[:2]
    assert "with ESMTPS" in last
    assert "(Postfix) with ESMTPSA" in before
    assert stored_letter.startswith(f"Return-Path: <{ANNA}>\r\n".encode())
    assert "Trusted TLS connection established to 127.53." in road.host.postfix.log


def test_an_address_and_a_header_beyond_ascii_go_through(road: Road) -> None:
    recipient = f"grün@{UMLAUT}"
    road.submit_to_postfix("--to", recipient, "--subject", "grüße", "--smtputf8")
    (found,) = road.in_lab(f"{quote('grün')}@{UMLAUT}")
    assert "\r\nSubject: grüße\r\n".encode() in found
    assert "with UTF8SMTPS" in received(found)[0]


def test_those_who_are_known_get_it_and_of_the_unknown_postfix_reports(road: Road) -> None:
    sender = f"list@{OFFICE}"
    options = ("--to", CAROL, "--to", f"nobody@{RECEIVER}", "--to", f"dave@{RECEIVER}", "--subject", "for three")
    road.submit_to_postfix(*options, sender=sender)
    for user in ("carol", "dave"):
        assert any(b"Subject: for three" in each for each in road.in_lab(f"{user}@{RECEIVER}"))
    (bounce,) = road.at_office("list")
    report = delivery_report(bounce)
    assert report is not None
    (about,) = report.recipients
    assert (about.address, about.action, about.status) == (f"nobody@{RECEIVER}", "failed", "5.1.1")


def test_the_lab_reports_success_where_postfix_passed_the_wish_on(road: Road) -> None:
    sender, recipient = f"wisher@{OFFICE}", f"dave@{RECEIVER}"
    wishes = ("--notify", "SUCCESS,FAILURE", "--envid", "a b+c", "--ret", "HDRS", "--text", "not returned")
    road.submit_to_postfix("--to", recipient, *wishes, sender=sender)
    (report,) = road.at_office("wisher")
    read = email.message_from_bytes(report)
    assert read.get_content_type() == "multipart/report"
    text = report.decode()
    assert "Original-Envelope-Id: a b+c" in text
    assert f"Original-Recipient: rfc822;{recipient}" in text.replace("; ", ";")
    assert "Action: delivered" in text
    assert "not returned" not in text
    assert read["Return-Path"] == "<>"


def test_many_letters_at_once_are_all_there(road: Road) -> None:
    people = ("--to", f"amir@{SENDER}", "--count", "50", "--connections", "4")
    road.submit_to_postfix(*people)
    found = road.in_lab(f"amir@{SENDER}", 50)
    assert len({email.message_from_bytes(each)["Message-ID"] for each in found}) == len(found) == 50


def test_postfix_comes_back_when_it_is_asked_to(own_road: Road) -> None:
    recipient = f"bob@{GREY}"
    own_road.submit_to_postfix("--to", recipient)
    own_road.until(lambda: "status=deferred" in own_road.host.postfix.log or None)
    assert stored(own_road.lab, recipient) == []
    own_road.lab.order(Order("tick", seconds=61))
    config = next(own_road._directory.glob("host-*/postfix/conf"))
    subprocess.run([require_program("postqueue"), "-c", str(config), "-f"], check=True, timeout=LIMIT_S)
    assert len(own_road.in_lab(recipient)) == 1


# -- the lab hands letters to Postfix ---------------------------------------------------------------------------


def test_what_the_lab_sends_lies_in_dovecot_octet_for_octet(road: Road) -> None:
    data = letter(2, body=ODD)
    submit(road.lab, f"berta@{OFFICE}", data=data)
    (found,) = road.at_office("berta")
    assert arrived(found) == data
    by_dovecot, by_postfix, by_lab = received(found)
    assert "with LMTP" in by_dovecot
    assert "(Postfix) with ESMTPS" in by_postfix
    assert f"by mx.{SENDER} (mailprobe lab) with ESMTPSA" in by_lab
    road.lab.rest()
    (sent,) = (each for each in trace(road.lab.mail_directory, "2@test") if each.what is What.SENT)
    assert sent.step is Step.SENT
    assert f"mail.{OFFICE}[{MAIL_ADDRESS}]:25, TLSv1.3" in sent.detail
    assert "Ok: queued as" in sent.detail


def test_what_postfix_refuses_comes_back_as_a_report(road: Road) -> None:
    submit(road.lab, f"nobody@{OFFICE}", f"clara@{OFFICE}", data=letter(3))
    assert len(road.at_office("clara")) == 1
    bounce = next(each for each in road.in_lab(ALICE) if b"nobody@" in each)
    report = delivery_report(bounce)
    assert report is not None
    assert report.message_id == "<3@test>"
    (about,) = report.recipients
    assert (about.address, about.action, about.status) == (f"nobody@{OFFICE}", "failed", "5.1.1")
    assert "User unknown in local recipient table" in about.diagnostic
    assert about.remote == f"mail.{OFFICE}"
    assert bounce.startswith(b"Return-Path: <>\r\n")


def test_what_postfix_takes_and_cannot_deliver_comes_back_from_postfix(road: Road) -> None:
    submit(road.lab, f"{GHOST}@{OFFICE}", data=letter(4), sender=f"amir@{SENDER}", user="amir")

    def look() -> bytes | None:
        return next((each for each in stored(road.lab, f"amir@{SENDER}") if b"Undelivered Mail" in each), None)

    report = delivery_report(road.until(look))
    assert report is not None
    assert report.message_id == "<4@test>"
    assert report.recipients[0].status == "5.1.1"


def test_a_letter_that_is_too_large_for_postfix_comes_back(road: Road) -> None:
    large = letter(5, body=b"z" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * 140_000)
    submit(road.lab, f"dora@{OFFICE}", data=large)

    def look() -> bytes | None:
        return next((each for each in stored(road.lab, ALICE) if b"dora@" in each), None)

    report = delivery_report(road.until(look))
    assert report is not None
    assert report.recipients[0].status == "5.3.4"
    assert road.host.letters("dora") == []


def test_many_letters_from_several_clients_all_arrive(road: Road) -> None:
    errors: list[BaseException] = []

    def writing(first: int) -> None:
        try:
            for number in range(first, first + 10):
                submit(road.lab, f"many@{OFFICE}", data=letter(number))
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=writing, args=(100 + 10 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = road.at_office("many", 40)
    assert sorted(map(arrived, found)) == sorted(letter(number) for number in range(100, 140))


def test_a_hundred_recipients_at_postfix(road: Road) -> None:
    people = [f"hundred-{number:03d}" for number in range(100)]
    submit(road.lab, *(f"{user}@{OFFICE}" for user in people), data=letter(6))
    assert {arrived(each) for user in people for each in road.at_office(user)} == {letter(6)}


def test_a_letter_waits_while_postfix_is_away_and_goes_when_it_is_back(own_road: Road) -> None:
    lab, host = own_road.lab, own_road.host
    host.postfix.stop()
    submit(lab, f"berta@{OFFICE}", data=letter())
    lab.rest()
    (row,) = read_rows(lab.mail_directory / SENDER)
    assert row.state == "deferred"
    assert f"mail.{OFFICE}[{MAIL_ADDRESS}]" in row.reply
    lab.order(Order("tick", seconds=301))
    lab.rest()
    assert host.letters("berta") == []
    host.postfix.start()
    lab.order(Order("tick", seconds=601))
    (found,) = own_road.at_office("berta")
    assert arrived(found) == letter()
    lab.rest()
    assert read_rows(lab.mail_directory / SENDER) == []


def test_a_letter_for_a_postfix_that_never_comes_back_is_returned_after_days(own_road: Road) -> None:
    lab = own_road.lab
    own_road.host.postfix.stop()
    submit(lab, f"berta@{OFFICE}", data=letter())
    lab.rest()
    for _ in range(6):
        lab.order(Order("tick", seconds=86_400))
        lab.rest()
    (bounce,) = stored(lab, ALICE)
    report = delivery_report(bounce)
    assert report is not None
    assert report.recipients[0].action == "failed"
    assert report.recipients[0].status.startswith(("4.4.", "5.4."))
    assert read_rows(lab.mail_directory / SENDER) == []


# -- trips over both --------------------------------------------------------------------------------------------


def test_a_trip_from_postfix_to_the_lab(road: Road) -> None:
    way = ("--submit", f"mail.{OFFICE}", "--imap", f"mx.{RECEIVER}", "--from-imap", f"mail.{OFFICE}")
    shown = road.trip(ANNA, BOB, *way)
    assert (shown["state"], shown["failed"]) == ("arrived", [])
    assert [hop["protocol"] for hop in shown["copies"][0]["hops"]] == ["ESMTPSA", "ESMTPS"]
    assert shown["copies"][0]["removed"] is True


def test_a_trip_from_the_lab_to_dovecot(road: Road) -> None:
    way = ("--submit", f"mx.{SENDER}", "--imap", f"mail.{OFFICE}", "--from-imap", f"mx.{SENDER}")
    shown = road.trip(ALICE, f"traveller@{OFFICE}", *way)
    assert (shown["state"], shown["failed"]) == ("arrived", [])
    assert [hop["protocol"] for hop in shown["copies"][0]["hops"]] == ["ESMTPSA", "ESMTPS", "LMTP"]


def test_a_trip_whose_letter_postfix_returns_because_the_lab_refused_it(road: Road) -> None:
    way = ("--submit", f"mail.{OFFICE}", "--imap", f"mx.{RECEIVER}", "--to-user", "bob")
    shown = road.trip(ANNA, f"nobody@{RECEIVER}", *way, "--from-imap", f"mail.{OFFICE}", status=1)
    assert (shown["state"], shown["failed"]) == ("returned", ["trip-arrives"])
    (bounce,) = shown["bounces"]
    assert (bounce["action"], bounce["status"], bounce["removed"]) == ("failed", "5.1.1", True)


@pytest.mark.parametrize("user", ["nobody", GHOST])
def test_a_trip_whose_letter_the_lab_or_postfix_returns(road: Road, user: str) -> None:
    way = ("--submit", f"mx.{SENDER}", "--imap", f"mail.{OFFICE}", "--to-user", "traveller")
    shown = road.trip(ALICE, f"{user}@{OFFICE}", *way, "--from-imap", f"mx.{SENDER}", status=1)
    assert (shown["state"], shown["failed"]) == ("returned", ["trip-arrives"])
    (bounce,) = shown["bounces"]
    assert (bounce["action"], bounce["status"], bounce["removed"]) == ("failed", "5.1.1", True)
