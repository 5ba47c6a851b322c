from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sptls.alerts.webhook import ANSWER_SECONDS, PAUSES_SECONDS, WebhookChannel
from sptls.certs.warning_rules import payload
from tests.alerts.hook import WARNINGS, in_thread

if TYPE_CHECKING:
    from tests.acme_front.reactor import SkippingReactor
    from tests.alerts.hook import Hook


def deliver(reactor: SkippingReactor, url: str) -> str:
    """
    Give what becomes of a delivery to *url*.
    """
    return reactor.run_coroutine(WebhookChannel(reactor, url, None, in_thread).deliver(WARNINGS))


@pytest.mark.parametrize("status", [200, 202, 204])
def test_warnings_are_posted_as_json(reactor: SkippingReactor, hook: Hook, status: int) -> None:
    """
    Any 2xx has taken them.
    """
    hook.statuses = [status]
    assert "" == deliver(reactor, hook.listen())
    assert [(b"/token?x=1", payload(WARNINGS))] == hook.got
    assert b"application/json" == hook.fields[b"content-type"]


@pytest.mark.parametrize("status", [500, 503, 429, 0])
def test_what_may_be_better_in_a_moment_is_tried_again(reactor: SkippingReactor, hook: Hook, status: int) -> None:
    """
    A fault of the service's, too many requests, no answer.
    """
    hook.statuses = [status, 200]
    assert "" == deliver(reactor, hook.listen())
    assert 2 == len(hook.got)


def test_a_service_that_goes_on_failing_is_left_alone(reactor: SkippingReactor, hook: Hook) -> None:
    """
    After four tries, further apart each time; no message has the token of the URL.
    """
    hook.statuses = [500]
    url = hook.listen()
    host = url.removeprefix("http://").partition("/")[0]
    assert f"the webhook at {host} answered 500" == deliver(reactor, url)
    waits = [later - earlier for earlier, later in zip(hook.moments, hook.moments[1:], strict=False)]
    assert list(PAUSES_SECONDS) == [round(wait) for wait in waits]


@pytest.mark.parametrize("status", [400, 404, 302, 307])
def test_a_refusal_is_not_asked_again(reactor: SkippingReactor, hook: Hook, status: int) -> None:
    """
    Nor is a redirect followed: a wrong URL is the operator's to mend.
    """
    hook.statuses = [status]
    assert deliver(reactor, hook.listen()).endswith(f" answered {status}")
    assert 1 == len(hook.got)


def test_no_answer_is_said(reactor: SkippingReactor, hook: Hook) -> None:
    """
    With the deadline.
    """
    hook.statuses = [0]
    begun = reactor.seconds()
    assert deliver(reactor, hook.listen()).endswith("did not answer within 10 s")
    most = 4 * ANSWER_SECONDS + sum(PAUSES_SECONDS) + 1
    assert reactor.seconds() - begun <= most


def test_nobody_there_is_said(reactor: SkippingReactor, hook: Hook) -> None:
    """
    In one line.
    """
    url = hook.listen()
    reactor.run_coroutine(_closed(hook))
    assert "can't be reached: ConnectionRefusedError" in deliver(reactor, url)


async def _closed(hook: Hook) -> None:
    await hook.ports.pop().stopListening()


def test_a_delivery_can_be_given_up(reactor: SkippingReactor, hook: Hook) -> None:
    """
    At the end of the process; nothing is tried again.
    """
    hook.statuses = [0]
    url = hook.listen()
    delivering = Deferred.fromCoroutine(WebhookChannel(reactor, url, None, in_thread).deliver(WARNINGS))
    reactor.run_until(lambda: hook.got)
    seen: list[object] = []
    delivering.addErrback(lambda failure: seen.append(failure.type))
    delivering.cancel()
    assert [CancelledError] == seen
    reactor.pass_time(sum(PAUSES_SECONDS) + ANSWER_SECONDS)
    assert 1 == len(hook.got)
