from __future__ import annotations

import pytest

from mailprobe.model.evidence import Dnssec, Kind, Record, Stage, Status
from mailprobe.output.mx import mx, records
from mailprobe.output.rows import mail_domain
from mailprobe.output.widths import width_of
from tests.output.samples import HOSTILE, answer, assert_harmless, host, target, trouble

ASKED = "asked 127.0.0.1:53 over UDP: NOERROR, flags qr rd ra, 12 ms\n"


def test_exchangers_stand_by_preference() -> None:
    found = answer("a.test", "MX", "20 b.a.test.", "10 mx.a.test.")
    asked = target("a.test", found, host("mx.a.test", "192.0.2.1", "2001:db8::1"), host("b.a.test", "192.0.2.2"))
    assert mx([asked]) == (
        "a.test: 2 mail exchangers\n"
        "\n"
        "preference  exchanger  addresses              TTL\n"
        "----------  ---------  ---------------------  ---\n"
        "        10  mx.a.test  192.0.2.1 2001:db8::1  300\n"
        "        20  b.a.test   192.0.2.2              300\n"
        "\n" + ASKED
    )


def test_dnssec_is_told_where_it_is_known() -> None:
    secure = answer("a.test", "MX", "10 mx.a.test.", flags=("qr", "rd", "ra", "ad"), dnssec=Dnssec.SECURE)
    line = mx([target("a.test", secure)]).splitlines()[-1]
    assert line == "asked 127.0.0.1:53 over UDP: NOERROR, flags qr rd ra ad, DNSSEC secure, 12 ms"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("7", "extended error 7 Signature Expired"),
        ("22 at delegation a.test.", "extended error 22 No Reachable Authority: at delegation a.test."),
        ("24", "extended error 24 Invalid Data"),
        ("49 new", "extended error 49: new"),
        ("odd", "extended error odd"),
    ],
)
def test_extended_errors_have_their_names(option: str, said: str) -> None:
    failed = answer("a.test", "MX", status=Status.SERVFAIL, rcode="SERVFAIL", extended_errors=(option,))
    assert mx([target("a.test", failed)], width=200).endswith(f", 12 ms, {said}\n")


def test_null_mx_is_said_in_words() -> None:
    text = mx([target("n.test", answer("n.test", "MX", "0 ."))])
    assert text == "n.test: null MX: the domain takes no mail, on purpose (RFC 7505)\n" + ASKED


def test_implicit_mx_shows_the_domains_own_address() -> None:
    made = target("i.test", answer("i.test", "MX"), implicit=(answer("i.test", "A", "192.0.2.7"),))
    row = mail_domain(made)
    assert row is not None
    assert row.implicit
    assert row.exchangers[0].addresses == ("192.0.2.7",)
    assert "implicit\n  MX, RFC 5321 §5.1)" in mx([made])


def test_bad_exchangers_are_named() -> None:
    gone = host("gone.test", answers=(answer("gone.test", "A", status=Status.NXDOMAIN, rcode="NXDOMAIN"),))
    bare = host("bare.test", answers=(answer("bare.test", "A"), answer("bare.test", "AAAA")))
    shaky = host("shaky.test", answers=(answer("shaky.test", "A", status=Status.SERVFAIL, rcode="SERVFAIL"),))
    chain = (
        Record(name="al.test.", type="CNAME", ttl=1, data="mx.test."),
        Record(name="mx.test.", type="A", ttl=1, data="192.0.2.1"),
    )
    alias = host("al.test", answers=(answer("al.test", "A", records=chain, status=Status.ANSWERED),))
    names = ["gone.test.", "bare.test.", "shaky.test.", "al.test.", "192.0.2.9.", "."]
    found = answer("a.test", "MX", *(f"{number} {name}" for number, name in enumerate(names)))
    text = mx([target("a.test", found, gone, bare, shaky, alias)])
    for line in (
        "gone.test: dangling: the host does not exist (NXDOMAIN)",
        "bare.test: dangling: the host has no address (NODATA)",
        "shaky.test: A unknown: the resolver failed to find out (SERVFAIL)",
        "al.test: an alias (CNAME) of mx.test, which RFC 2181 §10.3 forbids",
        "192.0.2.9: an address where a host name must stand (RFC 5321 §5.1)",
        ".: a null MX must stand alone (RFC 7505 §3)",
    ):
        assert f"\n{line}\n" in text


def test_failures_are_told_apart() -> None:
    said = {
        status: mx([target("x.test", answer("x.test", "MX", status=status, rcode="", attempts=2, detail="odd"))])
        for status in Status
        if status is not Status.ANSWERED
    }
    assert len(set(said.values())) == 6
    assert said[Status.TIMEOUT].startswith("x.test: the resolver did not answer 2 questions in time (timeout)\n")


def test_a_target_that_could_not_be_asked_says_why() -> None:
    made = target("a.test", trouble=trouble(Stage.RESOLVE, Kind.LOCAL, "no socket"))
    assert mx([made]) == "a.test: no host could be asked: no socket\n"


def test_other_records_keep_their_data_as_text() -> None:
    text = records([answer("a.test", "TXT", '"1e5"', '"v=spf1 ' + "ip4:192.0.2.1 " * 12 + '-all"')])
    assert 'a.test.  300  TXT   "1e5"' in text
    assert max(map(width_of, text.split("\n"))) <= 80
    assert records([answer("a.test", "TXT")]).startswith("a.test TXT: the name exists, but has no TXT record (NODATA)")


def test_hostile_names_are_harmless_and_fit() -> None:
    found = answer("a.test", "MX", f"10 {HOSTILE}", server=HOSTILE, extended_errors=(HOSTILE,))
    for text in (mx([target(HOSTILE, found)]), records([answer(HOSTILE, "TXT", HOSTILE)])):
        assert_harmless(text)
        assert max(map(width_of, text.split("\n"))) <= 80
