"""What untagged IMAP responses mean, mailbox names, and that nothing a server says breaks the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.protocols.imap.names import decode_name, encode_name
from mailprobe.protocols.imap.responses import (
    Condition,
    Exists,
    Expunged,
    Fetched,
    Flags,
    Found,
    Identity,
    Listed,
    MailboxStatus,
    Namespaces,
    Other,
    Piece,
    Response,
    parse_response,
)


@pytest.mark.parametrize(
    ("pieces", "response"),
    [
        (["* 23 EXISTS"], Exists(23)),
        (["* 23 exists"], Exists(23)),
        (["* 4 EXPUNGE"], Expunged(4)),
        (["* SEARCH"], Found(())),
        (["* SEARCH 2 84 882 (MODSEQ 917162500)"], Found((2, 84, 882))),
        (['* ESEARCH (TAG "m5") UID ALL 4:6,9'], Found((4, 5, 6, 9))),
        (['* ESEARCH (TAG "m5") UID COUNT 0'], Found(())),
        (["* FLAGS (\\Answered \\Seen $Forwarded)"], Flags(("\\Answered", "\\Seen", "$Forwarded"))),
        (['* LIST (\\HasNoChildren \\Junk) "/" Spam'], Listed("Spam", ("\\HasNoChildren", "\\Junk"), "/")),
        (["* LIST () NIL INBOX"], Listed("INBOX", (), None)),
        (['* LIST () "." "a \\"b\\\\"'], Listed('a "b\\', (), ".")),
        (['* LIST () "." ', b"Entw&APw-rfe", ""], Listed("Entwürfe", (), ".")),
        (['* LIST () "." "NIL"'], Listed("NIL", (), ".")),
        (["* STATUS INBOX (MESSAGES 3 UIDNEXT 9)"], MailboxStatus("INBOX", {"MESSAGES": 3, "UIDNEXT": 9})),
        (["* OK [UIDVALIDITY 38] ok"], Condition("OK", "UIDVALIDITY", "38", "ok")),
        (["* OK [ALERT] full soon"], Condition("OK", "ALERT", "", "full soon")),
        (["* bye"], Condition("BYE", "", "", "")),
        (['* NAMESPACE (("" "/")) NIL (("Shared/" "/"))'], Namespaces((("", "/"),), (), (("Shared/", "/"),))),
        (['* ID ("name" "Dovecot" "os" NIL)'], Identity({"name": "Dovecot", "os": ""})),
        (["* ID NIL"], Identity({})),
    ],
)
def test_a_response_has_a_meaning(pieces: list[Piece], response: Response) -> None:
    assert parse_response(pieces) == response


def test_a_letter_is_told_with_all_its_facts_in_any_order() -> None:
    pieces: list[Piece] = [
        '* 12 FETCH (FLAGS (\\Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" '
        "RFC822.SIZE 4286 BODY[HEADER.FIELDS (DATE)] ",
        b"Date: x\r\n)\r\n",
        " MODSEQ (624140003) ENVELOPE (NIL (NIL)) BODY[TEXT]<0> NIL UID 5)",
    ]
    assert parse_response(pieces) == Fetched(
        number=12,
        uid=5,
        flags=("\\Seen",),
        size=4286,
        internal_date="17-Jul-1996 02:44:25 -0700",
        sections={"BODY[HEADER.FIELDS (DATE)]": b"Date: x\r\n)\r\n", "BODY[TEXT]<0>": b""},
    )


def test_a_quoted_section_is_octets_too() -> None:
    found = parse_response(['* 1 FETCH (BODY[] "a\\"b" UID 2)'])
    assert isinstance(found, Fetched)
    assert found.octets == b'a"b'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "* 1 FETCH",
        "* 1 FETCH (UID)",
        "* 1 FETCH (UID x)",
        "* 1 FETCH (UID 1",
        "* 1 FETCH UID 1)",
        "* 1 FETCH (FLAGS \\Seen)",
        "* 1 VANISHED",
        "* SEARCH 1 x",
        "* SEARCH " + "9" * 5_000,
        '* ESEARCH (TAG "a") ALL 1:4294967295',
        '* ESEARCH (TAG "a") ALL x',
        "* LIST",
        "* LIST ()",
        "* STATUS a (MESSAGES)",
        "* NAMESPACE NIL NIL",
        "* NAMESPACE (a) NIL NIL",
        "* ID a b",
        "* FLAGS " + "(" * 100 + ")" * 100,
        "* X-UNKNOWN 1 2 3",
    ],
)
def test_what_has_not_its_form_is_something_else(text: str) -> None:
    assert parse_response([text]) == Other(text)


_WORD = st.sampled_from(
    [
        "* ",
        "1 ",
        "FETCH ",
        "(",
        ")",
        "UID ",
        "FLAGS ",
        "LIST ",
        '"',
        "\\",
        "NIL ",
        "BODY[",
        "] ",
        "ESEARCH ",
        "ALL ",
        "1:9 ",
    ]
)
_PIECES = st.lists(st.lists(_WORD, max_size=12).map("".join) | st.binary(max_size=9), max_size=6)


@given(_PIECES)
def test_nothing_breaks_the_reader(pieces: list[Piece]) -> None:
    parse_response(pieces)


def test_a_long_line_is_read_in_linear_time() -> None:
    parse_response(["* LIST " + "[ " * 200_000])
    parse_response(["* LIST " + '"a' * 200_000])


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", "INBOX"),
        ("Entwürfe", "Entw&APw-rfe"),
        ("a & b", "a &- b"),
        ("台北", "&U,BTFw-"),
        ("😀", "&2D3eAA-"),
    ],
)
def test_mailbox_names_go_over_the_wire_in_seven_bits(name: str, wire: str) -> None:
    assert encode_name(name) == wire
    assert decode_name(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_comes_back(name: str) -> None:
    assert encode_name(name).isascii()
    assert decode_name(encode_name(name)) == name


@pytest.mark.parametrize("wire", ["&AA-", "&!-", "&AP", "R&D", "&2D0-"])
def test_what_is_no_modified_utf_7_stays(wire: str) -> None:
    assert decode_name(wire) == wire
