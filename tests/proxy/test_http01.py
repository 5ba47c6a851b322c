from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from txacme.interfaces import IResponder
from zope.interface.verify import verifyObject

from sptls.proxy.http01 import Http01Responder

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


@attrs.frozen
class Challenge:
    """
    A challenge as the interface describes it.
    """

    token: str

    def encode(self, name: str) -> str:
        """
        Give the token.
        """
        return {"token": self.token}[name]


@attrs.frozen
class Response:
    """
    A response as the interface describes it.
    """

    key_authorization: str


def fired(deferred: Deferred[None]) -> None:
    """
    Check that *deferred* has fired.
    """
    results: list[None] = []
    deferred.addCallback(results.append)
    assert [None] == results


def test_it_is_a_responder_of_txacme() -> None:
    """
    Its challenge type is the one it answers.
    """
    responder = Http01Responder()
    assert verifyObject(IResponder, responder)
    assert "http-01" == responder.challenge_type


def test_open_challenges_are_shown_until_they_stop() -> None:
    """
    Several at once; stopping one twice, or one that never started, is fine.
    """
    responder = Http01Responder()
    one, two = Challenge("one"), Challenge("two")
    fired(responder.start_responding("a.example", one, Response("one.key")))
    fired(responder.start_responding("b.example", two, Response("two.key")))
    assert {"one": "one.key", "two": "two.key"} == responder.tokens
    for _ in range(2):
        fired(responder.stop_responding("a.example", one, Response("one.key")))
    assert {"two": "two.key"} == responder.tokens


def test_tokens_are_read_only() -> None:
    """
    Who answers challenges can't open one.
    """
    with pytest.raises(TypeError):
        Http01Responder().tokens["x"] = "y"  # type: ignore[index]
