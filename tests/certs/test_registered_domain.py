from __future__ import annotations

import pytest

from sptls.certs.registered_domain import registered_domain


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("click.mail.example.com", "example.com"),
        ("click.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        # A private suffix: each customer of it is counted alone.
        ("click.github.io", "click.github.io"),
        ("co.uk", "co.uk"),
        ("a.b.unheard-of", "b.unheard-of"),
    ],
)
def test_what_its_owner_registered(name: str, expected: str) -> None:
    """
    The public suffix and one label more; names below no registered domain stand for themselves.
    """
    assert expected == registered_domain(name)
