"""
All workers as the other parts see them: who is started, told and killed, and what they amount to.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from twisted.internet.defer import Deferred

from sptls.clock import wall_time
from sptls.config import Config, DomainConfig, HandshakeConfig, LimitsConfig, UpstreamConfig
from sptls.errors import StartError
from sptls.keeping import trust_roots
from sptls.names import HostName
from sptls.ops.traffic import Traffic
from sptls.startup import Bound
from sptls.tls.contexts import ContextCache
from sptls.tls.served import ServedCertificates
from sptls.workers.crew import ANSWER_SECONDS, END_SECONDS, Crew
from sptls.workers.descriptors import COUNTS, FIRST_SOCKET
from sptls.workers.messages import (
    Alive,
    Answer,
    Answers,
    Begin,
    CannotServe,
    Change,
    Close,
    Counted,
    Damaged,
    Done,
    Drain,
    Leaving,
    Message,
    Open,
    ReopenLogs,
    Said,
    Serve,
    Serving,
    Wanted,
)
from sptls.workers.silence import LOOK_SECONDS, Pulse
from tests.certs.stored import bundle_for, outcome
from tests.proxy.wire import logged
from tests.workers.examples import CHALLENGE, NAME, Posed
from tests.workers.played import PlayedProcess, PlayedReactor

OTHER = HostName("other.example.com")
BUNDLE = bundle_for(NAME)


@attrs.define
class Renewer:
    """
    Who is told what clients want.
    """

    wanted: list[HostName] = attrs.field(factory=list)
    told_damaged: list[tuple[HostName, str]] = attrs.field(factory=list)

    def want(self, name: HostName) -> None:
        """
        Keep *name*.
        """
        self.wanted.append(name)

    def damaged(self, name: HostName, error: object) -> None:
        """
        Keep what is wrong.
        """
        self.told_damaged.append((name, str(error)))


@attrs.define
class Scene:
    """
    Two workers of a configuration that has two names.
    """

    config: Config
    reactor: PlayedReactor = attrs.field(factory=PlayedReactor)
    renewer: Renewer = attrs.field(factory=Renewer)
    ending: AsyncExitStack = attrs.field(factory=AsyncExitStack)
    crew: Crew = attrs.field(init=False)
    served: ServedCertificates = attrs.field(init=False)
    bound: Bound = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.crew = Crew(self.reactor, self.config, trust_roots(self.config), 2)
        self.served = self.serve_new()
        sockets = [socket.socket() for _ in range(2)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        self.bound = Bound((sockets[0],), (sockets[1],), ())

    def serve_new(self) -> ServedCertificates:
        """
        Have other certificates served: none yet.
        """
        contexts = ContextCache("intermediate", 1, self.reactor.seconds)
        served = ServedCertificates(self.config.domains, None, contexts, wall_time, lambda _: None, lambda *_: None)
        renewer: Any = self.renewer
        self.crew.serve(served, renewer)
        return served

    def listen(self) -> Deferred[None]:
        """
        Start the workers.
        """
        self.crew.start(self.ending)
        return Deferred.fromCoroutine(self.crew.listen(self.bound))

    def serving(self) -> tuple[PlayedProcess, PlayedProcess]:
        """
        Start the workers, and give both when they serve, with nothing in their pipes.
        """
        listening = self.listen()
        one, other = self.reactor.processes
        for process in (one, other):
            process.say(Serving())
            process.heard()
        assert listening.called
        return one, other

    def heard(self) -> list[list[Message]]:
        """
        Give what each of those that run was told since the last call.
        """
        return [process.heard() for process in self.reactor.processes if not process.has_ended]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """
    Give a scene in which nothing was started.
    """
    config = Config(
        (DomainConfig(NAME), DomainConfig(OTHER)), state_dir=tmp_path, limits=LimitsConfig(connections=9), workers=2
    )
    made = Scene(config)
    yield made
    outcome(made.ending.aclose())
    made.bound.close()


def test_workers_are_told_everything_and_then_to_serve(scene: Scene) -> None:
    """
    The configuration first, with their share of it; the start is over when both serve.
    """
    until = wall_time() + timedelta(hours=1)
    scene.served.replace(NAME, BUNDLE)
    scene.served.fail(OTHER, until)
    listening = scene.listen()
    for told, connections in zip(scene.heard(), (5, 4), strict=True):
        begin, *rest = told
        assert isinstance(begin, Begin)
        assert connections == begin.config.limits.connections
        assert [Answers((Answer(NAME, BUNDLE), Answer(OTHER, None, until))), Serve()] == rest
    one, other = scene.reactor.processes
    one.say(Serving())
    assert (False, True) == (listening.called, scene.crew.is_serving)
    other.say(Serving())
    assert listening.called


def test_workers_count_addresses_together_where_they_are_limited(scene: Scene) -> None:
    """
    Each in a slab of its own; without a limit there is no such memory.
    """
    scene.serving()
    assert [COUNTS in process.descriptors for process in scene.reactor.processes] == [False] * 2
    limited = attrs.evolve(scene.config, limits=LimitsConfig(connections_per_address=1))
    other = Scene(limited)
    other.serving()
    (one, _), (memory, same) = zip(*map(_slab_of, other.reactor.processes), strict=True)
    assert ("0", memory) == (one, same)
    assert memory in {int(name) for name in os.listdir("/proc/self/fd")}
    outcome(other.ending.aclose())
    assert memory not in {int(name) for name in os.listdir("/proc/self/fd")}
    other.bound.close()


def _slab_of(process: PlayedProcess) -> tuple[str, int]:
    return process.args[-1], process.descriptors[COUNTS]


def test_worker_gets_its_sockets(scene: Scene) -> None:
    """
    Here both get the same, as there is one for each address.
    """
    scene.serving()
    sockets = [scene.bound.https[0].fileno(), scene.bound.http[0].fileno()]
    for process in scene.reactor.processes:
        assert sockets == [process.descriptors[FIRST_SOCKET + at] for at in range(2)]


def test_new_certificates_and_failures_are_told_to_all(scene: Scene) -> None:
    """
    Those of one turn together; what is no domain any more is not told.
    """
    scene.serving()
    scene.served.replace(NAME, BUNDLE)
    until = wall_time()
    scene.served.fail(OTHER, until)
    assert [[], []] == scene.heard()
    scene.reactor.advance(0)
    assert [[Answers((Answer(NAME, BUNDLE), Answer(OTHER, None, until)))]] * 2 == scene.heard()
    scene.served.set_domains(scene.config.domains[:1], None)
    scene.reactor.advance(0)
    assert [[], []] == scene.heard()


def test_other_certificates_are_told_in_the_place_of_those_before(scene: Scene) -> None:
    """
    After another process had the store for a while.
    """
    scene.serving()
    scene.served.replace(NAME, BUNDLE)
    scene.reactor.advance(0)
    scene.heard()
    served = scene.serve_new()
    served.replace(OTHER, bundle_for(OTHER))
    scene.reactor.advance(0)
    (told,), _ = scene.heard()
    assert isinstance(told, Answers)
    assert {(NAME, False), (OTHER, True)} == {(answer.name, answer.bundle is not None) for answer in told.answers}


def test_wishes_reach_the_renewer_and_events_the_log(scene: Scene) -> None:
    """
    Whichever worker has them.
    """
    one, other = scene.serving()
    one.say(Wanted((NAME,)))
    with logged() as events:
        other.say(Wanted((OTHER, NAME)), Said('{"level": "warn", "message": "odd"}'), Alive())
    assert ([NAME, OTHER, NAME], [("warn", "odd [worker 2]")]) == (scene.renewer.wanted, events)


def test_damaged_certificate_is_set_aside_once(scene: Scene) -> None:
    """
    Both workers find it; what came in its place stays.
    """
    one, other = scene.serving()
    scene.served.replace(NAME, BUNDLE)
    scene.reactor.advance(0)
    for process in (one, other):
        process.say(Damaged(NAME, BUNDLE.serial, "odd"))
    scene.served.replace(NAME, bundle_for(NAME))
    other.say(Damaged(NAME, BUNDLE.serial, "odd"))
    assert [(NAME, "odd")] == scene.renewer.told_damaged
    assert scene.served.bundle_for(NAME) is not None


def test_challenge_is_answered_when_all_answer_it(scene: Scene) -> None:
    """
    One that is started meanwhile too, before it serves; one that has died is waited for no more.
    """
    one, other = scene.serving()
    http01, _ = scene.crew.responders
    answering = http01.start_responding("click.example.com", Posed(), Posed())
    assert [[Open(1, CHALLENGE)]] * 2 == scene.heard()
    one.say(Done(1))
    assert not answering.called
    other.end(number=9)
    assert answering.called
    scene.reactor.advance(0)
    successor = scene.reactor.processes[2]
    assert [Begin, Open, Serve] == [type(message) for message in successor.heard()]
    http01.stop_responding("click.example.com", Posed(), Posed())
    assert [[Close(CHALLENGE)]] * 2 == scene.heard()


def test_worker_that_does_not_answer_is_replaced(scene: Scene) -> None:
    """
    An order does not hang by it.
    """
    one, other = scene.serving()
    answering = scene.crew.responders[0].start_responding("click.example.com", Posed(), Posed())
    one.say(Done(1))
    for _ in range(int(ANSWER_SECONDS / LOOK_SECONDS)):
        scene.reactor.advance(LOOK_SECONDS)
        other.say(Alive())
    assert (True, True, False) == (answering.called, other.has_ended, one.has_ended)
    scene.reactor.advance(0)
    assert 3 == len(scene.reactor.processes)


def test_worker_that_does_not_serve_yet_may_take_longer(scene: Scene) -> None:
    """
    Killing it would not make it quicker; nobody waits for it either.
    """
    scene.listen().addErrback(lambda _: None)
    answering = scene.crew.responders[0].start_responding("click.example.com", Posed(), Posed())
    scene.reactor.advance(ANSWER_SECONDS)
    assert (True, [False, False]) == (answering.called, [process.has_ended for process in scene.reactor.processes])


def test_all_go_over_to_another_configuration_before_they_hear_of_its_names(scene: Scene) -> None:
    """
    One that can't is replaced by one that begins with it.
    """
    one, other = scene.serving()
    new = attrs.evolve(scene.config, handshake=HandshakeConfig(3))
    scene.served.replace(NAME, BUNDLE)
    scene.crew.go_over(new)
    scene.reactor.advance(0)
    settling = Deferred.fromCoroutine(scene.crew.settled())
    for told in scene.heard():
        assert [Change, Answers] == [type(message) for message in told]
    one.say(Done(1))
    assert not settling.called
    other.say(Done(1, "it can't"))
    assert (True, True) == (settling.called, other.has_ended)
    scene.reactor.advance(0)
    begin, *_ = scene.reactor.processes[2].heard()
    assert isinstance(begin, Begin)
    assert 3 == begin.config.handshake.hold_seconds
    assert Deferred.fromCoroutine(scene.crew.settled()).called


def test_roots_of_upstreams_are_told(tmp_path: Path) -> None:
    """
    What was in their file when it was read, by who may read it.
    """
    roots = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(roots))
    scene = Scene(Config((DomainConfig(NAME, UpstreamConfig(trust=roots)),), state_dir=tmp_path))
    scene.listen()
    begin, *_ = scene.reactor.processes[0].heard()
    assert isinstance(begin, Begin)
    assert [(str(roots), 1)] == [(one.file, len(one.certificates)) for one in begin.roots]
    outcome(scene.ending.aclose())
    scene.bound.close()


def test_worker_that_died_is_back_at_once_and_its_counts_stay(scene: Scene) -> None:
    """
    What it had open is gone.
    """
    one, other = scene.serving()
    for process in (one, other):
        process.say(Counted(Traffic(2, {"accepted": 5, "open": 2}, {"requests": 4})))
    scene.reactor.advance(20)
    with logged() as events:
        one.end(number=9)
        scene.reactor.advance(0)
        successor = scene.reactor.processes[2]
        successor.say(Serving(), Counted(Traffic(1, {"accepted": 1, "open": 1}, {"requests": 1})))
    assert [
        ("error", "worker 1 has ended: SIGKILL ended it; the next one is started now"),
        ("info", "worker 1 serves again"),
    ] == events
    sections = scene.crew.traffic().sections
    assert ({"open": 3}, 11, 3, 9) == (
        sections["connections"],
        sections["tls"]["accepted"],
        sections["tls"]["open"],
        sections["http"]["requests"],
    )
    row, _ = scene.crew.rows
    assert {
        "number": 1,
        "pid": successor.pid,
        "state": "serving",
        "restarts": 1,
        "open": 1,
        "accepted": 1,
        "requests": 1,
    } == row


def test_start_fails_when_nobody_can_serve(scene: Scene) -> None:
    """
    Once each has tried; what they said is the reason.
    """
    listening = scene.listen()
    for process in tuple(scene.reactor.processes):
        process.say(CannotServe("the access log can't be opened"))
        process.end(1)
    failure: Any = listening.result
    assert failure.check(StartError)
    assert "no worker process could serve: the access log can't be opened" == failure.getErrorMessage()
    listening.addErrback(lambda _: None)


def test_start_is_over_when_one_serves_and_the_others_have_tried(scene: Scene) -> None:
    """
    Better half of it than nothing; the other one is tried again.
    """
    listening = scene.listen()
    one, other = scene.reactor.processes
    other.end(1)
    assert not listening.called
    one.say(Serving())
    assert listening.called


def test_system_that_starts_no_process_is_asked_again(scene: Scene) -> None:
    """
    It is short of memory now.
    """
    scene.reactor.refuses = True
    with logged() as events:
        listening = scene.listen()
    failure: Any = listening.result
    reason = f"no process can be started: Cannot allocate memory ({sys.executable})"
    assert f"no worker process could serve: {reason}" == failure.getErrorMessage().partition(";")[0]
    assert ("error", f"worker 1 has ended: {reason}") == (events[0][0], events[0][1].partition(";")[0])
    listening.addErrback(lambda _: None)
    scene.reactor.refuses = False
    scene.reactor.advance(0)
    assert 2 == len(scene.reactor.processes)


def test_worker_that_is_hung_is_killed_and_replaced(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Within four seconds; its successor has the same sockets, and who waits in their queues.
    """
    monkeypatch.setattr("sptls.workers.process.pulse_of", lambda _: Pulse("T", 1, 1, 1))
    one, other = scene.serving()
    for _ in range(4):
        other.say(Alive())
        scene.reactor.advance(LOOK_SECONDS)
    scene.reactor.advance(0)
    assert (True, False, 3) == (one.has_ended, other.has_ended, len(scene.reactor.processes))
    successor = scene.reactor.processes[2]
    assert [one.descriptors[FIRST_SOCKET + at] for at in range(2)] == [
        successor.descriptors[FIRST_SOCKET + at] for at in range(2)
    ]


