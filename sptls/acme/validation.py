"""
Proves control of a name to the CA (RFC 8555 §7.5, §8): presents the answer to a challenge, has it validated, and
withdraws it.

Carries out `steps`, with the challenge types in order of preference. A failed challenge makes its authorization and its
order invalid (§7.1.6), so another type needs another order, which is `issue`'s to make. A challenge is withdrawn
whatever happens after it was presented.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger

from sptls.acme import jws, steps
from sptls.acme.attempt import Failed
from sptls.asking import abandonable
from sptls.errors import AcmeProblem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sptls.acme.attempt import Attempt
    from sptls.acme.client import AcmeClient
    from sptls.acme.messages import Authorization, Challenge
    from sptls.names import HostName

# A DNS provider's API takes seconds; our own responders take none.
RESPONDER_SECONDS = 60.0
# Stands where the type would: an earlier attempt answered it, perhaps a process that ended meanwhile.
EARLIER = "an earlier challenge"

_log = Logger()


class Responder(Protocol):
    """
    A challenge responder: a provider of txacme.interfaces.IResponder.
    """

    challenge_type: str

    def start_responding(
        self, server_name: str, challenge: Challenge, response: jws.KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer *challenge* from when this is done.
        """

    def stop_responding(
        self, server_name: str, challenge: Challenge, response: jws.KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer it no more.
        """


@attrs.define(eq=False)
class Validation:
    """
    Makes authorizations valid at the CA of *client*; *responders* by challenge type, in order of preference.
    """

    client: AcmeClient
    responders: Mapping[str, Responder]
    # A firewall before one port outlasts an order: what worked for a name is tried first the next time.
    _worked: dict[HostName, str] = attrs.field(init=False, factory=dict)

    async def authorize(self, account: jws.Account, urls: Sequence[str], attempt: Attempt) -> Failed | None:
        """
        Make each authorization at *urls* valid, or tell which challenge failed.

        Raises:
            ValidationFailed: no challenge is offered of a type that is left.
            AcmeError: the CA refused to validate, or could not be asked.
        """
        for url in urls:
            failure = await self._authorize(account, url, attempt)
            if failure is not None:
                return failure
        return None

    async def failure(self, account: jws.Account, urls: Sequence[str], attempt: Attempt) -> Failed | None:
        """
        Tell which challenge has failed of the authorizations at *urls*; None for none.

        Raises:
            AcmeError: the CA could not be asked.
        """
        for url in urls:
            failure = _found(await self.client.authorization(account, url, attempt.until), attempt)
            if failure is not None:
                return failure
        return None

    async def _authorize(self, account: jws.Account, url: str, attempt: Attempt) -> Failed | None:
        authorization = await self.client.authorization(account, url, attempt.until)
        match steps.next_of_authorization(authorization):
            case steps.Respond(challenges):
                challenge = steps.choose_challenge(challenges, attempt.types_left(self._preference(attempt.name)))
                if challenge is None:
                    raise attempt.validation_failed()
                return await self._validate(account, authorization, challenge, attempt)
            case steps.Wait():
                ended = await self._wait_for(account, authorization, attempt)
                return _left_over(ended) if attempt.is_counted else failed(ended)
            case _:
                return _found(authorization, attempt)

    async def _validate(
        self, account: jws.Account, authorization: Authorization, challenge: Challenge, attempt: Attempt
    ) -> Failed | None:
        """
        Present the answer to *challenge*, have it validated, withdraw it.
        """
        async with self._presented(account, challenge, attempt.name) as fault:
            if fault is not None:
                return Failed(challenge.type, AcmeProblem(0, "responder", fault))
            ended = await self._respond(account, authorization, challenge, attempt)
        failure = failed(ended, challenge.type)
        if failure is None:
            self._worked[attempt.name] = challenge.type
        return failure

    async def _respond(
        self, account: jws.Account, authorization: Authorization, challenge: Challenge, attempt: Attempt
    ) -> Authorization:
        """
        Let the CA validate *challenge*; gives the authorization as it ended.
        """
        attempt.is_committed = attempt.is_being_validated = True
        try:
            await self.client.respond(account, challenge, attempt.until)
        except AcmeProblem as problem:
            # A repeated response, after an answer that was lost, is refused: the first one is being acted on.
            seen = await self.client.authorization(account, authorization.url, attempt.until)
            if isinstance(steps.next_of_authorization(seen), steps.Respond):
                attempt.is_being_validated = False
                raise problem from None
        ended = await self.client.finished_authorization(account, authorization.url, attempt.until)
        attempt.is_being_validated = False
        return ended

    async def _wait_for(self, account: jws.Account, authorization: Authorization, attempt: Attempt) -> Authorization:
        """
        Give the authorization, which the CA is at work on, as it ended.

        Who answered its challenge is gone, so it is answered again meanwhile.
        """
        attempt.is_being_validated = not attempt.is_counted
        challenge = steps.being_validated(authorization.challenges, tuple(self.responders))
        if challenge is None:
            ended = await self.client.finished_authorization(account, authorization.url, attempt.until)
        else:
            async with self._presented(account, challenge, attempt.name):
                ended = await self.client.finished_authorization(account, authorization.url, attempt.until)
        attempt.is_being_validated = False
        return ended

    @asynccontextmanager
    async def _presented(self, account: jws.Account, challenge: Challenge, name: HostName) -> AsyncIterator[str | None]:
        """
        Have *challenge* answered meanwhile; gives what went wrong with it, or None.
        """
        response, responder = jws.key_authorization(challenge.token, account.key), self.responders[challenge.type]
        try:
            yield await self._tell(responder.start_responding, name.text, challenge, response)
        finally:
            await self._tell(responder.stop_responding, name.text, challenge, response)

    def _preference(self, name: HostName) -> tuple[str, ...]:
        worked = self._worked.get(name)
        return tuple(sorted(self.responders, key=lambda kind: kind != worked))

    async def _tell(
        self,
        call: Callable[[str, Challenge, jws.KeyAuthorization], Awaitable[None] | None],
        name: str,
        challenge: Challenge,
        response: jws.KeyAuthorization,
    ) -> str | None:
        """
        Call a responder, which may be anyone's; gives what went wrong, or None.
        """
        told = maybeDeferred(call, name, challenge, response)
        try:
            await abandonable(told).addTimeout(RESPONDER_SECONDS, self.client.transport.clock)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugged-in responder's fault is one challenge's failure
            _log.failure("the {kind} responder failed for {name}", kind=challenge.type, name=name)
            return f"the responder failed: {error}"
        return None


def _found(authorization: Authorization, attempt: Attempt) -> Failed | None:
    """
    Tell what an authorization came to that has ended before this attempt heard of it.
    """
    is_ours = attempt.is_taken_up and not attempt.is_counted
    return failed(authorization) if is_ours else _left_over(authorization)


def _left_over(authorization: Authorization) -> Failed | None:
    """
    Tell what an authorization came to that was counted in another order or attempt; its challenge type may work now.
    """
    failure = failed(authorization, EARLIER)
    return None if failure is None else attrs.evolve(failure, is_counted=False)


def failed(authorization: Authorization, challenge_type: str = "") -> Failed | None:
    """
    Tell what an authorization came to that failed, by a challenge of *challenge_type* ("": not known); or None.
    """
    match steps.next_of_authorization(authorization):
        case steps.Refused(problem):
            kind = challenge_type or steps.failed_type(authorization) or EARLIER
            # Only an invalid authorization counts against the CA's limit, not one that expired or was deactivated.
            return Failed(kind, problem, is_counted=authorization.status == "invalid")
        case _:
            return None
