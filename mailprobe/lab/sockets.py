"""Listening sockets in the states that a port can be in. Loopback only: any other address is refused."""

from __future__ import annotations

import ipaddress
import socket

_FILL = 4  # one more than Linux keeps for a backlog of 0, and some for systems that round up


def bind(address: str, port: int) -> socket.socket:
    """Bind a TCP socket without listening: whoever connects is refused.

    Raises:
        ValueError: the address is no loopback address.
        OSError: the address or port cannot be had.
    """
    if not ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"the lab binds loopback addresses only, not {address}")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def fill_backlog(bound: socket.socket) -> list[socket.socket]:
    """Listen and fill the backlog, so that further SYNs get no answer at all, as behind a firewall.

    Give the sockets that fill it; the port is filtered for as long as they and *bound* are open.
    """
    bound.listen(0)
    fillers = []
    for _ in range(_FILL):
        filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(bound.getsockname())
        fillers.append(filler)
    return fillers


def can_bind(address: str) -> bool:
    """Tell whether a loopback address other than 127.0.0.1 is there; macOS has no other."""
    try:
        bind(address, 0).close()
    except OSError:
        return False
    return True
