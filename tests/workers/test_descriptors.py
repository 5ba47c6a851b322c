"""
What a worker finds where.
"""

from __future__ import annotations

from sptls.workers import descriptors


def test_each_thing_has_a_descriptor_of_its_own() -> None:
    """
    Above the standard ones; nothing follows the sockets, of which there may be any number.
    """
    each = [value for name, value in vars(descriptors).items() if name.isupper()]
    assert list(range(3, 3 + len(each))) == sorted(each)
    assert descriptors.FIRST_SOCKET == max(each)
