"""
A worker's place has a process again and again: when the next one is started, and what is said of it.
"""

from __future__ import annotations

from typing import Any

import attrs

from sptls.workers.messages import Alive, Leaving, Message, Serving
from sptls.workers.place import Place
from sptls.workers.process import WorkerProcess
from tests.proxy.wire import logged
from tests.workers.played import PlayedReactor


@attrs.define
class Scene:
    """
    A place that is kept from now on, and what it told.
    """

    reactor: PlayedReactor = attrs.field(factory=PlayedReactor)
    started: list[WorkerProcess] = attrs.field(factory=list)
    told: list[Message] = attrs.field(factory=list)
    place: Place = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.place = Place(self.reactor, 1, self.started.append, lambda _, message: self.told.append(message))

    def keep(self) -> Scene:
        """
        Have a worker from now on.
        """
        self.place.keep((), (), 9)
        return self


def test_place_is_tried_when_its_worker_serves() -> None:
    """
    It is handed over as soon as it is there, and what it says too.
    """
    scene = Scene()
    assert ("ended", None) == (scene.place.row["state"], scene.place.row["pid"])
    scene.keep()
    (played,) = scene.reactor.processes
    assert ([scene.place.process], False) == (scene.started, scene.place.tried.called)
    with logged() as events:
        played.say(Alive(), Serving())
    assert ([Alive()], True, []) == (scene.told, scene.place.tried.called, events)


def test_worker_that_ends_again_and_again_is_started_ever_later() -> None:
    """
    At once the first time.
    """
    scene = Scene().keep()
    with logged() as events:
        scene.reactor.processes[0].end(number=9)
        scene.reactor.advance(0)
        scene.reactor.processes[1].end(status=1)
        scene.reactor.advance(0.9)
    assert [
        ("error", "worker 1 has ended: SIGKILL ended it; the next one is started now"),
        ("error", "worker 1 has ended: it ended with status 1; the next one is started in 1 s"),
    ] == events
    assert (2, True) == (len(scene.reactor.processes), scene.place.tried.called)
    scene.reactor.advance(0.1)
    assert (3, 2) == (len(scene.reactor.processes), scene.place.row["restarts"])


def test_worker_that_drains_has_a_successor_at_once() -> None:
    """
    Somebody sent it SIGTERM: who comes now finds another one. It has failed at nothing, however often.
    """
    scene = Scene().keep()
    for _ in range(3):
        with logged() as events:
            scene.reactor.processes[-1].say(Leaving())
            scene.reactor.advance(0)
        assert [("info", "worker 1 has ended: it was asked to drain; the next one is started now")] == events
    assert [False] * 4 == [process.has_ended for process in scene.reactor.processes]
    scene.reactor.processes[0].end()
    assert 4 == len(scene.reactor.processes)


def test_worker_that_served_for_a_while_has_failed_at_nothing() -> None:
    """
    Its successor is started at once, and said to serve.
    """
    scene = Scene().keep()
    with logged() as events:
        for _ in range(3):
            scene.reactor.processes[-1].say(Serving())
            scene.reactor.advance(20)
            scene.reactor.processes[-1].end(number=9)
            scene.reactor.advance(0)
    assert 4 == len(scene.reactor.processes)
    assert 2 == events.count(("info", "worker 1 serves again"))


def test_place_that_is_left_has_no_other_worker() -> None:
    """
    The one that is there goes on.
    """
    scene = Scene()
    scene.place.leave()
    scene.keep().place.leave()
    (played,) = scene.reactor.processes
    assert not played.has_ended
    played.end()
    scene.reactor.advance(60)
    assert 1 == len(scene.reactor.processes)


def test_fault_in_starting_a_worker_is_logged_and_the_start_tried_again() -> None:
    """
    No silence, and no worker less for ever.
    """
    scene = Scene()

    def odd(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    spawn, scene.reactor.spawnProcess = scene.reactor.spawnProcess, odd  # type: ignore[method-assign]
    with logged() as events:
        scene.keep()
    assert ["critical", "error"] == [level for level, _ in events]
    assert ("worker 1 could not be started", True) == (events[0][1], scene.place.tried.called)
    scene.reactor.spawnProcess = spawn  # type: ignore[method-assign]
    scene.reactor.advance(0)
    assert 1 == len(scene.reactor.processes)
