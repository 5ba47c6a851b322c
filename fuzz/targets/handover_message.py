"""
What a running process and its successor tell each other: a message, or a packet that is none.
"""

from __future__ import annotations

from typing import Final

from sptls.handover import GivesWay, HandedOver, Ready, Refused, TookOver, packed, unpacked

SEEDS: Final = (
    packed(Ready()),
    packed(HandedOver((True, False), is_last=True)),
    packed(TookOver(4711, frozenset({0, 2}))),
    packed(GivesWay()),
    packed(Refused("an order runs")),
    b'{"word": "took over", "process": true, "taken": [0]}',
    b'{"word": "refused", "reason": "\\ud800"}',
    b"[" * 2000,
)


def check(data: bytes) -> None:
    """
    See that a message is the same once it was sent on, with numbers where numbers belong.
    """
    try:
        message = unpacked(data)
    except ValueError as error:
        assert str(error) == "a packet that is no message of a handover"
        return
    assert message == unpacked(packed(message))
    if isinstance(message, TookOver):
        assert {int} == {type(number) for number in (message.process, *message.taken)}
