"""Composed and ready letters, held to what Python's own `email` reads out of them."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.mail.addresses import Mailbox, mailbox, mailboxes
from mailprobe.mail.compose import Attachment, Draft, Letter, compose
from mailprobe.mail.headers import address_field, parameter_field, text_field
from mailprobe.mail.ready import Handling, LineEnds, ready
from mailprobe.model.errors import UsageError

NOW = datetime(2024, 1, 1, 13, 0, 1, tzinfo=timezone(timedelta(hours=1)))
PLAIN = Draft(sender="alice@a.test", to=("bob@b.test",), text="hi\n", date=NOW)
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=400)
PRINTABLE = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200)


def composed(**changes: object) -> Letter:
    return compose(msgspec.structs.replace(PLAIN, **changes))


def parsed(letter: Letter) -> EmailMessage:
    found = email.message_from_bytes(letter.octets, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def decoded(value: str) -> str:
    return str(make_header(decode_header(value.replace("\r\n", ""))))


# -- headers ---------------------------------------------------------------------------------------------------


def test_a_letter_has_what_every_letter_needs() -> None:
    letter = composed(subject="hello", cc=("Carol <carol@c.test>",), reply_to=("replies@a.test",))
    found = parsed(letter)
    assert (found["From"], found["To"], found["Cc"]) == ("alice@a.test", "bob@b.test", "Carol <carol@c.test>")
    assert (found["Subject"], found["Reply-To"]) == ("hello", "replies@a.test")
    assert parsedate_to_datetime(found["Date"]) == NOW
    assert found["Message-ID"] == letter.message_id
    assert letter.message_id.startswith("<")
    assert letter.message_id.endswith("@a.test>")
    assert (found.get_content_type(), found.get_content()) == ("text/plain", "hi\r\n")
    assert (letter.sender, letter.recipients) == ("alice@a.test", ("bob@b.test", "carol@c.test"))
    assert not letter.needs_8bit
    assert not letter.needs_smtputf8


def test_two_letters_never_have_one_message_id() -> None:
    assert composed().message_id != composed().message_id


def test_bcc_is_in_the_envelope_and_nowhere_in_the_letter() -> None:
    letter = composed(bcc=("Dave <dave@secret.test>",))
    assert letter.recipients == ("bob@b.test", "dave@secret.test")
    assert b"secret" not in letter.octets
    assert b"bcc" not in letter.octets.lower()


def test_a_letter_to_nobody_by_name_says_so() -> None:
    assert parsed(composed(to=(), bcc=("dave@d.test",)))["To"] == "undisclosed-recipients:;"


def test_a_recipient_named_twice_gets_one_copy() -> None:
    assert composed(cc=("bob@b.test",), bcc=("Bob <bob@b.test>",)).recipients == ("bob@b.test",)


def test_a_letter_without_a_recipient_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a recipient"):
        composed(to=())


def test_the_null_sender_needs_a_from_of_its_own() -> None:
    with pytest.raises(UsageError, match="say who writes"):
        composed(sender="<>")
    letter = composed(sender="<>", headers=(("From", "Daemon <daemon@a.test>"),))
    assert letter.sender == ""
    assert parsed(letter)["From"] == "Daemon <daemon@a.test>"


def test_headers_of_ones_own_stand_in_place_of_those_made() -> None:
    letter = composed(
        headers=(("subject", "mine"), ("Message-ID", "<1@a.test>"), ("To", "list@l.test"), ("X-One", "é"))
    )
    found = parsed(letter)
    assert found.get_all("Subject") == ["mine"]
    assert found.get_all("Message-ID") == ["<1@a.test>"]
    assert found.get_all("To") == ["list@l.test"]
    assert found["X-One"] == "é"
    assert (letter.recipients, letter.message_id) == (("bob@b.test",), "<1@a.test>")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": "a\r\nBcc: x@x.test"}, "line end"),
        ({"subject": "a\nb"}, "line end"),
        ({"subject": "a\x00b"}, "control character"),
        ({"subject": "\ud800"}, "no text in UTF-8"),
        ({"text": "\ud800"}, "no text in UTF-8"),
        ({"sender": "a@a.test\r\nX: y"}, "line end"),
        ({"to": ("Bob\n <bob@b.test>",)}, "line end"),
        ({"headers": (("X-A", "1\r\n\r\nbody"),)}, "line end"),
        ({"headers": (("X A", "1"),)}, "no name of a header field"),
        ({"headers": (("X-A\r\nY", "1"),)}, "no name of a header field"),
        ({"headers": (("", "1"),)}, "no name of a header field"),
        ({"headers": (("Bcc", "x@x.test"),)}, "--bcc"),
        ({"headers": (("Content-Type", "text/html"),)}, "follows from the parts"),
        ({"headers": (("From", "nobody"),)}, "no address"),
        ({"message_id": "1@a.test"}, "no Message-ID"),
        ({"message_id": "<1@a.test>\r\nX: y"}, "no Message-ID"),
        ({"attachments": (Attachment("a\r\nX: y", "text/plain", b""),)}, "line end"),
        ({"attachments": (Attachment("a", "text", b""),)}, "no type"),
        ({"attachments": (Attachment("a", "text/plain\r\nX: y", b""),)}, "no type"),
        ({"attachments": (Attachment("a", "multipart/mixed", b""),)}, "no type"),
    ],
)
def test_nothing_can_be_smuggled_into_a_letter(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        composed(**changes)


@given(PRINTABLE)
def test_any_subject_arrives(text: str) -> None:
    octets = text_field("Subject", text)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    read = decoded(str(email.message_from_bytes(octets + b"\r\n")["Subject"]))
    assert read in {text, text.strip(" \t")}


@pytest.mark.parametrize(
    "text", ["é à b  c", "a" * 2_000, "word " * 300, "=?utf-8?q?no?=", "  both ends  ", "日本語" * 99]
)
def test_subjects_that_are_hard_to_fold_arrive_exactly(text: str) -> None:
    octets = text_field("Subject", text)
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert decoded(str(email.message_from_bytes(octets + b"\r\n")["Subject"])) == text


def test_ascii_is_folded_and_not_encoded() -> None:
    assert text_field("Subject", "word " * 30 + "end").split(b"\r\n")[1].startswith(b" word ")


@given(st.lists(PRINTABLE, min_size=1, max_size=5))
def test_any_names_stay_with_their_addresses(names: list[str]) -> None:
    boxes = [Mailbox(name, f"user{number}", "a.test") for number, name in enumerate(names)]
    value = str(email.message_from_bytes(address_field("To", boxes) + b"\r\n")["To"]).replace("\r\n", "")
    read = [(" ".join(decoded(name).split()), address) for name, address in getaddresses([value])]
    assert read == [(" ".join(box.name.split()), box.address) for box in boxes]


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("text", ["=?utf-8?q?evil?=", 'a =?utf-8?b?ZXZpbA==?= "b"', "=?", "=?x", "=?utf-8?q?é?="])
def test_what_looks_like_an_encoded_word_is_read_as_it_was_written(text: str, utf8: bool) -> None:
    value = email.message_from_bytes(address_field("To", [Mailbox(text, "user", "a.test")], utf8=utf8) + b"\r\n")["To"]
    ((name, address),) = getaddresses([str(value)])
    assert (decoded(name), address) == (text, "user@a.test")
    modern = email.message_from_bytes(
        address_field("To", [Mailbox(text, "user", "a.test")]), policy=email.policy.default
    )
    assert [each.display_name for each in modern["To"].addresses] == [text]
    for key in ("name", "filename"):
        octets = parameter_field("Content-Disposition", "attachment", {key: text}, utf8=utf8)
        read = email.message_from_bytes(octets + b"\r\n", policy=email.policy.default)
        assert read["Content-Disposition"].params[key] == text
        assert b"=?" not in octets


@given(PRINTABLE.filter(lambda name: name == name.strip() != ""))
def test_any_file_name_arrives(name: str) -> None:
    octets = parameter_field("Content-Disposition", "attachment", {"filename": name})
    assert octets.isascii()
    read = email.message_from_bytes(octets + b"\r\n", policy=email.policy.default)
    assert read["Content-Disposition"].params["filename"] == name


# -- addresses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("bob@b.test", "", "bob@b.test"),
        (" <bob@B.Test.> ", "", "bob@b.test"),
        ("Bob Bee <bob@b.test>", "Bob Bee", "bob@b.test"),
        ('"Bee, \\"Bob\\"" <bob@b.test>', 'Bee, "Bob"', "bob@b.test"),
        ("Böb (Sales) <bob+x@müller.test>", "Böb (Sales)", "bob+x@xn--mller-kva.test"),
        ("bob@straße.test", "", "bob@xn--strae-oqa.test"),
        ("grüße@müller.test", "", "grüße@müller.test"),
        ('"john doe"@b.test', "", '"john doe"@b.test'),
        ("bob@[192.0.2.1]", "", "bob@[192.0.2.1]"),
        ("bob@[IPv6:2001:db8::1]", "", "bob@[IPv6:2001:db8::1]"),
        ("root@localhost", "", "root@localhost"),
    ],
)
def test_an_address_is_read(text: str, name: str, address: str) -> None:
    box = mailbox(text, "--to")
    assert (box.name, box.address) == (name, address)


def test_several_addresses_stand_with_commas_between_them() -> None:
    found = mailboxes(['"A, B" <a@a.test>, b@b.test', "c@c.test"], "--to")
    assert [box.address for box in found] == ["a@a.test", "b@b.test", "c@c.test"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bob",
        "@b.test",
        "bob@",
        "bob@b..test",
        "bob..b@b.test",
        ".bob@b.test",
        "bob b@b.test",
        "bob@b test",
        "a@b@c.test",
        "bob@192.0.2.1",
        "bob@[2001:db8::1]",
        "bob@[x]",
        "bob@*.test",
        "Bob <bob@b.test",
        "bob@b.test> x",
        "<bob@b.test> Bob",
        "Bob; <bob@b.test>",
        "a@a.test,,b@b.test",
        "group: a@a.test;",
        "x" * 250 + "@b.test",
        "bob@" + "x" * 64 + ".test",
        "bob\u0080@b.test",
        "bob\u00a0x@b.test",
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        mailboxes([text], "--to")
    assert str(caught.value).startswith("--to: ")
    assert "\n" not in str(caught.value)


def test_only_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    assert not composed(to=("Böb <bob@müller.test>",)).needs_smtputf8
    letter = composed(to=("Böb <böb@müller.test>",), subject="Grüße")
    assert letter.needs_smtputf8
    assert letter.recipients == ("böb@müller.test",)
    assert 'To: "Böb" <böb@müller.test>\r\nSubject: Grüße\r\n'.encode() in letter.octets
    assert composed(bcc=("böb@b.test",)).needs_smtputf8


# -- body ------------------------------------------------------------------------------------------------------


@given(ANY_TEXT, st.sampled_from([1, 40]))
def test_any_text_arrives_over_seven_bits_and_short_lines(text: str, times: int) -> None:
    letter = composed(text=text * times)
    assert letter.octets.isascii()
    assert b"\n" not in letter.octets.replace(b"\r\n", b"")
    assert max(map(len, letter.octets.split(b"\r\n"))) <= 998
    wanted = (text * times).replace("\r\n", "\n").replace("\r", "\n")
    wanted += "" if not wanted or wanted.endswith("\n") else "\n"
    payload = email.message_from_bytes(letter.octets).get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n") == wanted


@pytest.mark.parametrize("text", [None, "hello\n"])
def test_html_stands_beside_the_text_or_alone(text: str | None) -> None:
    found = parsed(composed(text=text, html="<p>hé</p>"))
    assert found.get_content_type() == ("text/html" if text is None else "multipart/alternative")
    kinds = [part.get_content_type() for part in found.walk() if not part.is_multipart()]
    assert kinds == (["text/html"] if text is None else ["text/plain", "text/html"])
    html = found.get_body(("html",))
    assert html is not None
    assert html.get_content() == "<p>hé</p>\r\n"


def test_attachments_of_any_type_and_name_arrive_to_the_octet() -> None:
    files = (
        Attachment("grüße & so.png", "image/png", bytes(range(256)) * 5),
        Attachment("x" * 200 + ".txt", "text/plain", "Grüße\r\nund\nmehr".encode()),
        Attachment("", "application/octet-stream", b""),
    )
    found = list(parsed(composed(html="<p>x", attachments=files)).iter_attachments())
    assert [part.get_filename() for part in found] == ["grüße & so.png", "x" * 200 + ".txt", None]
    assert [part.get_content_type() for part in found] == [file.type for file in files]
    assert [part.get_payload(decode=True) for part in found] == [file.octets for file in files]


def test_an_attachment_may_be_all_there_is() -> None:
    found = parsed(composed(text=None, attachments=(Attachment("a.bin", "application/octet-stream", b"\0"),)))
    assert [part.get_content_type() for part in found.walk()] == ["multipart/mixed", "application/octet-stream"]


@pytest.mark.parametrize("body", [b"hi\r\n", "Grüße\r\n".encode()])
def test_a_letter_within_the_letter_is_not_encoded(body: bytes) -> None:
    inner = b"Subject:  x\r\nX-Odd:y\r\n\r\n" + body
    letter = composed(attachments=(Attachment("in.eml", "message/rfc822", inner),))
    assert inner in letter.octets
    assert letter.needs_8bit is not body.isascii()
    assert (b"Content-Transfer-Encoding: 8bit\r\n" in letter.octets) is not body.isascii()


@pytest.mark.parametrize("inner", [b"x" * 999, b"a\r\nb\nc", b"a\0b", b"a\rb"])
def test_a_letter_that_would_need_encoding_cannot_go_within_the_letter(inner: bytes) -> None:
    with pytest.raises(UsageError, match="application/octet-stream"):
        composed(attachments=(Attachment("in.eml", "message/rfc822", inner),))


def test_an_attachment_of_25_megabytes_arrives() -> None:
    octets = bytes(range(256)) * 100_000
    letter = composed(attachments=(Attachment("large.bin", "application/octet-stream", octets),))
    (found,) = parsed(letter).iter_attachments()
    assert found.get_payload(decode=True) == octets


# -- ready letters ---------------------------------------------------------------------------------------------

READY = (
    b"From: alice@a.test\r\nTo: Bob <bob@b.test>, c@c.test\r\nBcc: d@d.test,\r\n e@e.test\r\nSubject: x\r\n\r\nhi\r\n"
)


def taken(octets: bytes, sender: str | None = None, recipients: tuple[str, ...] = (), **handling: object) -> Letter:
    return ready(octets, sender=sender, recipients=recipients, date=NOW, handling=msgspec.convert(handling, Handling))


def test_a_ready_letter_is_sent_as_its_header_says_and_hides_its_bcc() -> None:
    letter = taken(READY)
    assert (letter.sender, letter.recipients) == (
        "alice@a.test",
        ("bob@b.test", "c@c.test", "d@d.test", "e@e.test"),
    )
    assert letter.octets == READY.replace(b"Bcc: d@d.test,\r\n e@e.test\r\n", b"")
    assert letter.notes == ("the Bcc field was left out, as its recipients are nobody else's affair",)
    assert letter.message_id == ""


def test_a_ready_letter_is_otherwise_untouched() -> None:
    octets = READY.replace(b"Subject: x", b"SUBJECT :  x \r\nX-Folded:\r\n\t y")
    letter = taken(octets, "x@x.test", ("y@y.test",), keep_bcc=True)
    assert letter.octets == octets
    assert (letter.sender, letter.recipients, letter.notes) == ("x@x.test", ("y@y.test",), ())


def test_a_file_with_lf_gets_crlf_and_mixed_ends_stay() -> None:
    letter = taken(READY.replace(b"\r\n", b"\n"), keep_bcc=True)
    assert letter.octets == READY
    assert letter.notes == ("line ends were made CRLF, as mail has them",)
    mixed = READY + b"one\ntwo\rthree\r\n"
    assert taken(mixed, keep_bcc=True).octets == mixed
    assert len(taken(mixed, keep_bcc=True).notes) == 2
    assert taken(mixed, keep_bcc=True, line_ends=LineEnds.CRLF).octets == READY + b"one\r\ntwo\r\nthree\r\n"
    kept = READY.replace(b"\r\n", b"\n")
    assert taken(kept, keep_bcc=True, line_ends=LineEnds.KEEP).octets == kept


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"x" * 998 + b"\r\n", ""),
        (b"x" * 999 + b"\r\n", "1 line of more than 998 octets, the longest has 999"),
        (b"a\r\nb\nc\r\n", "1 bare LF"),
        (b"a\rb\r\n", "1 bare CR"),
        (b"a\n.\nMAIL FROM:<x@x.test>\r\n", "take for the end of the letter"),
        (b"a\r\n.\rMAIL FROM:<x@x.test>\r\n", "take for the end of the letter"),
        (b"a\0b\r\n", "NUL"),
    ],
)
def test_what_is_odd_is_noted_and_refused_when_strict(body: bytes, said: str) -> None:
    letter = taken(READY + body, keep_bcc=True)
    assert letter.octets == READY + body
    assert said in "; ".join(letter.notes)
    if not said:
        assert taken(READY + body, strict=True, keep_bcc=True).notes == ()
    else:
        with pytest.raises(UsageError, match="breaks RFC 5322"):
            taken(READY + body, strict=True)


def test_what_is_missing_is_added_only_where_that_is_asked_for() -> None:
    assert b"Date:" not in taken(READY).octets
    letter = taken(READY, complete=True)
    found = parsed(letter)
    assert parsedate_to_datetime(found["Date"]) == NOW
    assert found["Message-ID"] == letter.message_id != ""
    assert letter.notes[-1] == "added: Date, Message-ID"
    text = taken(b"just words\r\n", "a@a.test", ("b@b.test",), complete=True)
    assert parsed(text)["From"] == "a@a.test"
    assert text.octets.endswith(b"\r\n\r\njust words\r\n")


def test_the_line_of_an_mbox_is_left_out() -> None:
    letter = taken(b"From alice@a.test Mon Jan  1 12:00:00 2024\r\n" + READY, keep_bcc=True)
    assert letter.octets == READY


def test_octets_beyond_ascii_tell_what_a_server_must_offer() -> None:
    assert (taken(READY).needs_8bit, taken(READY).needs_smtputf8) == (False, False)
    body = taken(READY + b"\xe9\r\n")
    assert (body.needs_8bit, body.needs_smtputf8) == (True, False)
    header = taken(b"X: \xc3\xa9\r\n" + READY)
    assert (header.needs_8bit, header.needs_smtputf8) == (True, True)


@pytest.mark.parametrize(
    ("octets", "sender", "recipients", "said"),
    [
        (b"", None, (), "nobody to send it from"),
        (b"Subject: x\r\n\r\n", None, ("b@b.test",), "nobody to send it from"),
        (b"From: a@a.test\r\n\r\n", None, (), "nobody to send it to"),
        (b"From: a@a.test\r\nTo: undisclosed-recipients:;\r\n\r\n", None, (), "nobody to send it to"),
        (b"From: nobody\r\n\r\n", None, ("b@b.test",), "the From field of the letter"),
    ],
)
def test_a_ready_letter_without_people_is_refused(
    octets: bytes, sender: str | None, recipients: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        taken(octets, sender, recipients)


def test_the_null_sender_may_send_a_ready_letter() -> None:
    assert taken(READY, "<>").sender == ""


@given(st.binary(max_size=300))
def test_any_octets_are_taken_or_refused(octets: bytes) -> None:
    letter = ready(octets, sender="a@a.test", recipients=("b@b.test",), date=datetime.now(UTC))
    assert letter.recipients == ("b@b.test",)
