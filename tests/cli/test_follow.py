"""
Tests for `sptls.cli.follow`, with a daemon of the test's own. What `sptls issue` makes of it is tested there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest

from sptls.cli.client import DaemonClient
from sptls.cli.follow import follow, seconds_for
from sptls.cli.tally import Settled, Tally
from sptls.errors import DaemonNotRunning
from sptls.names import HostName
from sptls.ops.status import domain_json
from tests.ops.web import issuing, valid

ISSUING, VALID = domain_json(issuing("a.example")), domain_json(valid("a.example"))


class _Daemon:
    """
    Answers each look with the next of *answers*, the last one for ever; an exception is raised.
    """

    def __init__(self, *answers: dict[str, Any] | BaseException | None) -> None:
        self._answers = list(answers)
        self.said: list[str] = []

    def look(self, _names: Sequence[HostName]) -> tuple[dict[str, Any], ...]:
        """
        Give the next one.
        """
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return () if answer is None else (answer,)

    domains = look

    def follow(self, tally: Tally, timeout: float | None = None) -> int:
        """
        Follow *tally*, and note what is said.
        """

        def told(settled: Iterable[Settled]) -> None:
            self.said += [str(one) for one in settled]

        return follow(cast(DaemonClient, self), self.look, tally, told, timeout)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """
    Give the pauses that were made, none of which took time.
    """
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_names_are_looked_at_until_they_settle(pauses: list[float]) -> None:
    """
    Ever less often, but every second.
    """
    daemon = _Daemon(*[ISSUING] * 9, VALID)
    assert (0, 1) == (daemon.follow(Tally(["a.example"])), len(daemon.said))
    assert (0.1, 1.0, sorted(pauses)) == (pauses[0], pauses[-1], pauses)


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ([ISSUING, DaemonNotRunning("/state")], 1, "not known: no sptls daemon is running"),
        ([ISSUING, None], 1, "the daemon no longer serves it"),
    ],
)
def test_daemon_that_changes_meanwhile_is_said(answers: list[Any], status: int, said: str) -> None:
    """
    No name is left without an end.
    """
    daemon = _Daemon(*answers)
    assert (status, True) == (daemon.follow(Tally(["a.example"])), said in daemon.said[0])


def test_interrupted_wait_leaves_the_daemon_at_work() -> None:
    """
    The shell hears of the interruption.
    """
    assert 130 == _Daemon(ISSUING, KeyboardInterrupt()).follow(Tally(["a.example"]))


def test_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The daemon goes on.
    """
    moments = iter([0.0, 1.0, 5.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    daemon = _Daemon(ISSUING)
    assert (1, True) == (daemon.follow(Tally(["a.example"]), 5), "no outcome in 5 s" in daemon.said[0])


def test_wait_is_longer_for_more_names() -> None:
    """
    Or as long as was said.
    """
    assert (905, 7) == (seconds_for(Tally(["a.example"]), None), seconds_for(Tally(["a.example"]), 7))
    assert 50_000 < seconds_for(Tally(f"{number}.example" for number in range(10_000)), None)
