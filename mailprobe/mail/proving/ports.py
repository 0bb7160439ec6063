"""Proves on which ports the protocols live, and how each gets its TLS."""

from __future__ import annotations

from collections.abc import Sequence

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.proving.bench import FIRST, Bench, Settled
from mailprobe.mail.proving.devices import Script
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Security
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.ports import Port, Protocol


async def prove_ports(bench: Bench, protocol: str, ports: Sequence[Port]) -> None:
    """Prove where a protocol is spoken, and that it gets its TLS as is said."""
    visits: list[Visit] = []
    for port in ports:
        visit = Visit(bench.network, bench.place(port), bench.deadline())
        visits.append(visit)
        try:
            await visit.begin()
        except Stopped:
            pass  # the visit's own trouble says it
        finally:
            await visit.end()

    async def greets(script: Script) -> Settled:
        for visit in visits:
            script.add(FIRST, protocol, [each for each in visit.dialogue.exchanges if each.stage is Stage.GREETING])
        return _joined([_greeted(visit) for visit in visits])

    async def encrypts(script: Script) -> Settled:
        shown = {Stage.GREETING, Stage.STARTTLS}
        for visit in visits:
            said = [each for each in visit.dialogue.exchanges if each.stage in shown]
            script.add(FIRST, protocol, said)
        return _joined([_encrypted(visit) for visit in visits])

    await bench.prove("ports", protocol, greets)
    await bench.prove("encryption", protocol, encrypts)


def _joined(parts: Sequence[Settled]) -> Settled:
    verdicts = [holds for holds, _ in parts]
    holds = None if None in verdicts else all(verdicts)
    return (False if False in verdicts else holds), "; ".join(detail for _, detail in parts)


def _greeted(visit: Visit) -> Settled:
    number, trouble = visit.place.port, visit.trouble
    if visit.greeting is not None and (trouble is None or trouble.stage is not Stage.GREETING):
        return True, f"{number} greets with {visit.greeting.status}"
    detail = trouble.detail if trouble is not None else "no greeting"
    return (False if trouble is not None and trouble.kind is Kind.REFUSED else None), f"{number}: {detail}"


def _encrypted(visit: Visit) -> Settled:
    number, implicit = visit.place.port, visit.place.security is Security.TLS
    greeted = _greeted(visit)
    if not greeted[0]:
        return greeted
    if visit.tls is None:
        offered = visit.before_tls is not None and visit.place.service.protocol is Protocol.POP3
        return (True if offered else None if visit.trouble else False), f"{number} stays in clear"
    if implicit:
        return True, f"{number} speaks {visit.tls.version} before its first word"
    return True, f"{number} greets in clear and changes to {visit.tls.version}"
