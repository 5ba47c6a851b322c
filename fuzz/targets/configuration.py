"""
The configuration file: loaded, or refused with all its faults, each on a line with its place.
"""

from __future__ import annotations

from typing import Final

from sptls.errors import ConfigError
from tests.full_config import FULL, loaded

SEEDS: Final = (
    FULL.encode(),
    *(line.strip().encode() for line in FULL.splitlines() if " = " in line),
    b'domains = ["a.example"]\nacme = [{directory = "https://a/"}, {directory = "internal"}]',
    b'domains = "a"\n[acme]\nlimits.orders = "x"\n[tls]\npolicy = 1',
    b"a = [",
)


def check(data: bytes) -> None:
    """
    See that nothing but faults comes of what is wrong.
    """
    text = data.decode("utf-8", "replace")
    try:
        loaded(text)
    except ConfigError as error:
        assert error.faults
        assert all(fault.message for fault in error.faults)
        assert str(error).encode()
