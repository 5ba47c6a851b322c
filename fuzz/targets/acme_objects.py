"""
What a CA says of its objects: each is read, or breaks the protocol and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sptls.acme import messages
from sptls.acme.members import MAX_ITEMS, is_url
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
    b"[" * 500,
)

_PARSERS: Final[tuple[Callable[[bytes], object], ...]] = (
    messages.parse_directory,
    lambda content: messages.parse_order("newOrder", "https://ca.example/o", content),
    lambda content: messages.parse_authorization("https://ca.example/a", content),
    messages.parse_challenge,
)


def check(data: bytes) -> None:
    """
    See that every reader takes *data* or refuses it as documented, and what is asked for then is safe to ask for.
    """
    for parse in _PARSERS:
        try:
            found = parse(data)
        except AcmeProtocolError as error:
            assert str(error).isprintable()
            continue
        match found:
            case messages.Directory():
                _check_urls(found.new_nonce, found.new_account, found.new_order)
                _check_urls(*filter(None, (found.revoke_cert, found.renewal_info)))
                assert found.terms_of_service.isprintable()
                assert len(found.profiles) <= MAX_ITEMS
            case messages.Order():
                _check_urls(found.finalize, *found.authorizations, *filter(None, [found.certificate]))
                assert found.certificate or found.status != "valid"
                assert len(found.authorizations) <= MAX_ITEMS
            case messages.Authorization():
                for challenge in found.challenges:
                    _check_challenge(challenge)
            case messages.Challenge():
                _check_challenge(found)


def _check_challenge(challenge: messages.Challenge) -> None:
    _check_urls(challenge.url)
    # The token becomes a part of a path.
    assert all(char.isascii() and (char.isalnum() or char in "-_") for char in challenge.token)
    assert challenge.token or challenge.type not in messages.TOKEN_CHALLENGES


def _check_urls(*urls: str) -> None:
    assert all(map(is_url, urls))