def test_starved_worker_that_does_not_answer_is_left_alone(scene: Scene) -> None:
    """
    It will do what it was asked when it gets to run; an order does not wait for it either.
    """
    one, other = scene.serving()
    answering = scene.crew.responders[0].start_responding("click.example.com", Posed(), Posed())
    one.say(Done(1))
    for _ in range(10):
        one.say(Alive())
        scene.reactor.advance(LOOK_SECONDS)
    assert (True, False) == (answering.called, other.has_ended)


def test_worker_that_the_system_does_not_end_does_not_keep_the_daemon(scene: Scene) -> None:
    """
    It waits for a disk: it is killed, and left to the system.
    """
    one, other = scene.serving()
    other.is_stuck = True
    draining = Deferred.fromCoroutine(scene.crew.drain())
    one.end()
    scene.reactor.advance(END_SECONDS)
    assert (["KILL"], False) == (other.signals, draining.called)
    scene.reactor.advance(1)
    assert draining.called
    scene.crew._processes.clear()  # the system has come to it


def test_wishes_are_told_again(scene: Scene) -> None:
    """
    To a renewer that had not begun, or that comes in the place of another; but not what has an answer by now.
    """
    one, _ = scene.serving()
    one.say(Wanted((NAME, OTHER)))
    scene.crew.want_again()
    assert [NAME, OTHER] * 2 == scene.renewer.wanted
    scene.served.replace(NAME, BUNDLE)
    scene.serve_new()
    assert [OTHER] == scene.renewer.wanted[4:]


