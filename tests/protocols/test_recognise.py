"""What the first octets tell of the protocol, however many have come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.protocols.recognise import recognise

KNOWN = {"smtp", "pop3", "imap", "sieve", "lmtp", "ftp", "http", "ssh", "tls", "other", None}


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"220 mx.a.test ESMTP\r\n", "smtp"),
        (b"220-teaser\r\n", "smtp"),
        (b"220\r\n", "smtp"),
        (b"220\n", "smtp"),
        (b"554 no\r\n", "smtp"),
        (b"421 busy\r\n", "smtp"),
        (b"+OK ready\r\n", "pop3"),
        (b"-ERR no\r\n", "pop3"),
        (b"+ok\r\n", "pop3"),
        (b"* OK ready\r\n", "imap"),
        (b"* ok ready\r\n", "imap"),
        (b"* PREAUTH hi\r\n", "imap"),
        (b"* BYE no\r\n", "imap"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "ssh"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http"),
        (b"<!DOCTYPE html>", "http"),
        (b"<html>", "http"),
        (b"220 mx.a.test LMTP ready\r\n", "lmtp"),
        (b"220 ftp.a.test FTP server ready\r\n", "ftp"),
        (b"220 (vsFTPd 3.0.3)\r\n", "ftp"),
        (b'"IMPLEMENTATION" "x"\r\n', "sieve"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls"),
        (b"\x16\x03\x03\x00\x7a", "tls"),
        (b"hello\r\n", "other"),
        (b"\xff\xfd\x18\xff\xfd\x20", "other"),
        (b"RFB 003.008\n", "other"),
        (b"", None),
    ],
)
def test_a_protocol_is_known_by_its_first_octets(octets: bytes, name: str | None) -> None:
    assert recognise(octets) == name


@pytest.mark.parametrize("octets", [b"2", b"22", b"220", b"+", b"+O", b"*", b"* O", b"\x16", b"\x15\x03", b"SSH"])
def test_the_beginning_of_a_slow_greeting_is_not_yet_another_protocol(octets: bytes) -> None:
    assert recognise(octets) is None


@given(st.binary(max_size=60))
def test_any_octets_get_a_known_name(octets: bytes) -> None:
    assert recognise(octets) in KNOWN
