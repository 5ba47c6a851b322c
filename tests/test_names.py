"""
Host names have one spelling, and a table answers for names as they come off the wire.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.errors import InvalidHostName
from sptls.names import HostName, NameTable, fold

LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=2, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("click.example.com", "click.example.com"),
        ("Click.EXAMPLE.com.", "click.example.com"),
        (" click.example.com\n", "click.example.com"),
        ("localhost", "localhost"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("例え.jp。", "xn--r8jz45g.jp"),
        ("a\u3002example", "a.example"),
        ("straße.de", "xn--strae-oqa.de"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("0x.example", "0x.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_every_spelling_of_a_name_gives_the_one(text: str, expected: str) -> None:
    """
    Case, one trailing dot, white space around, U-labels and A-labels make no difference.
    """
    assert expected == str(HostName.parse(text))


@given(NAMES)
def test_a_name_in_its_one_spelling_is_what_every_other_gives(name: str) -> None:
    """
    Such names are taken as they are; upper case goes the long way.
    """
    assert HostName(name) == HostName.parse(name) == HostName.parse(name.upper())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" ", "empty"),
        (".", "empty"),
        ("a..", "the label ''"),
        ("a..b", "the label ''"),
        ("a b.example", "the label 'a b'"),
        ("a_b.example", "the label 'a_b'"),
        ("-a.example", "the label '-a'"),
        ("a-.example", "the label 'a-'"),
        ("a\n.example", "the label 'a\\n'"),
        ("a" * 64 + ".example", "not 1-63"),
        ("*", "the label '*'"),
        ("*.", "the label '*'"),
        ("*.*.example", "the label '*'"),
        ("a.*.example", "the label '*'"),
        ("192.0.2.1", "an IP address"),
        ("192.0.2.1.", "an IP address"),
        ("2001:db8::1", "an IP address"),
        ("[2001:db8::1]", "an IP address"),
        ("a:b", "the label 'a:b'"),
        ("*.192.0.2.1", "an IP address"),
        ("192.0.2.256", "reads as an address"),
        ("127.1", "reads as an address"),
        ("0x7f000001", "reads as an address"),
        ("１２７.１", "reads as an address"),
        ("a\u00ad\u200f.example", "not a valid internationalised name"),
        ("\ud800.example", "not a valid internationalised name"),
        (".".join(["a" * 60] * 5), "longer than 253"),
        ("*." + ".".join(["a" * 63] * 4), "longer than 253"),
        ("a" * 100_000, "longer than 253"),
    ],
)
def test_what_is_no_host_name_is_refused_with_the_reason(text: str, reason: str) -> None:
    """
    The error says what is wrong with the name, in a line of bounded length.
    """
    with pytest.raises(InvalidHostName) as caught:
        HostName.parse(text)
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1200


def test_a_name_of_253_characters_is_the_longest() -> None:
    """
    RFC 1035 §2.3.4 counts 255 octets on the wire, which are 253 characters.
    """
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert 253 == len(HostName.parse(longest).text)
    with pytest.raises(InvalidHostName):
        HostName.parse(longest + "d")


@given(st.text(max_size=300) | st.text(string.ascii_letters + string.digits + "-.*:[]", max_size=300))
def test_any_text_gives_a_name_or_the_documented_error(text: str) -> None:
    """
    A name that was given is its own spelling, fits into bytes, and ends in no dot.
    """
    try:
        name = HostName.parse(text)
    except InvalidHostName:
        return
    assert name == HostName.parse(name.text)
    assert name.wire == fold(name.wire)
    assert len(name.wire) <= 253


@given(NAMES, st.data())
def test_a_name_off_the_wire_finds_its_value_in_any_case(name: str, draw: st.DataObject) -> None:
    """
    A table is asked with bytes in any case, with or without a trailing dot.
    """
    table = NameTable([(HostName.parse(name), "found")])
    upper = draw.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    mixed = "".join(char.upper() if up else char for char, up in zip(name, upper, strict=True))
    assert "found" == table.get(mixed.encode()) == table.get(mixed.encode() + b".")
    assert table.get(b"x" + mixed.encode()) is None


@given(st.binary())
def test_any_bytes_may_be_asked_for(name: bytes) -> None:
    """
    What is no host name is no value, never an exception.
    """
    assert NameTable([(HostName("a.example"), 1), (HostName("*.b.example"), 2)]).get(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.example.com", "wildcard"),
        (b"A.Example.Com.", "wildcard"),
        (b"www.example.com", "exact"),
        (b"example.com", None),
        (b".example.com", None),
        (b"a.b.example.com", None),
        (b"localhost", None),
        (b"", None),
        (b"xn--a_1.example.com", "wildcard"),
        (b"1.example.com", "wildcard"),
        (b"a" * 63 + b".example.com", "wildcard"),
        (b"a" * 64 + b".example.com", None),
        (b"*.example.com", None),
        (b"\x01\n.example.com", None),
        (b"a\n.example.com", None),
        (b"a b.example.com", None),
        (b"a%2e.example.com", None),
        (b"\xe9.example.com", None),
        (b"a/b.example.com", None),
    ],
)
def test_a_wildcard_covers_one_label_and_comes_after_the_exact_name(name: bytes, expected: str | None) -> None:
    """
    RFC 6125 §6.4.3: one whole label, no more and no less.
    """
    table = NameTable({HostName("*.example.com"): "wildcard", HostName("www.example.com"): "exact"})
    assert expected == table.get(name)


def test_a_name_of_its_own_is_not_a_wildcards() -> None:
    """
    What is in the table under exactly this name, a wildcard too; and no client gets anything by spelling one out.
    """
    table = NameTable({HostName("*.example.com"): "wildcard", HostName("www.example.com"): "exact"})
    asked = ["*.example.com", "www.example.com", "a.example.com", "*.example.org"]
    assert ["wildcard", "exact", None, None] == [table.own(HostName(name)) for name in asked]
    assert table.get(b"*.example.com") is None


def test_a_table_without_wildcards_has_no_value_for_a_name_below_another() -> None:
    """
    Only a wildcard stands for names below it.
    """
    assert NameTable({HostName("example.com"): 1}).get(b"a.example.com") is None


def test_a_table_counts_and_gives_its_values() -> None:
    """
    Wildcards are entries like the others; an empty table has none.
    """
    table = NameTable({HostName("*.example.com"): 2, HostName("example.com"): 1})
    assert (2, [1, 2]) == (len(table), list(table))
    assert (0, []) == (len(NameTable[int]()), list(NameTable[int]()))


def test_only_a_leading_star_makes_a_wildcard() -> None:
    """
    A wildcard says so; a plain name does not.
    """
    assert HostName.parse("*.example.com").is_wildcard
    assert not HostName.parse("example.com").is_wildcard


def test_names_are_sorted_by_their_text() -> None:
    """
    Lists of names come out in one order.
    """
    assert [HostName("a.b"), HostName("b.a")] == sorted([HostName("b.a"), HostName("a.b")])
