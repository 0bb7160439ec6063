"""Proves what SMTP is for: it sends and passes on, and knows no mailbox."""

from __future__ import annotations

import re
import time

from mailprobe.mail.proving.bench import FIRST, SECOND, SUBMISSION, Bench, Settled
from mailprobe.mail.proving.devices import Script
from mailprobe.mail.visit import Visit
from mailprobe.model.evidence import Stage
from mailprobe.model.ports import Service

_RECEIVED = re.compile(rb"^Received:", re.IGNORECASE | re.MULTILINE)


async def prove_smtp(bench: Bench) -> None:
    """Prove what is said of SMTP; another device looks whether letters arrive."""
    reader = bench.device(SECOND, "IMAP", Service.IMAP)

    async def sends(script: Script) -> Settled:
        letter, token = await bench.submit(script)
        started = time.perf_counter()
        uid = await bench.arrived(reader, token)
        spent = time.perf_counter() - started
        await reader.play(script, reader.inbox.headers(uid))
        await bench.delete(reader, uid, token)
        return True, f"{len(letter.octets)} octets were taken, and were in the mailbox {spent:.1f} s later"

    async def passes_on(script: Script) -> Settled:
        _, token = await bench.submit(script)
        uid = await bench.arrived(reader, token)
        header = await reader.play(script, reader.inbox.headers(uid))
        await bench.delete(reader, uid, token)
        stamped = bool(_RECEIVED.search(header))
        return stamped, "the server took it and passed it on: its Received line is on the letter in the mailbox"

    async def carries(script: Script) -> Settled:
        return await _refused(bench, script, "RETR 1", "SMTP takes letters and hands none out")

    async def knows_no_mailbox(script: Script) -> Settled:
        return await _refused(bench, script, "LIST", "SMTP has no word for a mailbox, so nothing can be in step")

    await bench.prove("function", "SMTP", sends)
    await bench.prove("direction", "SMTP", carries)
    await bench.prove("sync across devices", "SMTP", knows_no_mailbox)
    await bench.prove("mail stays on the server", "SMTP", passes_on)
    await reader.inbox.end()


async def _refused(bench: Bench, script: Script, command: str, why: str) -> Settled:
    visit = Visit(bench.network, bench.place(SUBMISSION), bench.deadline())
    try:
        await visit.begin()
        reply = await visit.dialogue.ask(Stage.PROBE, f"{command}\r\n".encode("ascii"))
        script.add(FIRST, "SMTP", visit.dialogue.exchanges[-1:])
    finally:
        await visit.end()
    return reply.status.startswith("5"), why
