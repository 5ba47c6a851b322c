"""
What a worker and its parent say arrives as it was said, or is refused.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.errors import MalformedMessage
from sptls.names import HostName
from sptls.workers.messages import Answer, Answers, Message, decode, encode, in_batches
from tests.workers.examples import EXAMPLES, NAME


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_message_arrives_as_it_was_said(message: Message) -> None:
    """
    Each kind.
    """
    assert message == decode(encode(message))


def test_there_is_an_example_of_each_kind() -> None:
    """
    A new kind needs one.
    """
    assert set(Message.__args__) == {type(message) for message in EXAMPLES}


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[]", b'["Nobody", {}]', b'["Done", {}]', b'["Done", 3]', b"[[], {}]", b"\xff", b"3", b"null"),
        *(b'["Begin", {"config": {}}]', b'["Answers", {"answers": [{"name": "a.b", "bundle": 7}]}]', b"[" * 100_000),
        *(b'["Open", {"turn": 1, "challenge": {"kind": "dns-01", "name": "a", "token": ""}}]',),
    ],
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    """
    By one exception, which tells its length and nothing of what is in it.
    """
    with pytest.raises(MalformedMessage, match=f"{len(text)} bytes that are no message"):
        decode(text)


@given(example=st.sampled_from(EXAMPLES), at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_damaged_message_is_another_one_or_refused(example: Message, at: int, byte: int) -> None:
    """
    No other exception comes out.
    """
    text = bytearray(encode(example))
    text[at % len(text)] = byte
    try:
        message = decode(bytes(text))
    except MalformedMessage:
        return
    assert type(message) in Message.__args__


def test_keys_are_in_no_repr() -> None:
    """
    A message that is logged by mistake tells none.
    """
    (answers,) = (message for message in EXAMPLES if isinstance(message, Answers))
    assert "key=" not in repr(answers)


def test_answers_go_in_messages_of_a_bounded_size() -> None:
    """
    In their order; none for none.
    """
    answers = [Answer(HostName(f"{at}.example")) for at in range(5)]
    assert [2, 2, 1] == [len(message.answers) for message in in_batches(answers, 2)]
    assert ([], [Answers((Answer(NAME),))]) == (in_batches([]), in_batches([Answer(NAME)]))
