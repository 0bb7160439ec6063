"""MX records: text to exchangers, in the order in which they are tried."""

from __future__ import annotations

import pytest

from mailprobe.model.evidence import Answer, Dnssec, Record, Status
from mailprobe.records.mx import exchangers, is_null


def answer(*records: tuple[str, str]) -> Answer:
    return Answer(
        name="a.test",
        type="MX",
        status=Status.ANSWERED if records else Status.NODATA,
        rcode="NOERROR",
        flags=(),
        records=tuple(Record(name="a.test.", type=kind, ttl=300, data=data) for kind, data in records),
        authority=(),
        extended_errors=(),
        dnssec=Dnssec.UNKNOWN,
        server="192.0.2.53:53",
        transport="udp",
        attempts=1,
        ms=1.0,
        detail="",
    )


def mx(*data: str) -> Answer:
    return answer(*(("MX", each) for each in data))


def test_exchangers_come_by_preference_and_then_by_name() -> None:
    found = exchangers(mx("20 b.test.", "10 z.test.", "10 A.test.", "0 last.test."))
    assert [(each.preference, each.target) for each in found] == [
        (0, "last.test"),
        (10, "a.test"),
        (10, "z.test"),
        (20, "b.test"),
    ]


def test_an_exchanger_keeps_its_record() -> None:
    (found,) = exchangers(mx("10 Mx.A.test."))
    assert found.record.data == "10 Mx.A.test."
    assert found.target == "mx.a.test"
    assert not found.is_null


def test_records_of_other_types_are_left_out() -> None:
    (found,) = exchangers(answer(("CNAME", "b.test."), ("MX", "10 mx.b.test.")))
    assert found.target == "mx.b.test"
    assert exchangers(answer(("CNAME", "b.test."))) == []


@pytest.mark.parametrize(
    ("data", "null"),
    [
        (("0 .",), True),
        (("10 .",), True),
        (("0 .", "10 mx.a.test."), False),
        (("0 .", "10 ."), False),
        (("0 a.test.",), False),
        ((), False),
    ],
)
def test_a_null_mx_is_the_root_alone(data: tuple[str, ...], null: bool) -> None:
    assert is_null(mx(*data)) is null


def test_an_address_or_an_escaped_name_as_target_stays_as_it_is() -> None:
    targets = [each.target for each in exchangers(mx("10 192.0.2.1.", r"20 a\032b.test."))]
    assert targets == ["192.0.2.1", r"a\032b.test"]
