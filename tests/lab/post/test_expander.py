"""The alias expander, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.lab.post.addresses import folded
from mailprobe.lab.post.aliases_text import AliasError
from mailprobe.lab.post.expander import Expansion, Kind, Limits, Target, expand

Table = Mapping[str, Sequence[str]]
USERS = ("alice", "bob", "carol", "postmaster")


def expanded(
    address: str | Sequence[str],
    table: Table,
    users: Sequence[str] = USERS,
    forwards: Table | None = None,
    limits: Limits | None = None,
    postmaster: str = "",
) -> Expansion:
    return expand(
        address,
        table.get,
        users.__contains__,
        limits or Limits(),
        domains=("b.test", "bb.test"),
        forward=(forwards or {}).get,
        postmaster=postmaster,
    )


def said(expansion: Expansion) -> list[str]:
    return [shown(target) for target in expansion.targets]


def shown(target: Target) -> str:
    match target.kind:
        case Kind.MAILBOX:
            goal = target.user
        case Kind.FAILED:
            goal = f"{target.enhanced} {target.text}"
        case _:
            goal = target.address
    return f"{target.kind} {goal}" + (f" from {target.owner}" if target.owner else "")


@pytest.mark.parametrize(
    ("address", "table", "targets"),
    [
        # no alias
        ("bob@b.test", {}, ["mailbox bob"]),
        ("bob", {}, ["mailbox bob"]),
        ("BOB@B.Test", {}, ["mailbox bob"]),
        ('"bob"@b.test', {}, ["mailbox bob"]),
        ("bob@b.test.", {}, ["mailbox bob"]),
        ("bob@bb.test", {}, ["mailbox bob"]),
        ("bob+lists@b.test", {}, ["mailbox bob"]),
        ("x@c.test", {}, ["remote x@c.test"]),
        ("X+y@C.test", {}, ["remote X+y@C.test"]),
        ("nobody@b.test", {}, ["failed 5.1.1 no user here is named nobody@b.test"]),
        ("+x@b.test", {}, ["failed 5.1.1 no user here is named +x@b.test"]),
        ("@b.test", {}, ["failed 5.1.1 no user here is named @b.test"]),
        ("", {}, ["failed 5.1.1 no user here is named @b.test"]),
        # one to one, to many, to other domains, nested
        ("x@b.test", {"x": ["bob"]}, ["mailbox bob"]),
        ("X@B.TEST", {"x": ["BOB"]}, ["mailbox bob"]),
        ("team@b.test", {"team": ["bob", "carol", "d@c.test"]}, ["mailbox bob", "mailbox carol", "remote d@c.test"]),
        ("a@b.test", {"a": ["b"], "b": ["c"], "c": ["bob"]}, ["mailbox bob"]),
        ("x@bb.test", {"x": ["nobody"]}, ["failed 5.1.1 no user here is named nobody@bb.test (x -> nobody)"]),
        ("x@b.test", {"x": ["/dev/null", "bob"]}, ["discard x@b.test", "mailbox bob"]),
        ("x@b.test", {"x": ["|sh"]}, ["failed 5.7.1 |sh is nothing that mail is delivered to"]),
        # the order of virtual(5)
        (
            "bob+x@b.test",
            {"bob+x@b.test": ["r1@c.test"], "bob@b.test": ["r2@c.test"], "bob+x": ["r3@c.test"], "bob": ["r4@c.test"]},
            ["remote r1@c.test"],
        ),
        (
            "bob+x@b.test",
            {"bob@b.test": ["r2@c.test"], "bob+x": ["r3@c.test"], "bob": ["r4@c.test"]},
            ["remote r2@c.test"],
        ),
        ("bob+x@b.test", {"bob+x": ["r3@c.test"], "bob": ["r4@c.test"]}, ["remote r3@c.test"]),
        ("bob+x@b.test", {"bob": ["r4@c.test"], "@b.test": ["r5@c.test"]}, ["remote r4@c.test"]),
        ("nobody+x@b.test", {"@b.test": ["r5@c.test"]}, ["remote r5@c.test"]),
        # the catch-all takes what nobody else claims
        ("bob@b.test", {"@b.test": ["alice"]}, ["mailbox bob"]),
        ("bob+x@b.test", {"@b.test": ["alice"]}, ["mailbox bob"]),
        ("nobody@b.test", {"@b.test": ["alice"]}, ["mailbox alice"]),
        ("nobody@b.test", {"@b.test": ["@c.test"]}, ["remote nobody@c.test"]),
        ("nobody@b.test", {"@b.test": ["@bb.test"], "@bb.test": ["alice"]}, ["mailbox alice"]),
        ("nobody@b.test", {"@bb.test": ["alice"]}, ["failed 5.1.1 no user here is named nobody@b.test"]),
        ("nobody@b.test", {"@b.test": ["@b.test"]}, ["failed 5.1.1 no user here is named nobody@b.test"]),
        # virtual domains
        ("sales@v.test", {"sales@v.test": ["bob"]}, ["mailbox bob"]),
        ("other@v.test", {"sales@v.test": ["bob"]}, ["remote other@v.test"]),
        ("any@v.test", {"@v.test": ["bob"]}, ["mailbox bob"]),
        ("bob@v.test", {"bob": ["carol"]}, ["remote bob@v.test"]),
        # what names itself means the mailbox
        ("bob@b.test", {"bob": ["bob", "carol"]}, ["mailbox carol", "mailbox bob"]),
        ("bob@b.test", {"bob": ["BOB@b.test"]}, ["mailbox bob"]),
        ("bob+x@b.test", {"bob": ["bob"]}, ["mailbox bob"]),
        ("bob@b.test", {"bob": ["\\bob", "carol"]}, ["mailbox bob", "mailbox carol"]),
        ("bob@b.test", {"bob@b.test": ["bob"], "bob": ["carol"]}, ["mailbox carol"]),
        ("x@b.test", {"x": ["x"]}, ["failed 5.1.1 no user here is named x@b.test"]),
        ("x@c.test", {"x@c.test": ["x@c.test", "bob"]}, ["mailbox bob", "remote x@c.test"]),
        ("bob@b.test", {"bob": ["\\nobody"]}, ["failed 5.1.1 no user here is named nobody@b.test (bob -> nobody)"]),
        # loops
        ("a@b.test", {"a": ["b"], "b": ["a"]}, ["failed 5.4.6 alias loop: a -> b -> a"]),
        ("x@b.test", {"x": ["a"], "a": ["b"], "b": ["a"]}, ["failed 5.4.6 alias loop: x -> a -> b -> a"]),
        (
            "a@b.test",
            {"a": ["b", "bob"], "b": ["a@b.test", "carol"]},
            ["failed 5.4.6 alias loop: a -> b -> a", "mailbox carol", "mailbox bob"],
        ),
        (
            "a@b.test",
            {"a": ["x@v.test"], "@v.test": ["a@b.test"]},
            ["failed 5.4.6 alias loop: a@b.test -> x@v.test -> a@b.test"],
        ),
        ("bob@b.test", {"bob": ["alice"], "alice": ["bob"]}, ["failed 5.4.6 alias loop: bob -> alice -> bob"]),
        # nobody gets it twice
        ("a@b.test", {"a": ["bob", "bob", "BOB", "bob+x", '"bob"@b.test', "bob@bb.test"]}, ["mailbox bob"]),
        ("a@b.test", {"a": ["x", "y"], "x": ["bob"], "y": ["bob", "carol"]}, ["mailbox bob", "mailbox carol"]),
        ("a@b.test", {"a": ["r@c.test", "R@C.TEST"]}, ["remote r@c.test"]),
        # owner- takes the reports
        (
            "l@b.test",
            {"l": ["bob", "r@c.test"], "owner-l": ["alice"]},
            ["mailbox bob from owner-l@b.test", "remote r@c.test from owner-l@b.test"],
        ),
        ("owner-l@b.test", {"owner-l": ["alice"], "owner-owner-l": ["bob"]}, ["mailbox alice"]),
        ("l@v.test", {"l@v.test": ["bob"], "owner-l@v.test": ["alice"]}, ["mailbox bob from owner-l@v.test"]),
        ("bob@b.test", {"owner-bob": ["alice"]}, ["mailbox bob"]),
        # quotes and UTF-8
        ('"a b"@b.test', {'"a b"': ["bob"]}, ["mailbox bob"]),
        ('"A b"+x@b.test', {}, ['failed 5.1.1 no user here is named "A b"+x@b.test']),
        ("ÜBER@b.test", {"über": ["bob"]}, ["mailbox bob"]),
        ("x@Bücher.test", {"x@xn--bcher-kva.test": ["bob"]}, ["mailbox bob"]),
        # the postmaster is always somebody
        ("postmaster", {"postmaster": ["carol"]}, ["mailbox carol"]),
        ("Postmaster@B.test", {}, ["mailbox postmaster"]),
    ],
)
def test_an_address_goes_where_the_table_says(address: str, table: Table, targets: list[str]) -> None:
    assert said(expanded(address, table)) == targets


def test_an_owner_alias_inside_takes_over_from_one_outside() -> None:
    table = {"big": ["small", "bob"], "owner-big": ["alice"], "small": ["carol"], "owner-small": ["carol"]}
    assert said(expanded("big@b.test", table)) == [
        "mailbox carol from owner-small@b.test",
        "mailbox bob from owner-big@b.test",
    ]


def test_the_postmaster_without_mailbox_and_alias_is_the_user_who_is_named_for_it() -> None:
    assert said(expanded("postmaster@b.test", {}, users=["alice"], postmaster="alice")) == ["mailbox alice"]
    assert said(expanded("PostMaster", {}, users=["alice"], postmaster="Alice")) == ["mailbox alice"]
    assert said(expanded("postmaster@c.test", {}, users=["alice"], postmaster="alice")) == ["remote postmaster@c.test"]


@pytest.mark.parametrize(
    ("forward", "targets"),
    [
        (["carol"], ["mailbox carol"]),
        (["\\bob", "r@c.test"], ["mailbox bob", "remote r@c.test"]),
        (["bob", "carol"], ["mailbox carol", "mailbox bob"]),
        (["bob@b.test"], ["mailbox bob"]),
        ([], ["mailbox bob"]),
        (["/dev/null"], ["discard bob@b.test"]),
        (["alice"], ["failed 5.4.6 alias loop: bob -> alice -> bob"]),
    ],
)
def test_a_users_forward_file_is_asked_before_the_mailbox(forward: list[str], targets: list[str]) -> None:
    forwards = {"bob": forward, "alice": ["bob"]}
    assert said(expanded("bob@b.test", {}, forwards=forwards)) == targets
    assert said(expanded("bob@b.test", {"@b.test": ["carol"]}, forwards=forwards)) == targets


def test_every_target_tells_its_way_from_the_recipient_as_given() -> None:
    table = {"team": ["dev", "bob"], "dev": ["carol", "r@c.test", "bob"]}
    expansion = expanded("Team@b.test", table)
    assert [target.path for target in expansion.targets] == [
        ("Team@b.test", "dev@b.test", "carol@b.test"),
        ("Team@b.test", "dev@b.test", "r@c.test"),
        ("Team@b.test", "dev@b.test", "bob@b.test"),
    ]
    assert expansion.suppressed == (("Team@b.test", "bob@b.test"),)
    assert expanded("bob", {}).targets[0].path == ("bob",)
    assert expanded("bob", {}).targets[0].address == "bob@b.test"


def test_the_recipients_of_one_letter_are_expanded_together() -> None:
    expansion = expanded(["team@b.test", "bob@b.test", "carol@b.test", "BOB+x@b.test"], {"team": ["bob"]})
    assert said(expansion) == ["mailbox bob", "mailbox carol"]
    assert expansion.suppressed == (("bob@b.test",), ("BOB+x@b.test",))


def test_aliases_nested_too_deep_are_an_error_with_a_path() -> None:
    table = {f"a{number}": [f"a{number + 1}"] for number in range(30)}
    assert expanded("a11@b.test", {**table, "a30": ["bob"]}).targets[0].kind is Kind.MAILBOX
    (target,) = expanded("a0@b.test", {**table, "a30": ["bob"]}).targets
    assert target.enhanced == "5.4.6"
    beginning, end = "a0 -> a1 -> a2 -> a3 -> a4 -> a5", "a16 -> a17 -> a18 -> a19 -> a20 -> a21"
    assert target.text == f"aliases nested deeper than 20: {beginning} -> ... -> {end}"


def test_a_list_that_is_too_long_says_so_and_delivers_the_rest() -> None:
    table = {"all": [f"u{number}@c.test" for number in range(2000)]}
    expansion = expanded("all@b.test", table)
    assert len(expansion.targets) == 1000
    assert [target.kind for target in expansion.targets[:-1]] == [Kind.REMOTE] * 999
    assert said(expansion)[-1] == "failed 5.5.3 the aliases lead to more than 999 places"


def test_a_wide_and_deep_table_ends_within_the_limit_of_names() -> None:
    table = {f"a{number}": [f"a{next_}" for next_ in range(300)] for number in range(300)}
    expansion = expanded("a0@b.test", table, limits=Limits(names=50, targets=100_000))
    assert said(expansion)[-1] == "failed 5.5.3 the aliases name more than 50 addresses"


def test_a_table_that_cannot_be_read_fails_for_now_and_only_there() -> None:
    def lookup(name: str) -> Sequence[str] | None:
        if name == "broken":
            raise AliasError([":include:x: No such file\x1b[2J", "and more"])
        return {"team": ["broken", "bob"]}.get(name)

    expansion = expand("team@b.test", lookup, USERS.__contains__, domains=("b.test",))
    assert said(expansion) == ["failed 4.2.4 :include:x: No such file?[2J", "mailbox bob"]
    assert expansion.troubles == ("4.2.4 :include:x: No such file?[2J",)


@pytest.mark.parametrize("address", ["a\x1b[2J@b.test", "x" * 5000 + "@b.test", "a\r\nb@b.test", "\udcff@b.test"])
def test_hostile_addresses_are_shown_harmless_and_short(address: str) -> None:
    (target,) = expanded(address, {}).targets
    assert target.path == (address,)
    assert target.text.isprintable()
    assert len(target.text) < 200


NAMES = st.sampled_from(["a", "b", "c", "A", "bob", "carol", "a+x", "bob+y", "owner-a", "postmaster"])
DOMAINS = st.sampled_from(["", "@b.test", "@bb.test", "@c.test", "@v.test"])
ADDRESSES = st.builds(lambda name, domain: name + domain, NAMES, DOMAINS)
VALUES = st.one_of(ADDRESSES, ADDRESSES.map("\\{}".format), st.sampled_from(["/dev/null", "@c.test", "@b.test"]))
KEYS = st.one_of(ADDRESSES.map(folded), st.sampled_from(["@b.test", "@v.test", "@c.test"]))
TABLES = st.dictionaries(KEYS, st.lists(VALUES, min_size=1, max_size=5), max_size=12)


@given(table=TABLES, forwards=TABLES, recipients=st.lists(ADDRESSES, min_size=1, max_size=4))
def test_every_table_comes_to_an_end_and_nobody_gets_a_letter_twice(
    table: Table, forwards: Table, recipients: list[str]
) -> None:
    expansion = expanded(recipients, table, forwards=forwards, postmaster="bob")
    mailboxes = [target.user for target in expansion.targets if target.kind is Kind.MAILBOX]
    remotes = [folded(target.address) for target in expansion.targets if target.kind is Kind.REMOTE]
    assert len(mailboxes) == len(set(mailboxes))
    assert len(remotes) == len(set(remotes))
    assert set(mailboxes) <= set(USERS)
    assert not any(address.endswith(("@b.test", "@bb.test")) for address in remotes)


@given(table=TABLES, forwards=TABLES, recipients=st.lists(ADDRESSES, min_size=1, max_size=4, unique_by=folded))
def test_every_recipient_comes_to_something_or_was_there_already(
    table: Table, forwards: Table, recipients: list[str]
) -> None:
    expansion = expanded(recipients, table, forwards=forwards)
    starts = {target.path[0] for target in expansion.targets} | {path[0] for path in expansion.suppressed}
    assert starts == set(recipients)


@given(table=TABLES, recipient=ADDRESSES)
def test_a_loop_is_told_as_a_path_that_the_table_really_has(table: Table, recipient: str) -> None:
    for target in expanded(recipient, table).targets:
        if target.text.startswith("alias loop"):
            keys = [folded(address if "@" in address else f"{address}@b.test") for address in target.path]
            assert keys.count(keys[-1]) == 2
            assert len(set(keys)) == len(keys) - 1


@given(table=TABLES, recipient=ADDRESSES)
def test_case_does_not_count(table: Table, recipient: str) -> None:
    def users(expansion: Expansion) -> list[tuple[Kind, str]]:
        return [(target.kind, target.user) for target in expansion.targets]

    assert users(expanded(recipient.swapcase(), table)) == users(expanded(recipient, table))
