"""
Challenges are open until they are closed as often as they were opened, and answered by all workers.
"""

from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred
from txacme.interfaces import IResponder
from zope.interface.verify import verifyObject

from sptls.errors import InvalidHostName
from sptls.workers.everywhere import EverywhereResponder, OpenChallenges
from sptls.workers.messages import Challenge
from tests.workers.examples import ALPN_CHALLENGE, CHALLENGE, Posed


@attrs.define
class Workers:
    """
    All workers, who take a while.
    """

    told: list[Challenge] = attrs.field(factory=list)
    withdrawn: list[Challenge] = attrs.field(factory=list)
    done: Deferred[None] = attrs.field(factory=Deferred)

    async def tell(self, challenge: Challenge) -> None:
        """
        Take it.
        """
        self.told.append(challenge)
        await self.done


def test_challenge_is_answered_once_all_workers_do() -> None:
    """
    Then the CA may look; until it is withdrawn, a new worker is told too.
    """
    workers = Workers()
    challenges = OpenChallenges(workers.tell, workers.withdrawn.append)
    responder = EverywhereResponder("http-01", challenges)
    verifyObject(IResponder, responder)
    answering = responder.start_responding("Click.Example.com", Posed(), Posed())
    assert (False, [CHALLENGE], (CHALLENGE,)) == (answering.called, workers.told, challenges.all)
    workers.done.callback(None)
    assert answering.called
    assert responder.stop_responding("click.example.com", Posed(), Posed()).called
    assert ([CHALLENGE], ()) == (workers.withdrawn, challenges.all)


def test_token_is_told_where_its_answer_needs_it() -> None:
    """
    tls-alpn-01 does without, and its challenge is never asked.
    """
    workers = Workers()
    responder = EverywhereResponder("tls-alpn-01", OpenChallenges(workers.tell, workers.withdrawn.append))
    responder.start_responding("click.example.com", None, Posed())
    assert [ALPN_CHALLENGE] == workers.told


def test_challenge_of_two_orders_is_open_until_both_are_over() -> None:
    """
    Closing what is not open is fine.
    """
    workers = Workers()
    challenges = OpenChallenges(workers.tell, workers.withdrawn.append)
    for _ in range(2):
        Deferred.fromCoroutine(challenges.open(CHALLENGE))
    challenges.close(CHALLENGE)
    assert ((CHALLENGE,), []) == (challenges.all, workers.withdrawn)
    challenges.close(CHALLENGE)
    challenges.close(CHALLENGE)
    assert ((), [CHALLENGE]) == (challenges.all, workers.withdrawn)


def test_what_is_no_host_name_is_refused() -> None:
    """
    At once.
    """
    workers = Workers()
    responder = EverywhereResponder("http-01", OpenChallenges(workers.tell, workers.withdrawn.append))
    with pytest.raises(InvalidHostName):
        responder.start_responding("no name", Posed(), Posed())
