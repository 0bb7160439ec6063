"""The comparison and its proofs as text."""

from __future__ import annotations

import msgspec

from mailprobe.model.evidence import Exchange, Reply, Stage
from mailprobe.model.proof import Proof, Said
from mailprobe.output.proof import comparison, proofs, tally
from mailprobe.output.style import Style

EXCHANGE = Exchange(
    stage=Stage.LIST, secure=True, sent="LIST", reply=Reply(status="+OK", lines=("+OK", "1 676"), quirks=()), ms=1.0
)
PROOF = Proof(
    question="function",
    protocol="POP3",
    claim="fetches mail",
    holds=True,
    detail="RETR brought 676 octets",
    dialogue=(Said(device="first", protocol="POP3", exchange=EXCHANGE),),
)


def test_a_proof_tells_claim_sight_and_dialogue() -> None:
    assert proofs([PROOF]) == (
        "proven    POP3, function\n"
        "          fetches mail\n"
        "   seen   RETR brought 676 octets\n"
        "  first  POP3  ~> LIST\n"
        "  first  POP3  <~ +OK\n"
        "  first  POP3  <~ 1 676\n"
        "\n"
        "1 proven\n"
    )


def test_what_does_not_hold_and_what_is_not_known_are_told_apart() -> None:
    other = [msgspec.structs.replace(PROOF, holds=holds) for holds in (False, None)]
    text = proofs(other)
    assert "disproved POP3" in text
    assert "undecided POP3" in text
    assert tally([PROOF, *other]) == "1 proven, 1 disproved, 1 undecided"


def test_what_a_server_says_cannot_move_the_terminal_and_long_replies_are_cut() -> None:
    lines = tuple(f"\x1b[2J{number}" for number in range(30))
    hostile = msgspec.structs.replace(EXCHANGE, reply=Reply(status="+OK", lines=lines, quirks=()))
    text = proofs([msgspec.structs.replace(PROOF, dialogue=(Said(device="first", protocol="POP3", exchange=hostile),))])
    assert "\x1b" not in text
    assert text.count("<~") == 6
    assert "<~ ..." in text


def test_colour_is_for_whoever_wants_it() -> None:
    assert "\x1b[" in proofs([PROOF], Style(colour=True))


def test_the_comparison_keeps_to_its_width() -> None:
    for width in (60, 80, 120):
        assert max(map(len, comparison(width).splitlines())) <= width
