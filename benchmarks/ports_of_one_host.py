"""`mailprobe ports` of a real Postfix and Dovecot beside the tools that one would use instead."""

from __future__ import annotations

import shlex

from benchmarks.commands import Command, mailprobe, program, shell
from benchmarks.hosts import mail_host, why_no_mail_host
from benchmarks.report import Effort, Section, alone, beside
from benchmarks.stopwatch import interleaved
from tests.peers.mailhost import MailHost

TITLE = "Seven ports of one host"
BY_ADDRESS = "ports ADDRESS"
BY_NAME = "ports NAME"
NMAP = "nmap with the capability and certificate scripts"
S_CLIENT = "seven `openssl s_client` at once"
PLUGINS = "seven monitoring plugins in a row"
AIMS = {NMAP: 0.5, S_CLIENT: 1.0}

_TEXT = """
Postfix and Dovecot on 25, 587, 465, 110, 995, 143 and 993 of a loopback address, TLS 1.2 and 1.3, an ECDSA certificate
below an intermediate. {rounds} rounds. `ports` learns greeting, capabilities before and after STARTTLS, version,
cipher and chain of each port and verifies the chain. nmap (`-Pn -n`, `smtp-commands`, `pop3-capabilities`,
`imap-capabilities`, `ssl-cert`) learns capabilities in clear and certificates, `s_client` the handshake and
the chain, the plugins (`check_smtp -S`, `check_ssmtp`, `check_pop`, `check_spop`, `check_imap`, `check_simap`, with
`-D` where there is TLS) the expiry of a certificate. By name, `ports` asks Unbound on loopback first; the others cannot
be pointed at it, so they have the address in either column.
""".strip()

_STARTTLS = {25: "smtp", 587: "smtp", 110: "pop3", 143: "imap"}
_PLUGINS = {
    25: "check_smtp -S -D 7",
    587: "check_smtp -S -D 7",
    465: "check_ssmtp -D 7",
    110: "check_pop",
    995: "check_spop -D 7",
    143: "check_imap",
    993: "check_simap -D 7",
}


def measure(effort: Effort) -> Section:
    """Compare `mailprobe ports` with nmap, openssl s_client and the monitoring plugins on a real mail host."""
    reason = why_no_mail_host()
    if reason is not None:
        return Section(TITLE, (f"Not measured: {reason}.",))
    with mail_host() as (host, names):
        ca_file = str(host.ca_file)
        ours = [
            mailprobe(BY_ADDRESS, "ports", "--ca-file", ca_file, host.address),
            mailprobe(BY_NAME, "ports", "--ca-file", ca_file, "--resolver", names.resolver, host.name),
        ]
        theirs = [peer for peer in (nmap(host), s_clients(host), plugins(host)) if peer is not None]
        times = interleaved([*ours, *theirs], effort.rounds)
    peers = [(peer.name, AIMS.get(peer.name)) for peer in theirs]
    return Section(TITLE, (_TEXT.format(rounds=effort.rounds), beside(times, (BY_ADDRESS, BY_NAME), peers)))


def nmap(host: MailHost) -> Command | None:
    """Give nmap's command line, None where it is not installed."""
    path = program("nmap")
    if path is None:
        return None
    scripts = "smtp-commands,pop3-capabilities,imap-capabilities,ssl-cert"
    ports = ",".join(str(port) for port in host.ports)
    return Command(NMAP, (path, "-Pn", "-n", "-p", ports, "--script", scripts, host.address))


def s_client(host: MailHost, port: int) -> str | None:
    """Give openssl's command line for one port, None where it is not installed."""
    path = program("openssl")
    if path is None:
        return None
    starttls = ("-starttls", _STARTTLS[port]) if port in _STARTTLS else ()
    where = f"{host.address}:{port}"
    return shlex.join((path, "s_client", "-connect", where, "-CAfile", str(host.ca_file), "-showcerts", *starttls))


def s_clients(host: MailHost) -> Command | None:
    """Give a script of seven openssl side by side, None where it is not installed."""
    lines = [line for port in host.ports if (line := s_client(host, port)) is not None]
    return shell(S_CLIENT, " & ".join([*lines, "wait"])) if lines else None


def plugins(host: MailHost) -> Command | None:
    """Give a script of seven monitoring plugins one after the other, None where one is not installed."""
    lines = []
    for port, line in _PLUGINS.items():
        name, *arguments = line.split()
        path = program(name)
        if path is None:
            return None
        lines.append(shlex.join((path, "-H", host.address, "-p", str(port), *arguments)))
    return shell(PLUGINS, " && ".join(lines))


if __name__ == "__main__":
    alone(measure)
