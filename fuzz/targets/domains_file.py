"""
The file of domains: names one a line, or faults with the lines' numbers, of which there are not too many.
"""

from __future__ import annotations

from typing import Final

from sptls.errors import ConfigError
from tests.full_config import loaded

_CONFIGURATION: Final = 'domains_file = "ok.txt"\n[acme]\nagree_to_terms = true'

SEEDS: Final = (
    b"a.example\nb.example # comment\n\n# more\n*.c.example",
    b"a.example\r\nA.EXAMPLE.\r\n",
    "bücher.example\n\ufeff\u2028x".encode(),
    b"a b\n" * 30,
)


def check(data: bytes) -> None:
    """
    See that each line is a domain, a comment or a fault.
    """
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    try:
        config = loaded(_CONFIGURATION, names=text)
    except ConfigError as error:
        assert 0 < len(error.faults) <= 30
    else:
        assert len(config.domains) <= len(lines)
