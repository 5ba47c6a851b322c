from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme.members import MAX_DETAIL_LENGTH, MAX_ITEMS, MAX_URL_LENGTH, Members, is_url
from sptls.errors import AcmeProtocolError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
URL = "https://ca.test/order/1"
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


def members(**values: object) -> Members:
    """
    Give an object of the CA's with these members.
    """
    return Members("order", values)


@given(st.binary())
def test_any_bytes_are_an_object_or_a_protocol_error(content: bytes) -> None:
    """
    Whatever the CA sends is an object or the documented error.
    """
    with suppress(AcmeProtocolError):
        assert isinstance(Members.parse("order", content), Members)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"", b"[]", b"null", b"1" * 5000])
def test_what_is_no_object_is_a_protocol_error(content: bytes) -> None:
    """
    Deep nesting, bad UTF-8, other JSON values and huge numbers end the same way.
    """
    with pytest.raises(AcmeProtocolError):
        Members.parse("order", content)


def test_reads_members_of_the_right_type() -> None:
    """
    A member is given as it is.
    """
    read = Members.parse(
        "order",
        json.dumps({"a": "x", "u": URL, "l": [URL, URL], "b": True, "o": {"a": "y"}, "n": [{"a": "z"}]}).encode(),
    )
    assert "x" == read.text("a")
    assert URL == read.url("u") == read.optional_url("u")
    assert (URL, URL) == read.urls("l")
    assert read.truth("b")
    assert "x" == read.one_of("a", ("w", "x"))
    assert "y" == read.nested("o").text("a")
    assert ["z"] == [each.text("a") for each in read.nested_array("n")]


def test_optional_members_may_be_missing_or_null() -> None:
    """
    Missing and null are the same.
    """
    read = members(null=None)
    assert "" == read.optional_url("url") == read.optional_url("null") == read.lenient_text("null")
    assert read.optional_nested("nested") is None
    assert not read.truth("null")


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("text", ()), ("url", ()), ("urls", ()), ("nested", ()), ("nested_array", ()), ("one_of", (("a", "b"),))],
)
@given(value=json_values)
def test_a_member_of_another_type_is_a_protocol_error(method: str, arguments: tuple[object], value: object) -> None:
    """
    Any JSON value is what the method promises, or the documented error.
    """
    with suppress(AcmeProtocolError):
        assert getattr(members(name=value), method)("name", *arguments) is not None


def test_a_boolean_is_nothing_else() -> None:
    """
    A string that says "false" is not a boolean.
    """
    with pytest.raises(AcmeProtocolError, match="is not a boolean"):
        members(b="false").truth("b")


def test_a_text_that_is_not_known_is_a_protocol_error() -> None:
    """
    The error names what would have been right.
    """
    with pytest.raises(AcmeProtocolError, match="status is none of pending, valid"):
        members(status="done").one_of("status", ("pending", "valid"))


def test_the_place_of_a_nested_fault_is_told() -> None:
    """
    The error names the path to the member.
    """
    with pytest.raises(AcmeProtocolError, match=r"challenges\[1\]\.url is not an https URL"):
        members(challenges=[{}, {"url": "http://ca.test"}]).nested_array("challenges")[1].url("url")


def test_arrays_are_bounded() -> None:
    """
    More items than any CA sends are refused.
    """
    assert MAX_ITEMS == len(members(l=[URL] * MAX_ITEMS).urls("l"))
    with pytest.raises(AcmeProtocolError, match="items"):
        members(l=[URL] * (MAX_ITEMS + 1)).urls("l")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (URL, True),
        ("http://ca.test/", False),
        ("https://", False),
        ("https://ca.test/a b", False),
        ("https://ca.test/\n", False),
        ("https://ca.test/ü", False),
        ("https://ca.test/" + "a" * MAX_URL_LENGTH, False),
    ],
)
def test_only_https_urls_of_bearable_length_pass(text: str, expected: bool) -> None:
    """
    Plain HTTP, white space, other alphabets and kilobytes are no URLs of a CA.
    """
    assert expected == is_url(text)


@given(st.text(max_size=MAX_DETAIL_LENGTH * 2))
def test_lenient_text_fits_one_line_of_a_log(text: str) -> None:
    """
    Nothing of a CA's text can break or forge a line, or flood it.
    """
    shown = members(detail=text).lenient_text("detail")
    assert len(shown) <= MAX_DETAIL_LENGTH
    assert shown.isprintable()


def test_lenient_text_is_never_an_error() -> None:
    """
    A number in its place is as good as nothing.
    """
    assert "" == members(detail=1).lenient_text("detail")


def test_lenient_members_are_never_an_error() -> None:
    """
    What is no URL, no moment or no table of texts is as good as nothing.
    """
    assert (URL, "", "") == tuple(members(url=url).lenient_url("url") for url in (URL, "http://ca.test/", 7))
    assert {"a b": "c d"} == members(texts={"a\nb": "c\td", "e": 1}).lenient_texts("texts")
    assert {} == members(texts=["a"]).lenient_texts("texts")
    assert MAX_ITEMS == len(members(texts={str(number): "" for number in range(999)}).lenient_texts("texts"))
    assert (None, None) == (members(at="soon").lenient_moment("at"), members().lenient_moment("at"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-08-01T12:00:00Z", NOON),
        ("2026-08-01T14:00:00.0000009+02:00", NOON),
        ("2026-08-01T12:00:00", None),
        ("2026-08-01", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("now", None),
    ],
)
def test_a_moment_is_in_utc(text: str, expected: datetime | None) -> None:
    """
    RFC 3339, with more digits than we keep; without an offset it is no moment.
    """
    assert expected == members(at=text).lenient_moment("at")
    if expected is None:
        with pytest.raises(AcmeProtocolError):
            members(at=text).moment("at")
    else:
        assert expected == members(at=text).moment("at")
