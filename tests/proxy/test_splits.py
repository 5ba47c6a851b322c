"""
The batteries of `tests.e2e.smuggling` again, however the bytes are cut: reads decide nothing.
"""

from __future__ import annotations

import pytest

from tests.e2e.smuggling import PASSED_ON, REFUSED
from tests.proxy.outcome import outcome
from tests.proxy.wire import GET


@pytest.mark.parametrize("message", [message for message in REFUSED if len(message) < 1000])
def test_refused_request_is_refused_byte_by_byte(message: bytes) -> None:
    """
    With the same status, and nothing of it is whole for the service.
    """
    stream = message + GET
    whole = outcome([stream])
    bytewise = outcome(stream[at : at + 1] for at in range(len(stream)))
    assert whole == bytewise
    assert b"200" not in whole[1] or b"421" in whole[1] or b"405" in whole[1]


@pytest.mark.parametrize("message", [message for message, _, _ in PASSED_ON])
def test_request_is_the_same_wherever_it_is_cut(message: bytes) -> None:
    """
    In two pieces, at every byte.
    """
    stream = message + GET
    expected = outcome([stream])
    assert 2 == len(expected[0])
    for cut in range(1, len(stream)):
        assert expected == outcome([stream[:cut], stream[cut:]])
