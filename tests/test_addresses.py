"""
Tests for `sptls.addresses`.
"""

from __future__ import annotations

import pytest

from sptls.addresses import plain_host


def test_mapped_ipv4_reads_as_ipv4() -> None:
    """
    A client of a socket for both is an IPv4 client.
    """
    assert "192.0.2.1" == plain_host("::ffff:192.0.2.1")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::ffff:0:1", ""])
def test_any_other_address_is_left_alone(host: str) -> None:
    """
    Nothing else is changed.
    """
    assert host == plain_host(host)
