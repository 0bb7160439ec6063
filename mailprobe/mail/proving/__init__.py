"""Proves the comparison of the mail protocols on a server: each answer by what two devices of one user are told.

The letters that this takes are our own: sent by the second login, found by a token in their header, and deleted again.
No other letter is read, flagged or deleted.
"""

from __future__ import annotations

from mailprobe.collect.lookups import host
from mailprobe.mail.proving.bench import Bench, Setting, claim
from mailprobe.mail.proving.imap import prove_imap
from mailprobe.mail.proving.pop3 import prove_pop3
from mailprobe.mail.proving.ports import prove_ports
from mailprobe.mail.proving.smtp import prove_smtp
from mailprobe.model.errors import UsageError
from mailprobe.model.ports import WELL_KNOWN, Port, Service
from mailprobe.model.proof import ROWS, Proof
from mailprobe.net.network import Network

__all__ = ["Setting", "prove"]

_COLUMNS = {"SMTP": (25, 587, 465), "POP3": (110,), "POP3S": (995,), "IMAP": (143, 993)}
_REASONS = {
    "SMTP": ("function", "direction"),
    "POP3": ("sync across devices", "mail stays on the server"),
    "POP3S": ("sync across devices", "mail stays on the server", "encryption"),
    "IMAP": ("sync across devices", "mail stays on the server"),
}


async def prove(network: Network, setting: Setting) -> tuple[Proof, ...]:
    """Prove every row, and never raise for what a server does; what cannot be shown is undecided.

    Raises:
        UsageError: the host has no address, or an address of a person is none.
    """
    found = await host(network, setting.host)
    if not found.addresses:
        raise UsageError(f"{setting.host} has no address to connect to")
    bench = Bench(network, setting, found.addresses[0].address)
    try:
        for protocol, numbers in _COLUMNS.items():
            await prove_ports(bench, protocol, [Port(number, WELL_KNOWN[number]) for number in numbers])
        await prove_smtp(bench)
        await prove_pop3(bench, "POP3", Service.POP3)
        await prove_pop3(bench, "POP3S", Service.POP3S)
        await prove_imap(bench)
    finally:
        await bench.clear_up()
    order = [row.question for row in ROWS]
    return tuple(sorted((*bench.proofs, *_conclusions(bench.proofs)), key=lambda proof: order.index(proof.question)))


def _conclusions(proofs: list[Proof]) -> list[Proof]:
    """Say what each protocol is suited to, which follows from its other answers."""
    known = {(proof.protocol, proof.question): proof.holds for proof in proofs}
    return [
        Proof(
            question="suited to",
            protocol=protocol,
            claim=claim("suited to", protocol),
            holds=_all([known.get((protocol, question)) for question in questions]),
            detail=f"follows from {' and '.join(questions)}",
            dialogue=(),
        )
        for protocol, questions in _REASONS.items()
    ]


def _all(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True
