"""One conversation at a glance: what each step took and met, capabilities stage by stage, and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Capabilities, Capability, Reply, Stage
from mailprobe.model.held import Answered, FolderRow, Held, LetterRow
from mailprobe.model.view import CertificateView
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import newest, table
from mailprobe.output.transcript import place
from mailprobe.output.widths import paragraph
from mailprobe.output.words import clean, days, in_trouble, milliseconds, plural

_STEPS = {
    Stage.CONNECT: "connect",
    Stage.GREETING: "greeting",
    Stage.CAPABILITIES: "capabilities",
    Stage.STARTTLS: "STARTTLS",
    Stage.HANDSHAKE: "TLS handshake",
    Stage.CAPABILITIES_TLS: "capabilities in TLS",
    Stage.LOGIN: "login",
    Stage.CAPABILITIES_LOGIN: "capabilities after login",
    Stage.PROBE: "questions",
    Stage.MAIL: "MAIL",
    Stage.RCPT: "RCPT",
    Stage.DATA: "DATA",
    Stage.MESSAGE: "letter",
    Stage.LIST: "list",
    Stage.FETCH: "fetch",
    Stage.DELETE: "delete",
    Stage.WAIT: "wait",
    Stage.QUIT: "goodbye",
}


class HeldView(msgspec.Struct, frozen=True, kw_only=True):
    """What the command held, with what there is to say of the certificate, None when there was none.

    *unsafe* says why a password is not safe there although there is TLS; empty when it is.
    """

    held: Held
    certificate: CertificateView | None
    unsafe: str


def conversation_table(view: HeldView, style: Style = PLAIN, width: int = 80) -> str:
    """Write all of it in blocks with an empty line between."""
    held = view.held
    told = held.conversation
    head = [style.strong(place(told))]
    head += [style.dim(f"  tried before: {place(each)}: {_trouble(each)}") for each in held.tried]
    blocks = [
        "\n".join(head),
        table(("step", "time", "what came of it"), list(_steps(told, style)), width=width, right=(1,), wraps=(2,)),
        "\n".join(_security(view, style, width)),
        _capabilities(told, width),
        _answers(held.answers, style, width),
        _folders(held.folders, style, width),
        _letters(held.letters, width),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def document(view: HeldView) -> str:
    """Write all of it as one JSON document; octets are in base64."""
    told = {**msgspec.structs.asdict(view.held), "certificate": view.certificate, "unsafe": view.unsafe}
    return json.dumps(msgspec.to_builtins(told), indent=2) + "\n"


def letter_text(octets: bytes) -> str:
    """Write a letter so that no terminal acts on it: line by line, controls escaped."""
    lines = octets.decode("latin-1").split("\n")
    return "\n".join(clean(line.removesuffix("\r").replace("\t", "    ")) for line in lines)


def _trouble(told: Conversation) -> str:
    return in_trouble(told.trouble) if told.trouble is not None else ""


# -- the steps -------------------------------------------------------------------------------------------------


def _steps(told: Conversation, style: Style) -> Iterator[tuple[str, str, str]]:
    for stage, name in _STEPS.items():
        spent = told.timings.get(stage.value)
        met = _met(told, stage)
        trouble = told.trouble if told.trouble is not None and told.trouble.stage is stage else None
        if trouble is not None:
            met = style.bad(in_trouble(trouble))
        if spent is not None or trouble is not None:
            yield name, milliseconds(spent) if spent is not None else "-", met


def _met(told: Conversation, stage: Stage) -> str:
    if stage is Stage.CONNECT:
        return "connected"
    if stage is Stage.HANDSHAKE and told.tls is not None:
        return clean(f"{told.tls.version}, {told.tls.cipher}")
    if stage is Stage.LOGIN and told.login is not None:
        how = clean(f"{told.login.user} by {told.login.mechanism}")
        return f"{how}: {_last_line(told.login.reply)}" if told.login.reply else how
    listed = _listed(told, stage)
    if listed is not None:
        return plural(len(listed.items), "capability", "capabilities")
    found = [exchange.reply for exchange in told.exchanges if exchange.stage is stage]
    if not found:
        return ""
    return f"{len(found)} exchanges" if len(found) > 1 else _last_line(found[0])


def _listed(told: Conversation, stage: Stage) -> Capabilities | None:
    stages = {
        Stage.CAPABILITIES: told.before_tls,
        Stage.CAPABILITIES_TLS: told.after_tls,
        Stage.CAPABILITIES_LOGIN: told.after_login,
    }
    return stages.get(stage)


def _last_line(reply: Reply) -> str:
    """Give the line that says how it went: the last, but POP3's first; its capability list is told elsewhere."""
    last = reply.lines[-1] if reply.lines else ""
    line = next((line for line in reply.lines if line.upper().startswith(("+OK", "-ERR"))), last)
    before, code, rest = line.partition("[CAPABILITY ")
    return clean(f"{before}[CAPABILITY ...]{rest.partition(']')[2]}" if code else line)