def test_wish_that_fails_at_once_is_answered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While it is told again.
    """
    one, _ = scene.serving()
    one.say(Wanted((NAME, OTHER)))
    monkeypatch.setattr(Renewer, "want", lambda _, name: scene.served.fail(name, wall_time()))
    scene.crew.want_again()
    scene.reactor.advance(0)
    monkeypatch.undo()
    scene.crew.want_again()
    assert [NAME, OTHER] == scene.renewer.wanted


def test_new_certificates_wait_for_room(scene: Scene) -> None:
    """
    10,000 of them are not put into memory once for each worker.
    """
    scene.served.replace(NAME, BUNDLE)
    spawn, scene.reactor.spawnProcess = scene.reactor.spawnProcess, None  # type: ignore[method-assign, assignment]

    def full(protocol: Any, *args: Any, **kwargs: Any) -> Any:
        process = spawn(protocol, *args, **kwargs)
        process.pipe.producer.pauseProducing()
        return process

    scene.reactor.spawnProcess = full  # type: ignore[method-assign]
    scene.listen()
    one, _ = scene.reactor.processes
    assert [Begin] == [type(message) for message in one.heard()]
    one.pipe.producer.resumeProducing()
    assert [Answers, Serve] == [type(message) for message in one.heard()]


def test_logs_are_reopened_by_all(scene: Scene) -> None:
    """
    For log rotation.
    """
    scene.serving()
    scene.crew.reopen_logs()
    assert [[ReopenLogs()]] * 2 == scene.heard()


def test_drain_waits_for_all_and_kills_who_does_not_end(scene: Scene) -> None:
    """
    Nobody new is accepted, nor started.
    """
    one, other = scene.serving()
    draining = Deferred.fromCoroutine(scene.crew.drain())
    assert [[Drain()]] * 2 == scene.heard()
    assert (False, -1) == (scene.crew.is_serving, scene.bound.https[0].fileno())
    one.say(Leaving())
    one.end()
    scene.reactor.advance(END_SECONDS - 0.1)
    assert (False, False) == (draining.called, other.has_ended)
    scene.reactor.advance(0.1)
    assert (True, True, 2) == (draining.called, other.has_ended, len(scene.reactor.processes))


def test_who_is_held_gets_a_certificate_that_comes_during_the_drain(scene: Scene) -> None:
    """
    Workers that finish are told of certificates still; nothing else is asked of them.
    """
    one, other = scene.serving()
    draining = Deferred.fromCoroutine(scene.crew.drain())
    one.say(Leaving())
    other.say(Leaving())
    scene.heard()
    scene.served.replace(NAME, BUNDLE)
    scene.crew.reopen_logs()
    scene.reactor.advance(0)
    assert [[Answers((Answer(NAME, BUNDLE),))]] * 2 == scene.heard()
    for process in scene.reactor.processes:
        process.end()
    assert draining.called


def test_who_waits_at_a_shared_socket_is_left_to_others(scene: Scene) -> None:
    """
    A successor, or systemd, has it too.
    """
    scene.serving()
    scene.bound.share(frozenset(scene.bound.http))
    draining = Deferred.fromCoroutine(scene.crew.drain())
    assert [[Drain((1,))]] * 2 == scene.heard()
    for process in scene.reactor.processes:
        process.end()
    assert draining.called


def test_worker_that_cannot_be_told_is_replaced(scene: Scene) -> None:
    """
    A fault of ours, perhaps; the log has it.
    """
    scene.served.settled_names = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with logged() as events:
        scene.listen().addErrback(lambda _: None)
    assert "worker 1 could not be told what to serve" in [text for _, text in events]
    assert [True] * 2 == [process.has_ended for process in scene.reactor.processes[:2]]


def test_status_has_its_keys_before_anything_was_counted(scene: Scene) -> None:
    """
    A monitor that asks early finds noughts.
    """
    sections = scene.crew.traffic().sections
    assert (0, 0) == (sections["tls"]["holding"], sections["http"]["answers"]["5xx"])


def test_drain_does_not_wait_for_a_worker_without_clients(scene: Scene) -> None:
    """
    One that has just been started is killed.
    """
    scene.listen().addErrback(lambda _: None)
    draining = Deferred.fromCoroutine(scene.crew.drain())
    assert (True, [True] * 2) == (draining.called, [process.has_ended for process in scene.reactor.processes])
