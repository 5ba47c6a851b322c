from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.fields import ONCE, HeadError, read_content_length, read_fields, read_persistence

FRAMING = frozenset({b"host"})


def read(block: bytes) -> tuple[list[tuple[bytes, bytes]], dict[bytes, list[bytes]]]:
    """
    Read the lines of *block*, the first of which isn't a field.
    """
    return read_fields(block, block.split(b"\r\n"), FRAMING)


def test_fields_keep_order_spelling_and_repeats() -> None:
    """
    Fields come as they were sent, but for white space around values.
    """
    expected = [(b"B", b"1"), (b"a", b"2 \t3"), (b"B", b""), (b"b", b"x:y")]
    assert expected == read(b"first\r\nB:1\r\na: \t2 \t3 \r\nB:\r\nb: x:y")[0]


def test_framing_fields_are_collected_by_lower_case_name() -> None:
    """
    The values of the fields asked for come in order, whatever their spelling.
    """
    assert {b"host": [b"a", b"b"]} == read(b"first\r\nHOST: a\r\nOther: x\r\nhost: b")[1]


@pytest.mark.parametrize("name", sorted(ONCE))
def test_field_that_says_one_thing_may_be_there_once(name: bytes) -> None:
    """
    Of two, the service might go by either, equal or not; whoever asks for none of them does not look.
    """
    block = b"first\r\n%b: 1\r\nOther: 2" % name.title()
    assert {name: [b"1"]} == read_fields(block, block.split(b"\r\n"), ONCE)[1]
    block += b"\r\n%b: 1" % name
    with pytest.raises(HeadError) as caught:
        read_fields(block, block.split(b"\r\n"), ONCE)
    assert 400 == caught.value.status
    assert {} == read(block)[1]


def test_controls_that_nobody_takes_for_an_end_stay_in_values() -> None:
    """
    A cookie with the control characters of a broken script, or with bytes from 0x80 on, costs nobody a click.
    """
    assert [(b"Cookie", b"a=\x01\x1f\x7f\x80\xff\x85")] == read(b"first\r\nCookie: a=\x01\x1f\x7f\x80\xff\x85")[0]


@pytest.mark.parametrize(
    "block",
    [
        b"first\r\nA: b\nC: d",
        b"first\r\nA: b\rC: d",
        b"first\r\nA: b\r\r\nC: d",
        b"first\r\nA: b\n\r\nC: d",
        b"fir\nst\r\nA: b",
        b"first\r\nA: b\0c",
        b"first\r\nA: b\x0bc",
        b"first\r\nA: b\x0cc",
        b"first\r\nno colon",
        b"first\r\n: no name",
        b"first\r\nA : space before the colon",
        b"first\r\nA\t: tab before the colon",
        b"first\r\nA: b\r\n folded: on",
        b"first\r\nA: b\r\n\tfolded",
        b"first\r\nA(: delimiter in the name",
        b"first\r\n\xe9: not ASCII",
        b"first\r\nA: b\r\n\r\nC: d",
    ],
)
def test_broken_fields_are_refused(block: bytes) -> None:
    """
    What two readers could read in two ways is 400.
    """
    with pytest.raises(HeadError) as caught:
        read(block)
    assert 400 == caught.value.status


@given(st.lists(st.binary(max_size=12), max_size=5))
def test_any_lines_are_fields_or_refused(lines: list[bytes]) -> None:
    """
    No bytes raise anything else, and what is accepted has no line end in it.
    """
    block = b"\r\n".join([b"first", *lines])
    try:
        fields, _ = read(block)
    except HeadError:
        return
    assert not any(end in part for field in fields for part in field for end in (b"\r", b"\n", b"\0"))


def test_content_length_is_one_number() -> None:
    """
    Leading zeros are digits as well.
    """
    assert (0, 7, 10**18) == tuple(read_content_length([text]) for text in (b"0", b"007", b"1000000000000000000"))


@pytest.mark.parametrize(
    "values",
    [[b""], [b"-1"], [b"+1"], [b"1 "], [b"0x1"], [b"1_0"], [b"1.0"], [b"5, 5"], [b"5", b"5"], [b"1" * 20], [b"\xb2"]],
)
def test_any_other_content_length_is_refused(values: list[bytes]) -> None:
    """
    Two equal ones and a list in one are refused too: the service might take either.
    """
    with pytest.raises(HeadError):
        read_content_length(values)


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        (b"1.1", None, (True, ())),
        (b"1.0", None, (False, ())),
        (b"1.1", [b"keep-alive"], (True, ())),
        (b"1.0", [b"keep-alive"], (True, ())),
        (b"1.0", [b"Keep-Alive"], (True, ())),
        (b"1.1", [b"close"], (False, ())),
        (b"1.1", [b"Close"], (False, ())),
        (b"1.0", [b"keep-alive, close"], (False, ())),
        (b"1.1", [b"keep-alive", b"TE , X-Own,,close"], (False, (b"te", b"x-own"))),
        (b"1.0", [b"upgrade"], (False, (b"upgrade",))),
        (b"1.1", [b""], (True, ())),
    ],
)
def test_persistence_follows_version_and_options(
    version: bytes, connection: list[bytes] | None, expected: tuple[bool, tuple[bytes, ...]]
) -> None:
    """
    RFC 9112 §9.3: close goes first, HTTP/1.1 stays, HTTP/1.0 asks for it.
    """
    assert expected == read_persistence(version, connection)
