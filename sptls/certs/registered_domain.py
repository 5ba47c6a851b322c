"""
The part of a name that its owner registered: what a CA counts certificates by.

The Public Suffix List decides (``example.co.uk`` of ``click.example.co.uk``); the package publicsuffixlist brings it.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def registered_domain(name: str) -> str:
    """
    Give the registered domain of *name*; *name* itself where it is a public suffix.

    The first call takes 0.1 s, for the list.
    """
    found: str | None = _suffixes().privatesuffix(name)
    return found or name


@cache
def _suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
