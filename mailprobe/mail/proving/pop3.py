"""Proves what POP3 is for: it hands letters out, and keeps nothing in step."""

from __future__ import annotations

from mailprobe.mail.proving.bench import FIRST, SECOND, TOKEN_FIELD, Bench, Settled, known
from mailprobe.mail.proving.devices import Script
from mailprobe.model.evidence import Stage
from mailprobe.model.ports import Service


async def prove_pop3(bench: Bench, protocol: str, service: Service) -> None:
    """Prove what is said of POP3, with two devices one after the other: the first has the mailbox for itself."""
    first, second = (bench.device(name, protocol, service) for name in (FIRST, SECOND))
    token = ""  # a letter is found by it in every visit: its number holds for one (RFC 1939 §4), as may its uid

    async def fetches(script: Script) -> Settled:
        nonlocal token
        _, sent = await bench.submit()
        uid = await bench.arrived(first, sent)
        token = sent
        octets = await first.play(script, first.inbox.fetch(uid))
        return True, f"RETR brought {len(octets)} octets"

    async def only_fetches(script: Script) -> Settled:
        if not first.inside:
            await first.inbox.open()
        dialogue = first.inbox.visit.dialogue
        reply = await first.play(script, dialogue.ask(Stage.PROBE, b"MAIL FROM:<a@b.test>\r\n"))
        return reply.status == "-ERR", "POP3 hands letters out and takes none"

    async def keeps_nothing_in_step(script: Script) -> Settled:
        known(token)
        before = await first.inbox.uids()
        await first.play(script, first.inbox.fetch(await bench.find(first, token)))
        await first.play(script, first.inbox.end())
        after = await second.open(script)
        same = bool(await bench.find(second, token)) and set(before) <= set(after)
        return same, "the second device is shown the same list: nothing in it tells what the first has read"

    async def deletes_for_all(script: Script) -> Settled:
        known(token)
        await second.inbox.end()
        await first.inbox.open()
        uid = await bench.find(first, token)
        await first.play(script, bench.delete(first, uid, token), Stage.DELETE)
        await first.play(script, first.inbox.end())
        await second.open(script)
        gone = not await second.inbox.search(TOKEN_FIELD, token)
        if gone:
            bench.gone(token)
        return gone, "deleted on the first device, and gone on the second"

    await bench.prove("function", protocol, fetches)
    await bench.prove("direction", protocol, only_fetches)
    await bench.prove("sync across devices", protocol, keeps_nothing_in_step)
    await bench.prove("mail stays on the server", protocol, deletes_for_all)
    for device in (first, second):
        await device.inbox.end()
