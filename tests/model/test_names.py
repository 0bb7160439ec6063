"""Names and addresses as people write them."""

from __future__ import annotations

import pytest

from mailprobe.model.errors import UsageError
from mailprobe.model.names import (
    absolute,
    address_family,
    domain_name,
    host_and_port,
    is_address,
    reverse_name,
    to_unicode,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.test", "a.test"),
        ("A.Test.", "a.test"),
        ("  a.test\n", "a.test"),
        ("straße.de", "xn--strae-oqa.de"),
        ("STRASSE.de", "strasse.de"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("bücher。test。", "xn--bcher-kva.test"),
        ("xn--strae-oqa.de", "xn--strae-oqa.de"),
        ("_dmarc.a.test", "_dmarc.a.test"),
        ("*.a.test", "*.a.test"),
        ("localhost", "localhost"),
        (".", "."),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
        (".".join(["a" * 49] * 5) + ".aa", ".".join(["a" * 49] * 5) + ".aa"),
    ],
)
def test_a_name_is_made_ready_for_the_wire(text: str, name: str) -> None:
    assert domain_name(text) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty name"),
        ("   ", "empty name"),
        ("..", "empty label"),
        ("a..test", "empty label"),
        (".a.test", "empty label"),
        ("a.test..", "empty label"),
        ("。", "no internationalised domain name"),
        ("a" * 64 + ".test", "more than 63"),
        ("a" * 300, "more than 63|300 characters"),
        (".".join(["a" * 9] * 30), "299 characters; the DNS allows 253"),
        ("ä" * 300, "no internationalised domain name"),
        ("a\nb.test", "a character that no name may have"),
        ("a\x1b[31m.test", "a character that no name may have"),
        ("a\0.test", "a character that no name may have"),
        ("a b.test", "a character that no name may have"),
        ("a\x85b.test", "no internationalised domain name"),
        ("-a.test", "a character that no name may have"),
        ("a-.test", "a character that no name may have"),
        ("a@b.test", "give just the domain, 'b.test'"),
        ("http://a.test/", "give just the name, 'a.test'"),
    ],
)
def test_what_is_no_name_is_refused_in_one_printable_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        domain_name(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_two_spellings_of_a_street_are_two_domains() -> None:
    assert domain_name("straße.de") != domain_name("strasse.de")


@pytest.mark.parametrize(
    ("name", "text"),
    [("xn--strae-oqa.de", "straße.de"), ("a.test", "a.test"), ("xn--\x7f.test", "xn--\x7f.test"), ("xn--a", "xn--a")],
)
def test_names_are_shown_as_people_read_them(name: str, text: str) -> None:
    assert to_unicode(name) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test", ("a.test", None)),
        ("A.test:25", ("a.test", 25)),
        ("straße.de:465", ("xn--strae-oqa.de", 465)),
        ("192.0.2.1", ("192.0.2.1", None)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("[2001:db8::1]", ("2001:db8::1", None)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("[IPv6:2001:db8::1]:25", ("2001:db8::1", 25)),
        ("[192.0.2.1]", ("192.0.2.1", None)),
        ("::1", ("::1", None)),
    ],
)
def test_a_host_and_its_port_are_told_apart(text: str, expected: tuple[str, int | None]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.test:0", "from 1 to 65535"),
        ("a.test:65536", "from 1 to 65535"),
        ("a.test:abc", "from 1 to 65535"),
        ("a.test:", "ends with a colon"),
        ("a.test:-1", "from 1 to 65535"),
        ("a.test:²", "from 1 to 65535"),
        ("[2001:db8::1]:0", "from 1 to 65535"),
        ("[2001:db8::1]:", "from 1 to 65535"),
        ("[2001:db8::1", "no address in brackets"),
        ("[a.test]", "no address in brackets"),
        ("[2001:db8::1]25", "no address in brackets"),
        (":25", "empty name"),
        ("", "empty name"),
    ],
)
def test_what_is_no_host_and_port_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        host_and_port(text)


@pytest.mark.parametrize(
    ("text", "family"),
    [("192.0.2.1", 4), ("::1", 6), ("fe80::1%lo", None), ("[::1]", None), ("a.test", None), ("", None)],
)
def test_addresses_are_known_by_their_family(text: str, family: int | None) -> None:
    assert address_family(text) == family
    assert is_address(text) is (family is not None)


def test_reverse_and_absolute_names() -> None:
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    assert reverse_name("2001:db8::1").endswith(".8.b.d.0.1.0.0.2.ip6.arpa")
    assert (absolute("a.test"), absolute("a.test.")) == ("a.test.", "a.test.")
