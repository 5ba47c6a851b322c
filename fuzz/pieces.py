"""
One input as a reader gets it: whole, and in pieces.
"""

from __future__ import annotations


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """
    Give *data* less its first byte, and the same in pieces of as many bytes as that byte says.
    """
    size = (data[0] if data else 0) + 1
    whole = data[1:]
    return whole, [whole[at : at + size] for at in range(0, len(whole), size)]


def prefixes(data: bytes) -> list[bytes]:
    """
    Give beginnings of *data*: all of a short one, a hundred of a long one.
    """
    return [data[:end] for end in range(0, len(data), len(data) // 100 + 1)]
