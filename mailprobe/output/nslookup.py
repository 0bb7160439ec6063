"""What BIND's ``nslookup -q=TYPE NAME SERVER`` prints, byte for byte, so that scripts can move over.

Held against nslookup 9.18. It prints the additional section too, where a server sends one; evidence keeps none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mailprobe.model.evidence import Answer, Record, Status
from mailprobe.output.words import clean

# bin/dig/nslookup.c has words for types up to 41 and numbers for the rest.
_WORDS = {
    "A": "internet address = ",
    "NS": "nameserver = ",
    "CNAME": "canonical name = ",
    "MB": "mb = ",
    "MG": "mg = ",
    "MR": "mr = ",
    "WKS": "protocol = ",
    "PTR": "name = ",
    "HINFO": "hinfo = ",
    "MINFO": "minfo = ",
    "MX": "mail exchanger = ",
    "TXT": "text = ",
    "RP": "rp = ",
    "AFSDB": "afsdb = ",
    "X25": "x25 address = ",
    "ISDN": "isdn address = ",
    "RT": "rt = ",
    "NSAP": "nsap = ",
    "NSAP-PTR": "nsap_ptr = ",
    "SIG": "signature = ",
    "KEY": "key = ",
    "PX": "px = ",
    "GPOS": "gpos = ",
    "AAAA": "has AAAA address ",
    "LOC": "loc = ",
    "NXT": "next = ",
    "SRV": "service = ",
    "NAPTR": "naptr = ",
    "KX": "kx = ",
    "CERT": "cert = ",
    "A6": "v6 address = ",
    "DNAME": "dname = ",
}
_NUMBERS = {
    "APL": 42, "DS": 43, "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "DHCID": 49,
    "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53, "HIP": 55, "CDS": 59, "CDNSKEY": 60,
    "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65, "SPF": 99, "NID": 104, "L32": 105,
    "L64": 106, "LP": 107, "EUI48": 108, "EUI64": 109, "URI": 256, "CAA": 257, "AVC": 258, "RESINFO": 261,
    "WALLET": 262, "DLV": 32769,
}  # fmt: skip  # IANA, DNS parameters, resource record types

# Types whose data ends in one long hexadecimal or base64 word, and the fields before it. BIND cuts the word
# into pieces of 56 characters.
_HEX = {"DS": 3, "CDS": 3, "DLV": 3, "TLSA": 3, "SMIMEA": 3, "SSHFP": 2, "ZONEMD": 3}
_BASE64 = {"DNSKEY": 3, "CDNSKEY": 3, "RRSIG": 8, "OPENPGPKEY": 0, "DHCID": 0}
_PIECE = 56
_TRIES = 3

_SERVER = re.compile(
    r"(?:(?P<scheme>\w+)://)?(?:\[(?P<six>[^]]+)\]|(?P<bare>[^/:]*:[^/]*:[^/]*)|(?P<host>[^/:]*))(?::(?P<port>\d+))?(?:/.*)?"
)
_PORTS = {"tls": "853", "https": "443"}
_SOA = ("mail addr", "serial", "refresh", "retry", "expire", "minimum")


def nslookup(answers: Sequence[Answer], asked: Sequence[str] = ()) -> str:
    """Write each answer as nslookup does.

    *asked* are the names as the user typed them, which nslookup repeats where there is no answer; without them
    the names in the answers stand in.
    """
    typed = list(asked) or [_bare(answer.name) for answer in answers]
    return "".join(_one(answer, name) for answer, name in zip(answers, typed, strict=True))


def _one(answer: Answer, typed: str) -> str:
    host, port = _place(answer.server)
    if not answer.rcode:
        return _unreachable(answer, f"{host}#{port}")
    lines = [f"Server:\t\t{host}", f"Address:\t{host}#{port}", ""]
    if answer.status is Status.SERVFAIL:
        lines.insert(0, f";; Got SERVFAIL reply from {host}")
    if answer.transport == "tcp":  # resolvers are asked over TCP only for what was cut
        lines.insert(0, ";; Truncated, retrying in TCP mode.")
    if answer.rcode != "NOERROR":
        lines.append(f"** server can't find {_bare(typed)}: {answer.rcode}")
        return _text(lines)
    authoritative = "aa" in (flag.lower() for flag in answer.flags)
    if not authoritative:
        lines.append("Non-authoritative answer:")
    if answer.records:
        lines += _lines(answer.records, addressed=True)
    else:
        lines.append(f"*** Can't find {typed}: No answer")
    if not authoritative and answer.type not in {"A", "AAAA"}:
        lines += ["", "Authoritative answers can be found from:"]
        lines += _lines(answer.authority, addressed=False)
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n\n"


def _unreachable(answer: Answer, place: str) -> str:
    if answer.status is Status.TIMEOUT:
        met, times = "timed out", max(answer.attempts, 1)
    else:
        # nslookup tries again even where the connection is refused; we do not, and print as if we had.
        met, times = clean(answer.detail).rpartition(": ")[2].lower() or "failure", _TRIES
    each = f";; communications error to {place}: {met}"
    return _text([*[each] * times, ";; no servers could be reached"])


def _place(server: str) -> tuple[str, str]:
    match = _SERVER.fullmatch(server)
    if match is None:
        return server, "53"
    host = match["six"] or match["bare"] or match["host"]
    return host, match["port"] or _PORTS.get(match["scheme"] or "", "53")


def _lines(records: Sequence[Record], *, addressed: bool) -> list[str]:
    """Write a section; only in the answer section do addresses have a form of their own."""
    return [
        line
        for record in records
        for line in (_address_lines if addressed and record.type in {"A", "AAAA"} else _data_lines)(record)
    ]


def _address_lines(record: Record) -> list[str]:
    return [f"Name:\t{_bare(record.name)}", f"Address: {record.data}"]


def _data_lines(record: Record) -> list[str]:
    if record.type == "SOA":
        origin, *rest = record.data.split()
        values = [_bare(rest[0]), *rest[1:]] if rest else []
        facts = (f"\t{label} = {value}" for label, value in zip(_SOA, values, strict=False))
        return [_bare(record.name), f"\torigin = {_bare(origin)}", *facts]
    return [f"{_bare(record.name)}\t{_label(record.type)}{_data(record)}"]


def _label(type_name: str) -> str:
    if type_name in _WORDS:
        return _WORDS[type_name]
    return f"rdata_{_NUMBERS.get(type_name, type_name.removeprefix('TYPE'))} = "


def _data(record: Record) -> str:
    fields = record.data.split()
    if record.type in _HEX:
        return _pieces(fields, _HEX[record.type], str.upper)
    if record.type in _BASE64:
        return _pieces(fields, _BASE64[record.type], str)
    return record.data


def _pieces(fields: list[str], before: int, written: Callable[[str], str]) -> str:
    word = written("".join(fields[before:]))
    return " ".join([*fields[:before], *(word[start : start + _PIECE] for start in range(0, len(word), _PIECE))])


def _bare(name: str) -> str:
    return name if name == "." else name.removesuffix(".")
