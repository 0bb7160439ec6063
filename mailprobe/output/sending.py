"""What came of a letter, or of many, for a person and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import msgspec

from mailprobe.model.bulk import BulkSummary
from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Reply, Stage
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending
from mailprobe.output.style import PLAIN, Style, Tone
from mailprobe.output.tables import table
from mailprobe.output.transcript import conversation, place
from mailprobe.output.widths import paragraph
from mailprobe.output.words import clean, in_trouble, milliseconds, plural

_ENHANCED = re.compile(r"[0-9]{3}[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|$)")
_TONES: dict[Outcome, Tone] = {
    Outcome.ACCEPTED: "good",
    Outcome.REFUSED: "bad",
    Outcome.DEFERRED: "warn",
    Outcome.UNCERTAIN: "warn",
    Outcome.NOT_SENT: "bad",
}


class SendingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of one letter, for programs. *code* and *enhanced* are None where no reply decided."""

    message_id: str
    sender: str
    recipient: str
    outcome: Outcome
    stage: Stage
    code: str | None
    enhanced: str | None
    detail: str


# -- for a person ----------------------------------------------------------------------------------------------


def sending(sent: Sending, style: Style = PLAIN, width: int = 80) -> str:
    """Write what became of each recipient, then every conversation in a line."""
    parts = [style.strong(paragraph(_heading(sent), width, rest="  ")), "", _recipients(sent, style, width), ""]
    for held in sent.conversations:
        parts += _conversation(held, style, width)
    return "\n".join(parts).rstrip("\n") + "\n"


def load(summary: BulkSummary, style: Style = PLAIN, width: int = 80) -> str:
    """Write what came of a load: how much, how fast, what was answered, and what ended it."""
    counts = [
        f"{getattr(summary, outcome.name.lower())} {outcome.value}"
        for outcome in Outcome
        if getattr(summary, outcome.name.lower()) or outcome is Outcome.ACCEPTED
    ]
    octets = plural(summary.octets, "octet")
    over = plural(summary.connections, "connection")
    lines = [
        f"{plural(summary.letters, 'letter')} in {summary.seconds:.2f} s, {summary.per_second:g} a second, over {over}",
        f"recipients: {', '.join(counts)}; {octets} in all",
    ]
    spent = summary.latencies
    if spent.p50_ms is not None and spent.p95_ms is not None and spent.p99_ms is not None and spent.max_ms is not None:
        times = (spent.p50_ms, spent.p95_ms, spent.p99_ms, spent.max_ms)
        names = ("half within", "95 % within", "99 % within", "the slowest")
        lines.append("a letter took: " + ", ".join(f"{n} {milliseconds(t)}" for n, t in zip(names, times, strict=True)))
    if summary.replies:
        lines.append("replies: " + ", ".join(f"{count} x {clean(text)}" for text, count in summary.replies.items()))
    parts = [paragraph(line, width, rest="  ") for line in lines]
    parts[0] = style.strong(parts[0])
    if summary.stopped:
        parts.append(style.warn(paragraph(f"ended before its time: {clean(summary.stopped)}", width, rest="  ")))
    if summary.trouble is not None:
        parts.append(style.bad(paragraph(in_trouble(summary.trouble), width, rest="  ")))
    return "\n".join(parts) + "\n"


def _heading(sent: Sending) -> str:
    name = clean(sent.message_id) or "a letter without Message-ID"
    sender = f"from {clean(_utf8(sent.sender))}" if sent.sender else "from the null sender"
    return f"{name} {sender}, {plural(sent.size, 'octet')}, {milliseconds(sent.ms)}"


def _recipients(sent: Sending, style: Style, width: int) -> str:
    rows = [
        (
            clean(_utf8(each.address)),
            style.paint(_TONES[each.outcome], each.outcome.value),
            each.stage.value,
            clean(words(each)),
        )
        for each in sent.recipients
    ]
    return table(("recipient", "outcome", "at", "reply"), rows, width=width, wraps=(0, 3), gives=(3, 0))


def words(outcome: RecipientOutcome) -> str:
    """Give the reply that decided, or else our own words; what we decided ourselves has both."""
    said = " ".join(outcome.reply.lines) if outcome.reply is not None else ""
    if outcome.outcome is not Outcome.NOT_SENT:
        return said or outcome.detail
    return f"{outcome.detail}: {said}" if said and said not in outcome.detail else outcome.detail


def _utf8(text: str) -> str:
    """Write text of ours as `clean` reads text from the wire: in Latin-1, an octet each."""
    return text.encode("utf-8", "replace").decode("latin-1")


def _conversation(held: Conversation, style: Style, width: int) -> Iterator[str]:
    facts = [f"via {place(held)}", *(["LMTP"] if held.service == "lmtp" else []), *_security(held)]
    if held.login is not None:
        how = "logged in" if held.login.succeeded else "not logged in"
        facts.append(f"{how} as {clean(_utf8(held.login.user))} by {clean(held.login.mechanism)}")
    yield style.dim(paragraph(", ".join(facts), width, rest="  "))
    if held.leftover:
        text = (
            f"{plural(len(held.leftover), 'octet')} in clear behind the go-ahead for STARTTLS: somebody injects replies"
        )
        yield style.bad(paragraph(text, width, first="  ", rest="  "))
    if held.trouble is not None:
        yield style.bad(paragraph(in_trouble(held.trouble), width, first="  ", rest="  "))


def _security(held: Conversation) -> list[str]:
    if held.tls is None:
        return ["in clear"] if held.exchanges and held.port else []
    trust = held.tls.trust
    judged = [] if trust is None or trust.trusted else [f"certificate not trusted ({clean(trust.reason)})"]
    return [clean(held.tls.version), *judged]


def transcript(sent: Sending, style: Style = PLAIN) -> str:
    """Write every conversation word by word."""
    return "\n".join(conversation(held, style) for held in sent.conversations)


# -- for programs ----------------------------------------------------------------------------------------------


def rows(sent: Sending) -> tuple[SendingRow, ...]:
    """Give one row for each recipient."""
    return tuple(
        SendingRow(
            message_id=sent.message_id,
            sender=sent.sender,
            recipient=each.address,
            outcome=each.outcome,
            stage=each.stage,
            code=each.reply.status if each.reply is not None else None,
            enhanced=_enhanced(each.reply),
            detail=each.detail,
        )
        for each in sent.recipients
    )


def document(item: Sending | BulkSummary) -> str:
    """Write all there is as one JSON document, in ASCII as all JSON here."""
    return json.dumps(msgspec.to_builtins(item), indent=2) + "\n"


def _enhanced(reply: Reply | None) -> str | None:
    lines: Sequence[str] = reply.lines if reply is not None else ()
    match = _ENHANCED.match(lines[-1]) if lines else None
    return match[1] if match else None
