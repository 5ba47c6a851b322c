"""
Addresses to listen on: one spelling for each.
"""

from __future__ import annotations

from typing import Final

from sptls.config import Address

SEEDS: Final = (b":443", b"192.0.2.1:443", b"[2001:DB8:0::1]:443", b"[::ffff:192.0.2.1]:0", b"[fe80::1%eth0]:1", b"a:1")


def check(data: bytes) -> None:
    """
    See that an address is read again from what it is shown as, and that a fault shows what was written.
    """
    text = data.decode("utf-8", "surrogateescape")
    try:
        address = Address.parse(text)
    except ValueError as error:
        assert str(error).startswith(repr(text))
        return
    assert address == Address.parse(str(address))
    assert 0 <= address.port <= 65535
