from __future__ import annotations

import msgspec
import pytest

from mailprobe.model.evidence import Kind, Reply, Session, Stage
from mailprobe.model.view import reachability
from mailprobe.output.ports import bulk_cipher, ports
from mailprobe.output.rows import port_rows, security, unresolved_row
from mailprobe.output.style import Style
from mailprobe.output.widths import plain, width_of
from tests.output.samples import (
    assert_harmless,
    clear,
    host,
    hostile,
    implicit,
    seen,
    session,
    seven,
    starttls,
    target,
    tls,
    trouble,
)


def test_seven_ports_at_a_glance() -> None:
    assert ports(seven(), width=110) == (
        "mx.a.test [192.0.2.1]\n"
        "\n"
        "port  service      state     speaks  security  TLS  cipher                  certificate     ms\n"
        "----  -----------  --------  ------  --------  ---  ----------------------  ------------  ----\n"
        "  25  smtp         open      smtp    STARTTLS  1.3  TLS_AES_256_GCM_SHA384  ok 89 d         21\n"
        " 587  submission   open      smtp    STARTTLS  1.3  TLS_AES_256_GCM_SHA384  ok 89 d         21\n"
        " 465  submissions  open      smtp    STARTTLS  -    -                       -                2\n"
        " 110  pop3         refused   -       -         -    -                       -                0\n"
        " 995  pop3s        open      pop3    TLS       1.3  TLS_AES_256_GCM_SHA384  expired -3 d    10\n"
        " 143  imap         filtered  -       -         -    -                       -             5000\n"
        " 993  imaps        open      tls     TLS       -    -                       -                2\n"
        "\n"
        "465 answers in clear: STARTTLS is served where TLS is expected\n"
        "143: no connection within 8.0 s\n"
        "993: the server reset the connection in the TLS handshake: after the ClientHello\n"
    )


@pytest.mark.parametrize("colour", [False, True])
def test_eighty_columns_are_enough(colour: bool) -> None:
    text = plain(ports(seven(), Style(colour=colour)))
    assert max(map(width_of, text.split("\n"))) <= 80
    assert text == ports(seven())


def test_healthy_ports_keep_the_cipher_readable_at_eighty_columns() -> None:
    text = ports([starttls(25, "smtp", "smtp"), implicit(993, "imaps", "imap")])
    assert "AES256-GCM" in text


def test_the_cipher_is_cut_last() -> None:
    wide = [
        starttls(587, "submission", "smtp"),
        implicit(465, "submissions", "smtp", "self-signed", 3649),
        seen(session(110, "pop3", trouble=trouble(Stage.CONNECT, Kind.UNREACHABLE))),
    ]
    text = ports(wide)
    assert max(map(width_of, text.split("\n"))) <= 80
    assert text.count("AES256-GCM ") == 2


def test_the_tls_column_has_numbers_only() -> None:
    old = session(993, "imaps", speaks="imap", tls=tls("ECDHE-RSA-AES256-SHA", "TLSv1"))
    assert ports([seen(old)]).split("\n")[4].split()[5] == "1.0"


def greeted(status: str) -> Reply:
    return Reply(status=status, lines=(status,), quirks=())


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (session(25, "smtp", speaks="smtp", greeting=greeted("250"), offers_starttls=False), "plain"),
        (session(143, "imap", speaks="imap", greeting=greeted("PREAUTH")), "plain"),
        (session(143, "imap", speaks="imap", greeting=greeted("PREAUTH"), offers_starttls=True), "plain"),
        (session(25, "smtp", speaks="smtp", offers_starttls=True), "STARTTLS"),
        (session(25, "smtp", speaks="smtp", greeting=greeted("421")), None),
        (session(25, "smtp", speaks="smtp", greeting=greeted("554")), None),
        (session(110, "pop3", speaks="http"), None),
        (session(110, "pop3"), None),
    ],
)
def test_plain_is_said_only_where_it_was_learnt(made: Session, told: str | None) -> None:
    assert security(made) == told
    assert ports([seen(made)]).split("\n")[4].split()[4] == (told or "-")


