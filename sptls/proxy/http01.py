"""
Answers to http-01 challenges (RFC 8555 §8.3), given on the port-80 listener by `route.decide`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from txacme.interfaces import IResponder
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Challenge(Protocol):
    """
    What is used of an ACME challenge object (josepy's, or txacme's).
    """

    def encode(self, name: str) -> str:
        """
        Give the JSON value of the field *name*.
        """


class Response(Protocol):
    """
    What is used of a challenge's response object.
    """

    @property
    def key_authorization(self) -> str:
        """
        Give the key authorization (RFC 8555 §8.1).
        """


@implementer(IResponder)
class Http01Responder:
    """
    The open http-01 challenges, any number at once; *tokens* shows them as key authorizations by token.
    """

    challenge_type = "http-01"

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self.tokens: Mapping[str, str] = MappingProxyType(self._tokens)

    def start_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[None]:
        """
        Answer the CA from now on; the Deferred has fired.
        """
        self._tokens[challenge.encode("token")] = response.key_authorization
        return succeed(None)

    def stop_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[None]:
        """
        Answer no more; fine when it was never started, or stopped already.
        """
        self._tokens.pop(challenge.encode("token"), None)
        return succeed(None)
