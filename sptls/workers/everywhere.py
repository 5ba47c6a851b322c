"""
Challenges that every worker answers: the CA's validations may reach any of them.

Open ones are kept here, since a worker that is started meanwhile must answer them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from txacme.interfaces import IResponder
from zope.interface import implementer

from sptls.names import HostName
from sptls.workers.messages import Challenge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sptls.workers.messages import ChallengeKind


class OpenChallenges:
    """
    The challenges that are open; *told_to_all* has each answered by all workers, *withdrawn* by none any more.
    """

    def __init__(
        self, told_to_all: Callable[[Challenge], Awaitable[None]], withdrawn: Callable[[Challenge], None]
    ) -> None:
        self._told_to_all, self._withdrawn = told_to_all, withdrawn
        # How often each is open: two orders may have the same one.
        self._open: dict[Challenge, int] = {}

    @property
    def all(self) -> tuple[Challenge, ...]:
        """
        Give what is open now.
        """
        return tuple(self._open)

    async def open(self, challenge: Challenge) -> None:
        """
        Have *challenge* answered, and return when it is, by all.
        """
        self._open[challenge] = self._open.get(challenge, 0) + 1
        await self._told_to_all(challenge)

    def close(self, challenge: Challenge) -> None:
        """
        Have *challenge* answered no more; fine when it is not open.
        """
        left = self._open.pop(challenge, 0) - 1
        if left > 0:
            self._open[challenge] = left
        elif left == 0:
            self._withdrawn(challenge)


@implementer(IResponder)
class EverywhereResponder:
    """
    Answers challenges of the type *challenge_type* in every worker.
    """

    def __init__(self, challenge_type: ChallengeKind, challenges: OpenChallenges) -> None:
        self.challenge_type: ChallengeKind = challenge_type
        self._challenges = challenges

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """
        Answer the CA from now on; fires when every worker does.

        Raises:
            InvalidHostName: *server_name* is no host name.
        """
        return Deferred.fromCoroutine(self._challenges.open(self._challenge(server_name, challenge, response)))

    def stop_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """
        Answer no more; fine when it was never started, or stopped already. The Deferred has fired.
        """
        self._challenges.close(self._challenge(server_name, challenge, response))
        stopped: Deferred[None] = Deferred()
        stopped.callback(None)
        return stopped

    def _challenge(self, server_name: str, challenge: Any, response: Any) -> Challenge:
        token = challenge.encode("token") if self.challenge_type == "http-01" else ""
        return Challenge(self.challenge_type, HostName.parse(server_name), token, response.key_authorization)
