"""
Tests for `sptls.certs.pause`.
"""

from __future__ import annotations

from sptls.certs.authority import Moment
from sptls.certs.limits import NotBefore
from sptls.certs.pause import Pause
from sptls.errors import Scope

WAIT = NotBefore(1060.0, Scope.ACCOUNT)


def test_pause_lasts_until_the_moment_of_what_is_waited_for() -> None:
    """
    By the monotonic clock; then it has no reason any more.
    """
    pause = Pause()
    pause.begin(WAIT, Moment(wall=1000.0, monotonic=5.0))
    assert [(60.0, WAIT), (1.0, WAIT), (0.0, None), (-1.0, None)] == [
        (pause.seconds_left(at), pause.reason(at)) for at in (5.0, 64.0, 65.0, 66.0)
    ]


def test_pause_that_ended_is_none() -> None:
    """
    As before the first one.
    """
    pause = Pause()
    assert (0.0, None) == (pause.seconds_left(0.0), pause.reason(0.0))
    pause.begin(WAIT, Moment(wall=1000.0, monotonic=5.0))
    pause.end()
    assert (0.0, None) == (pause.seconds_left(5.0), pause.reason(5.0))
