"""
What a CA says of its objects: each is read, or breaks the protocol and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sptls.acme import messages
from sptls.errors import AcmeProtocolError

_URL: Final = b'"https://ca.example/x"'

SEEDS: Final = (
    b'{"newNonce": %b, "newAccount": %b, "newOrder": %b, "meta": {"termsOfService": "x", "profiles": {"a": "b"}}}'
    % (_URL, _URL, _URL),
    b'{"status": "valid", "authorizations": [%b], "finalize": %b, "certificate": %b, "expires": "2026-01-01T00:00:00Z"}'
    % (_URL, _URL, _URL),
    b'{"status": "pending", "identifier": {"type": "dns", "value": "a.example"}, "challenges": [{"type": "http-01", '
    b'"url": %b, "status": "pending", "token": "tok_en-1"}]}' % _URL,
    b'{"type": "dns-01", "url": %b, "status": "invalid", "token": "t", "error": {"type": "x", "detail": "y"}}' % _URL,
    b'{"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00.5+01:00"}, '
    b'"explanationURL": "x"}',
    b"[" * 500,
)

_PARSERS: Final[tuple[Callable[[bytes], object], ...]] = (
    messages.parse_directory,
    lambda content: messages.parse_order("newOrder", "https://ca.example/o", content),
    lambda content: messages.parse_authorization("https://ca.example/a", content),
    messages.parse_challenge,
    messages.parse_renewal_info,
)


def check(data: bytes) -> None:
    """
    See that every reader takes *data* or refuses it as documented.
    """
    for parse in _PARSERS:
        with suppress(AcmeProtocolError):
            parse(data)
