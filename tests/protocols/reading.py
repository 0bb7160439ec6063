"""Feeds octets to the clients whole and in pieces, so that every parser is held to the same replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from mailprobe.model.errors import RemoteProtocolError
from mailprobe.model.evidence import Kind, Reply
from mailprobe.protocols.client import Client

Start = Callable[[], Client]
Outcome = tuple[list[Reply], Kind | None]


def outcome(client: Client, pieces: Iterable[bytes]) -> Outcome:
    """Give the replies read from the pieces, and the kind of the error that ended the reading, if one did."""
    replies = []
    try:
        for piece in pieces:
            client.receive(piece)
            while (reply := client.next_reply()) is not None:
                replies.append(reply)
    except RemoteProtocolError as error:
        return replies, error.kind
    return replies, None


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def replies(start: Start, data: bytes) -> list[Reply]:
    """Give the replies in *data*, after seeing that one octet at a time gives the same ones."""
    whole = outcome(start(), [data])
    assert outcome(start(), bytewise(data)) == whole
    assert whole[1] is None, whole
    return whole[0]


def refusal(start: Start, data: bytes) -> Kind:
    """Give the kind of error that *data* ends in, read whole and one octet at a time."""
    whole = outcome(start(), [data])
    assert outcome(start(), bytewise(data)) == whole
    assert whole[1] is not None, whole
    return whole[1]