@pytest.mark.parametrize(
    ("suite", "bulk"),
    [
        ("TLS_CHACHA20_POLY1305_SHA256", "CHACHA20"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM"),
        ("AES256-SHA", "AES256"),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "3DES"),
        ("GOST2012", "GOST2012"),
    ],
)
def test_bulk_cipher_names_what_encrypts(suite: str, bulk: str) -> None:
    assert bulk_cipher(suite) == bulk


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (session(110, "pop3", speaks="http"), "110 speaks HTTP where POP3 is expected"),
        (session(25, "smtp", speaks="ssh"), "25 speaks SSH where SMTP is expected"),
        (session(143, "imap", speaks="other"), "143 speaks another protocol where IMAP is expected"),
        (session(143, "imap", speaks="tls"), "143 answers with TLS: IMAP in clear with STARTTLS is expected there"),
        (
            session(993, "imaps", speaks="imap", answered_in_clear=True, exchanges=clear()),
            "993 answers in clear: TLS is expected there",
        ),
        (
            session(25, "smtp", speaks="smtp", leftover=b"250 x\r\n"),
            "25: 7 octets in clear came behind the go-ahead for STARTTLS (response injection)",
        ),
    ],
)
def test_odd_ports_are_said_in_words(made: Session, note: str) -> None:
    assert ports([seen(made)], width=100).endswith(f"\n{note}\n")


def test_an_unknown_service_may_speak_anything() -> None:
    assert port_rows([seen(session(4190, "unknown", speaks="sieve"))])[0].notes == ()


@pytest.mark.parametrize(
    ("stage", "kind", "state"),
    [
        (Stage.CONNECT, Kind.REFUSED, "refused"),
        (Stage.CONNECT, Kind.TIMEOUT, "filtered"),
        (Stage.CONNECT, Kind.UNREACHABLE, "unreachable"),
        (Stage.CONNECT, Kind.LOCAL, "failed"),
        (Stage.RESOLVE, Kind.TIMEOUT, "failed"),
        (Stage.GREETING, Kind.TIMEOUT, "open"),
        (Stage.HANDSHAKE, Kind.REFUSED, "open"),
    ],
)
def test_reachability_is_about_the_connection_only(stage: Stage, kind: Kind, state: str) -> None:
    assert reachability(session(25, "smtp", trouble=trouble(stage, kind))) == state


def test_the_same_trouble_on_several_ports_is_said_once() -> None:
    silent = trouble(Stage.CONNECT, Kind.TIMEOUT, "no connection within 8.0 s")
    text = ports([seen(session(25, "smtp", trouble=silent)), seen(session(143, "imap", trouble=silent))])
    assert text.endswith("\n25, 143: no connection within 8.0 s\n")


def test_each_address_has_its_own_table() -> None:
    other = seen(session(25, "smtp", speaks="smtp", address="2001:db8::1"))
    text = ports([*seven(), other])
    assert text.count("service") == 2
    assert "\nmx.a.test [2001:db8::1]\n" in text


def test_rows_are_ready_for_json() -> None:
    row = msgspec.to_builtins(port_rows(seven())[4])
    assert row["security"] == "TLS"
    assert row["certificate"]["days_left"] == -3
    assert row["ms"] == 9.5


def test_a_host_without_address_has_a_row_too() -> None:
    gone = trouble(Stage.RESOLVE, Kind.REJECTED, "gone.test A: there is no such name (NXDOMAIN)")
    row = unresolved_row(target("gone.test", None, host("gone.test"), trouble=gone))
    assert (row.target, row.host, row.address, row.port, row.service) == ("gone.test", "gone.test", None, None, None)
    assert row.state == "unresolved"
    assert row.notes == ("no host could be asked: gone.test A: there is no such name (NXDOMAIN)",)
    assert set(msgspec.to_builtins(row)) == set(msgspec.to_builtins(port_rows(seven())[0]))


def test_hostile_servers_are_harmless_and_fit() -> None:
    text = ports(hostile().sessions)
    assert_harmless(text)
    assert max(map(width_of, text.split("\n")[1:])) <= 80