# -- TLS and capabilities --------------------------------------------------------------------------------------


def _security(view: HeldView, style: Style, width: int) -> Iterator[str]:
    told = view.held.conversation
    if told.leftover:
        text = f"{len(told.leftover)} octets in clear came behind the go-ahead for STARTTLS (response injection)"
        yield style.bad(paragraph(text, width, "injected     ", "             "))
    if told.tls is None:
        if told.greeting is not None:
            yield style.warn("encryption   none: everything was said in clear")
        return
    cipher = f"{told.tls.version}, {told.tls.cipher}, {told.tls.bits} bits"
    yield clean(f"encryption   {cipher}")
    certificate = view.certificate
    if certificate is None:
        yield style.bad("certificate  none")
        return
    left = f", {days(certificate.days_left)}" if certificate.days_left is not None else ""
    text = clean(f"{certificate.verdict}{left}, {certificate.subject}")
    tone = style.good if certificate.verdict == "ok" else style.bad
    yield tone(paragraph(text, width, "certificate  ", "             "))
    if view.unsafe:
        yield style.bad(paragraph(clean(view.unsafe), width, "             ", "             "))


def _capabilities(told: Conversation, width: int) -> str:
    stages = (("before TLS", told.before_tls), ("in TLS", told.after_tls), ("after login", told.after_login))
    known = [(name, found) for name, found in stages if found is not None]
    keywords = sorted({item.keyword for _, found in known for item in found.items})
    rows = [(clean(word), *(_cell(word, found) for _, found in known)) for word in keywords]
    return table(("capability", *(name for name, _ in known)), rows, width=width, wraps=range(len(known) + 1))


def _cell(keyword: str, found: Capabilities) -> str:
    items: list[Capability] = [item for item in found.items if item.keyword == keyword]
    words = " ".join(word for item in items for word in item.parameters)
    return clean(words) or "yes" if items else "-"


# -- what it was held for --------------------------------------------------------------------------------------


def _answers(answers: Sequence[Answered], style: Style, width: int) -> str:
    rows = []
    for each in answers:
        status = each.reply.status
        tone = style.good if status.startswith("2") else style.warn if status.startswith("4") else style.bad
        words = clean(" ".join(line[4:] for line in each.reply.lines))
        rows.append((clean(each.command), tone(status), words))
    return table(("asked", "code", "answer"), rows, width=width, wraps=(0, 2))


def _folders(folders: Sequence[FolderRow], style: Style, width: int) -> str:
    shown, more = newest(folders)
    rows = [
        (clean(each.name), clean(" ".join(each.attributes)) or "-", style.warn("junk") if each.junk else "")
        for each in shown
    ]
    return more + table(("folder", "attributes", ""), rows, width=width)


def _letters(letters: Sequence[LetterRow] | None, width: int) -> str:
    if letters is None:
        return ""
    if not letters:
        return "no letters"
    shown, more = newest(letters)
    rows = [
        (
            str(each.number),
            clean(each.uid),
            "-" if each.size is None else str(each.size),
            *(clean(text or "-") for text in (each.date, each.sender, each.subject)),
        )
        for each in shown
    ]
    headers = ("no", "uid", "octets", "date", "from", "subject")
    return more + table(headers, rows, width=width, right=(0, 2), gives=(3, 4))
