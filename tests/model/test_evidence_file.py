"""Evidence as JSON: what the lab gave is read back whole, and anything else is refused with its path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailprobe.collect.targets import Depth, collect, parse_target
from mailprobe.lab.world import Lab
from mailprobe.model.errors import EvidenceError
from mailprobe.model.evidence import SCHEMA, Evidence
from mailprobe.model.evidence_file import json_schema, read_evidence, write_evidence
from mailprobe.model.ports import parse_ports
from mailprobe.net.network import Network, Reach

NAMES = ("good.lab.test", "starttls-response-injection.lab.test", "domain-missing.lab.test")


@pytest.fixture(scope="module")
def evidence() -> Iterator[Evidence]:
    with Lab() as lab:
        reach = Reach(resolver=lab.resolver, ca_file=lab.ca_file, route=lab.route)
        wishes = [parse_target(name, parse_ports("25,465,143")) for name in NAMES]
        yield asyncio.run(collect(Network(reach), wishes, Depth()))


def edited(evidence: Evidence, edit: Callable[[Any], object]) -> bytes:
    """Give the evidence as JSON after a change to it."""
    tree = json.loads(write_evidence(evidence))
    edit(tree)
    return json.dumps(tree).encode()


def test_what_was_written_is_read_back_whole(evidence: Evidence) -> None:
    text = write_evidence(evidence)
    assert read_evidence(text, "a.json") == evidence
    assert write_evidence(read_evidence(text, "a.json")) == text


def test_the_octets_of_a_server_survive(evidence: Evidence) -> None:
    again = read_evidence(write_evidence(evidence), "a.json")
    sessions = [session for host in again.targets[1].hosts for session in host.addresses[0].sessions]
    assert any(session.leftover for session in sessions)
    assert all(session.tls is not None and session.tls.chain[0][:1] == b"\x30" for session in sessions)


def test_no_field_is_left_out_of_the_json(evidence: Evidence) -> None:
    tree = json.loads(write_evidence(evidence))
    session = tree["targets"][0]["hosts"][0]["addresses"][0]["sessions"][0]
    assert set(session) == set(evidence.targets[0].hosts[0].addresses[0].sessions[0].__struct_fields__)
    assert tree["targets"][2]["trouble"]["stage"] == "resolve"


def _drop_port(tree: Any) -> None:
    del tree["targets"][0]["hosts"][0]["addresses"][0]["sessions"][2]["port"]


def _add_field(tree: Any) -> None:
    tree["targets"][0]["colour"] = "red"


def _port_as_text(tree: Any) -> None:
    tree["targets"][0]["hosts"][0]["addresses"][0]["sessions"][1]["port"] = "x"


def _unknown_stage(tree: Any) -> None:
    tree["targets"][2]["trouble"]["stage"] = "later"


def _no_time(tree: Any) -> None:
    tree["collected_at"] = "yesterday"


def _no_time_zone(tree: Any) -> None:
    tree["collected_at"] = "2026-03-01T12:00:00"


def _no_network(tree: Any) -> None:
    tree["settings"]["internal_networks"] = ["192.0.2.0/24", "192.0.2.1/24"]


def _no_target(tree: Any) -> None:
    tree["targets"][1]["asked"] = "a..test"


def _session(tree: Any) -> Any:
    return tree["targets"][0]["hosts"][0]["addresses"][0]["sessions"][1]


def _no_service(tree: Any) -> None:
    _session(tree)["service"] = "gopher"


def _no_address(tree: Any) -> None:
    tree["targets"][0]["hosts"][0]["addresses"][0]["address"] = "here"


def _no_session_address(tree: Any) -> None:
    _session(tree)["address"] = ""


def _empty_greeting(tree: Any) -> None:
    _session(tree)["greeting"]["lines"] = []


_SESSION = r"\$\.targets\[0\]\.hosts\[0\]\.addresses\[0\]\.sessions\[1\]"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_no_time_zone, r"timezone component - at `\$.collected_at`"),
        (_no_network, r"'192.0.2.1/24' is no network - at `\$\.settings\.internal_networks\[1\]`"),
        (_no_target, r"'a..test' is no domain name.* - at `\$\.targets\[1\]\.asked`"),
        (_no_service, rf"'gopher' is no service - at `{_SESSION}\.service`"),
        (_no_address, r"'here' is no address - at `\$\.targets\[0\]\.hosts\[0\]\.addresses\[0\]\.address`"),
        (_no_session_address, rf"'' is no address - at `{_SESSION}\.address`"),
        (_empty_greeting, rf"at least one line - at `{_SESSION}\.greeting\.lines`"),
        (_drop_port, r"missing required field `port` - at `\$.targets\[.+\].hosts\[.+\].addresses\[.+\].sessions"),
        (_add_field, r"unknown field `colour` - at `\$.targets\[.+\]`"),
        (_port_as_text, r"Expected `int`, got `str` - at `\$.targets\[.+\].*\.port`"),
        (_unknown_stage, r"Invalid enum value 'later' - at `\$.targets\[.+\].trouble.stage`"),
        (_no_time, r"RFC3339.* - at `\$.collected_at`"),
    ],
)
def test_evidence_that_is_not_as_the_schema_says_is_refused_with_the_path(
    evidence: Evidence, edit: Callable[[Any], None], words: str
) -> None:
    with pytest.raises(EvidenceError, match=words) as caught:
        read_evidence(edited(evidence, edit), "a.json")
    assert str(caught.value).startswith("a.json: ")


def test_a_newer_schema_asks_for_a_newer_mailprobe(evidence: Evidence) -> None:
    newer = edited(evidence, lambda tree: tree.update(schema=SCHEMA + 1, surprise=[1]))
    with pytest.raises(EvidenceError, match=f"a.json: the evidence has schema {SCHEMA + 1}.*use a newer mailprobe"):
        read_evidence(newer, "a.json")


def test_an_older_schema_asks_for_new_evidence(evidence: Evidence) -> None:
    with pytest.raises(EvidenceError, match=r"schema 0.*collect it anew"):
        read_evidence(edited(evidence, lambda tree: tree.update(schema=0)), "a.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"schema": "1"}',
        b'{"schema": 1.5}',
        b'{"schema": true}',
        b'{"schema": 1} trailing',
        b'{"other": "\xff"}',
        b'{"other": ' + b"[" * 200_000,
    ],
)
def test_what_is_no_evidence_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"a\.json: this is no evidence of mailprobe: ") as caught:
        read_evidence(text, "a.json")
    assert "\n" not in str(caught.value)


def test_evidence_nested_beyond_all_measure_is_refused() -> None:
    with pytest.raises(EvidenceError, match=r"a\.json"):
        read_evidence(b'{"schema": 1, "targets": ' + b"[" * 200_000, "a.json")


def test_the_published_schema_names_every_type() -> None:
    tree = json.loads(json_schema())
    assert {"Evidence", "Target", "Host", "Address", "Session", "Answer", "Tls", "Trouble"} <= set(tree["$defs"])
    assert tree["$defs"]["Session"]["additionalProperties"] is False
