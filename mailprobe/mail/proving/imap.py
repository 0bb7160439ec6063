"""Proves what IMAP is for: mail that stays on the server, and devices that are kept in step."""

from __future__ import annotations

from mailprobe.mail.proving.bench import FIRST, SECOND, TOKEN_FIELD, Bench, Settled, known
from mailprobe.mail.proving.devices import Device, Script
from mailprobe.mail.visit import Visit
from mailprobe.model.evidence import Stage
from mailprobe.model.ports import Service
from mailprobe.protocols.imap.responses import Fetched

_FLAG = "\\Flagged"


async def prove_imap(bench: Bench) -> None:
    """Prove what is said of IMAP, with two devices that are connected at the same time."""
    first, second = (bench.device(name, "IMAP", Service.IMAP) for name in (FIRST, SECOND))
    token = ""  # a letter is found by it in every visit: its uid may belong to another by then (RFC 9051 §2.3.1.1)

    async def works_there(script: Script) -> Settled:
        nonlocal token
        _, sent = await bench.submit()
        uid = await bench.arrived(first, sent)
        token = sent
        header = await first.play(script, first.inbox.headers(uid))
        return True, f"the header alone was read, {len(header)} octets; the letter stayed where it is"

    async def goes_both_ways(script: Script) -> Settled:
        await second.inbox.open()
        letter, put = bench.letter()
        visit = second.inbox.visit
        reply = await second.play(script, _append(visit, letter.octets))
        uids = await second.inbox.search(TOKEN_FIELD, put) if reply else ()
        octets = await second.play(script, second.inbox.fetch(uids[0])) if uids else b""
        for uid in uids[:1]:
            await bench.delete(second, uid, put)
        return octets == letter.octets, f"{len(letter.octets)} octets went up, and the same came down"

    async def is_in_step(script: Script) -> Settled:
        known(token)
        await second.inbox.open()
        uid = await bench.find(second, token)
        before = await _flags(second, uid)
        await first.play(script, _store(first.inbox.visit, await bench.find(first, token)))
        after = await second.play(script, _flags(second, uid))
        told = _FLAG not in before and _FLAG in after
        return told, f"{_FLAG} set on the first device is seen on the second"

    async def stays(script: Script) -> Settled:
        known(token)
        await first.play(script, first.inbox.fetch(await bench.find(first, token)))
        await first.play(script, first.inbox.end())
        uid = await bench.find(second, token)
        there = uid in await second.play(script, second.inbox.uids())
        await second.play(script, bench.delete(second, uid, token), Stage.DELETE)
        await first.open(script)
        gone = not await first.inbox.search(TOKEN_FIELD, token)
        return (
            there and gone,
            "fetched on the first device, still there on the second; expunged there, gone on both",
        )

    await bench.prove("function", "IMAP", works_there)
    await bench.prove("direction", "IMAP", goes_both_ways)
    await bench.prove("sync across devices", "IMAP", is_in_step)
    await bench.prove("mail stays on the server", "IMAP", stays)
    for device in (first, second):
        await device.inbox.end()


async def _append(visit: Visit, octets: bytes) -> bool:
    reply = await visit.dialogue.ask(Stage.MESSAGE, visit.imap.append("INBOX", octets), shown="APPEND INBOX ...")
    while reply.status == "+":
        reply = await visit.dialogue.ask(Stage.MESSAGE, visit.imap.go_on(), shown=f"... {len(octets)} octets")
    return reply.status == "OK"


async def _store(visit: Visit, uid: str) -> None:
    await visit.dialogue.ask(Stage.FETCH, visit.imap.uid_store([int(uid)], _FLAG))


async def _flags(device: Device, uid: str) -> tuple[str, ...]:
    visit = device.inbox.visit
    await visit.dialogue.ask(Stage.FETCH, visit.imap.uid_fetch([int(uid)], "FLAGS"))
    told = [each for each in visit.imap.take_responses() if isinstance(each, Fetched) and each.uid == int(uid)]
    return next((each.flags for each in reversed(told) if each.flags is not None), ())
