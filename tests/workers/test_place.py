"""
A worker's place has a process again and again: when the next one is started, and what is said of it.
"""

from __future__ import annotations

from typing import Any

import attrs

from sptls.shared_counts import Layout
from sptls.workers.counts_memory import CountsMemory
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


def test_worker_that_serves_and_is_killed_is_back_at_once() -> None:
    """
    Three times in a row; then somebody had better look, and it is started ever later.
    """
    scene = Scene().keep()
    with logged() as events:
        for _ in range(4):
            scene.reactor.processes[-1].say(Serving())
            scene.reactor.advance(1)
            scene.reactor.processes[-1].end(number=9)
            scene.reactor.advance(0)
    ends = [text.rpartition("is started ")[2] for level, text in events if level == "error"]
    assert ["now", "now", "now", "in 1 s"] == ends
    assert 4 == len(scene.reactor.processes)


def test_system_that_starts_no_process_is_asked_ever_later() -> None:
    """
    It is short of processes or memory (EAGAIN, ENOMEM): at once, then after 1, 2, 4, ... 30 s, and each time it is said
    what to do. When it can again, the place has its worker.
    """
    scene = Scene()
    scene.reactor.refuses = True
    pauses = ["now", "in 1 s", "in 2 s", "in 4 s", "in 8 s", "in 16 s", "in 30 s", "in 30 s"]
    with logged() as events:
        scene.keep()
        for seconds in (0, 1, 2, 4, 8, 16, 30):
            scene.reactor.advance(seconds)
    said = "worker 1 has ended: no process can be started: Cannot allocate memory"
    assert [("error", said)] * 8 == [(level, text.partition(" (")[0]) for level, text in events]
    assert pauses == [text.rpartition("is started ")[2] for _, text in events]
    assert all("TasksMax=" in text for _, text in events)
    assert (True, []) == (scene.place.tried.called, scene.reactor.processes)
    scene.reactor.refuses = False
    scene.reactor.advance(30)
    assert (1, "starting") == (len(scene.reactor.processes), scene.place.row["state"])


def test_python_that_can_not_be_run_is_said() -> None:
    """
    The user that serves (--uid) may not be allowed to.
    """
    scene = Scene()

    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    scene.reactor.spawnProcess = forbidden  # type: ignore[method-assign]
    with logged() as events:
        scene.keep()
    assert "Permission denied" in events[0][1]
    assert "the user that serves must be able to run Python" in events[0][1]


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


def test_each_process_has_a_slab_of_the_counts_until_it_has_ended() -> None:
    """
    One that drains beside its successor too; one that can't be started needs none.
    """
    counts = CountsMemory(Layout(2, 1))
    scene = Scene()
    scene.reactor.refuses = True
    scene.place.keep((), (), 9, counts)
    scene.reactor.refuses = False
    scene.reactor.advance(0)
    first = scene.reactor.processes[0]
    first.say(Leaving())
    scene.reactor.advance(0)
    first.end()
    scene.reactor.processes[1].end(number=9)
    for _ in range(2):
        scene.reactor.advance(1)
    slabs = [process.args[-1] for process in scene.reactor.processes]
    assert ["1", "0", "1"] == slabs
    scene.place.leave()
    counts.close()
