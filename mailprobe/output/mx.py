"""The table of `mx`: who takes mail for a domain, who said so, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from mailprobe.model.evidence import Answer, Dnssec, Target
from mailprobe.output.rows import Exchanger, MailDomain, mail_domain
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.widths import paragraph
from mailprobe.output.words import clean, extended_error, in_trouble, milliseconds, not_answered, plural


def mx(targets: Sequence[Target], style: Style = PLAIN, width: int = 80) -> str:
    """Write the exchangers of each domain by preference, then what is odd, then who was asked."""
    return "\n".join(_target(target, style, width) for target in targets)


def records(answers: Sequence[Answer], style: Style = PLAIN, width: int = 80) -> str:
    """Write the records of each answer, whatever their type, then who was asked."""
    return "\n".join(_answer(answer, style, width) for answer in answers)


def _target(target: Target, style: Style, width: int) -> str:
    domain = mail_domain(target)
    if domain is None:
        said = in_trouble(target.trouble) if target.trouble else "not a domain: MX was not asked"
        return paragraph(f"{clean(target.asked)}: {said}", width, rest="  ") + "\n"
    parts = [paragraph(_heading(domain), width, rest="  ")]
    parts[0] = style.strong(parts[0]) if not domain.problem else _toned(domain, parts[0], style)
    if domain.exchangers:
        parts += ["", _exchangers(domain.exchangers, style, width), ""]
    parts += _notes(domain, style, width)
    if target.trouble:
        parts.append(style.bad(paragraph(in_trouble(target.trouble), width, rest="  ")))
    parts.append(style.dim(paragraph(_asked(domain), width, rest="  ")))
    return "\n".join(parts) + "\n"


def _heading(domain: MailDomain) -> str:
    said = domain.problem or plural(len(domain.exchangers), "mail exchanger")
    return f"{clean(domain.domain)}: {said}"


def _toned(domain: MailDomain, text: str, style: Style) -> str:
    return style.note(text) if domain.null_mx else style.warn(text) if domain.implicit else style.bad(text)


def _exchangers(exchangers: Sequence[Exchanger], style: Style, width: int) -> str:
    rows = [
        (
            "-" if each.preference is None else str(each.preference),
            (style.bad if each.problem else str)(clean(each.name)),
            clean(" ".join(each.addresses)) or "-",
            "-" if each.ttl is None else str(each.ttl),
        )
        for each in exchangers
    ]
    headers = ("preference", "exchanger", "addresses", "TTL")
    return table(headers, rows, width=width, right=(0, 3), wraps=(2,), gives=(2,))


def _notes(domain: MailDomain, style: Style, width: int) -> list[str]:
    notes = [f"{clean(each.name)}: {each.problem}" for each in domain.exchangers if each.problem]
    if domain.aliases:
        notes.insert(0, f"{clean(domain.domain)} is an alias (CNAME) of {clean(domain.aliases[-1])}")
    return [style.bad(paragraph(note, width, rest="  ")) for note in notes]


def _asked(source: MailDomain | Answer) -> str:
    facts = [source.rcode or "no reply"]
    if source.flags:
        facts.append("flags " + " ".join(source.flags))
    if source.dnssec is not Dnssec.UNKNOWN:
        facts.append(f"DNSSEC {source.dnssec.value}")
    facts.append(milliseconds(source.ms))
    facts += [extended_error(option) for option in source.extended_errors]
    over = f" over {source.transport.upper()}" if source.transport else ""
    return clean(f"asked {source.server or 'nobody'}{over}: {', '.join(facts)}")


def _answer(answer: Answer, style: Style, width: int) -> str:
    rows = [(clean(each.name), str(each.ttl), each.type, clean(each.data)) for each in answer.records]
    parts = []
    if rows:
        parts += [table(("name", "TTL", "type", "data"), rows, width=width, right=(1,), wraps=(3,), gives=(3,)), ""]
    if failure := not_answered(answer):
        parts.append(style.bad(paragraph(f"{clean(answer.name)} {answer.type}: {failure}", width, rest="  ")))
    parts.append(style.dim(paragraph(_asked(answer), width, rest="  ")))
    return "\n".join(parts) + "\n"
