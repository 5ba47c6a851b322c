"""
Tests for `sptls.handover`: every message crosses as it was, and nothing else is taken for one.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.handover import (
    MAX_MESSAGE_BYTES,
    MAX_SOCKETS,
    GivesWay,
    HandedOver,
    Message,
    Ready,
    Refused,
    TookOver,
    packed,
    unpacked,
)

MESSAGES = st.one_of(
    st.just(Ready()),
    st.just(GivesWay()),
    st.builds(Refused, st.text()),
    st.builds(HandedOver, st.lists(st.booleans(), max_size=MAX_SOCKETS).map(tuple), st.booleans()),
    st.builds(TookOver, st.integers(), st.frozensets(st.integers(0))),
)


@given(MESSAGES)
def test_every_message_crosses_as_it_was(message: Message) -> None:
    """
    What is packed is unpacked to the same.
    """
    assert message == unpacked(packed(message))


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda one: json.dumps(one).encode())
)
def test_anything_else_is_no_message(packet: bytes) -> None:
    """
    Bytes of any kind give a message or the documented error.
    """
    with pytest.raises(ValueError, match="no message"):
        unpacked(packet)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"word": "hello"},
        {"word": "handed over", "kept": [1], "is_last": True},
        {"word": "handed over", "kept": [], "is_last": 1},
        {"word": "took over", "process": "1", "taken": []},
        {"word": "took over", "process": 1, "taken": [True]},
        {"word": "took over", "process": True, "taken": []},
        {"word": "refused", "reason": None},
    ],
)
def test_message_of_another_shape_is_none(told: dict[str, object]) -> None:
    """
    Members have to be there, and of their kind.
    """
    with pytest.raises(ValueError, match="no message"):
        unpacked(json.dumps(told).encode())


def test_nesting_without_end_is_no_message() -> None:
    """
    What the JSON parser gives up at is refused like all else.
    """
    with pytest.raises(ValueError, match="no message"):
        unpacked(b"[" * MAX_MESSAGE_BYTES)


@pytest.mark.parametrize(("is_last", "expected"), [(False, 2), (True, 3)])
def test_last_packet_has_the_locks_descriptor_too(is_last: bool, expected: int) -> None:
    """
    A packet has a descriptor for each socket, the last one more.
    """
    assert expected == HandedOver((False, True), is_last).descriptors


def test_greatest_packets_fit() -> None:
    """
    The sockets of one packet, and the numbers of some thousand sockets, are below the limit.
    """
    assert len(packed(HandedOver((False,) * MAX_SOCKETS, is_last=True))) < MAX_MESSAGE_BYTES
    assert len(packed(TookOver(2**22, frozenset(range(5000))))) < MAX_MESSAGE_BYTES
