"""
What a worker does with what its parent says, and what it says itself.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.defer import Deferred, execute
from twisted.internet.testing import StringTransport

from sptls.clock import wall_time
from sptls.config import Config, DomainConfig, HandshakeConfig, LogConfig, TlsConfig, UpstreamConfig
from sptls.interfaces import Hold, Refuse
from sptls.names import HostName
from sptls.startup import Bound
from sptls.tls.contexts import ServerContext
from sptls.workers.frames import Frames, framed
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
    Roots,
    Said,
    Serve,
    Serving,
    Wanted,
    decode,
    encode,
)
from sptls.workers.worker import ORPHAN_SECONDS, TELL_SECONDS, Worker
from tests.certs.stored import bundle_for
from tests.doubles import InlineReactor
from tests.proxy.wire import logged
from tests.workers.examples import ALPN_CHALLENGE, CHALLENGE, NAME

OTHER = HostName("other.example.com")


class Pipes(StringTransport):
    """
    A worker's pipes in memory.
    """

    def heard(self) -> list[Message]:
        """
        Give what the worker has said since the last call.
        """
        said = [decode(text) for text in Frames().feed(self.value())]  # type: ignore[no-untyped-call]
        self.clear()  # type: ignore[no-untyped-call]
        return said


@attrs.define
class Scene:
    """
    A worker and its parent's end of the pipes.
    """

    config: Config
    reactor: InlineReactor = attrs.field(factory=InlineReactor)
    pipes: Pipes = attrs.field(factory=Pipes)
    worker: Worker = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.worker = Worker(self.reactor, Bound((), (), ()))
        self.worker.makeConnection(self.pipes)  # type: ignore[no-untyped-call]

    def tell(self, *messages: Message) -> list[Message]:
        """
        Say *messages*, and give what is said to them.
        """
        self.worker.dataReceived(b"".join(framed(encode(message)) for message in messages))
        return self.pipes.heard()

    def answer(self, name: HostName = NAME) -> object:
        """
        Give what a hello for *name* gets.
        """
        return self.worker._parts.served.answer(name.wire)

    def end(self) -> list[Message]:
        """
        Have the worker drain and end.
        """
        said = self.tell(Drain())
        for _ in range(20):  # the access log is written by a thread
            self.reactor.advance(1)
            said += self.pipes.heard()
            if self.reactor.stops:
                break
        return said


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """
    Give a worker that was told nothing.
    """
    return Scene(Config((DomainConfig(NAME),), state_dir=tmp_path, handshake=HandshakeConfig(9)))


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """
    Undo what a worker does to the garbage collector.
    """
    yield
    gc.unfreeze()
    gc.enable()


def test_it_serves_what_it_was_told_once_it_was_told_all(scene: Scene) -> None:
    """
    A certificate, a failure until its end, and a wait for the rest.
    """
    failing = Answer(NAME, None, wall_time() + timedelta(hours=1))
    assert [] == scene.tell(Begin(scene.config))
    assert Hold(NAME) == scene.answer()
    scene.tell(Answers((failing,)))
    assert isinstance(scene.answer(), Refuse)
    scene.tell(Answers((Answer(NAME, bundle_for(NAME, wall_time(), wall_time() + timedelta(days=1))),)))
    assert isinstance(scene.answer(), ServerContext)
    assert [Serving, Counted] == [type(message) for message in scene.tell(Serve())]
    scene.end()


def test_answer_that_is_told_twice_costs_nothing_and_one_that_is_withdrawn_is_gone(scene: Scene) -> None:
    """
    The context stays the same until there is another certificate.
    """
    told = Answers((Answer(NAME, bundle_for(NAME)), Answer(OTHER, bundle_for(OTHER))))
    scene.tell(Begin(scene.config), told)
    context = scene.answer()
    scene.tell(told)
    assert context is scene.answer()
    scene.tell(Answers((Answer(NAME),)))
    assert Hold(NAME) == scene.answer()
    assert isinstance(scene.answer(OTHER), Refuse)  # not configured


def test_wish_is_told_once_however_many_wait(scene: Scene) -> None:
    """
    At the end of the turn.
    """
    scene.tell(Begin(scene.config))
    for _ in range(3):
        scene.worker._parts.served.want(NAME)
    scene.reactor.advance(0)
    assert [Wanted((NAME,))] == scene.pipes.heard()
    scene.worker._parts.served.want(NAME)
    scene.reactor.advance(0)
    assert [Wanted((NAME,))] == scene.pipes.heard()


def test_certificate_that_cannot_be_served_is_told_of(scene: Scene) -> None:
    """
    With its serial number: the parent may have a newer one by then.
    """
    bundle = attrs.evolve(bundle_for(NAME), key=bundle_for(NAME).key)
    scene.tell(Begin(scene.config), Answers((Answer(NAME, bundle),)))
    scene.answer()
    (damaged,) = scene.pipes.heard()
    assert isinstance(damaged, Damaged)
    assert (NAME, bundle.serial) == (damaged.name, damaged.serial)


def test_challenges_are_answered_from_open_to_close(scene: Scene) -> None:
    """
    Those of both types.
    """
    done = scene.tell(Begin(scene.config), Open(5, CHALLENGE), Open(6, ALPN_CHALLENGE))
    worker, gateway = scene.worker, scene.worker._parts.serving.gateway
    assert [Done(5), Done(6)] == done
    assert ({"token": "token.thumbprint"}, True) == (
        dict(gateway.tokens),
        worker._alpn01.alpn_context(NAME.wire) is not None,
    )
    scene.tell(Close(CHALLENGE), Close(ALPN_CHALLENGE))
    assert ({}, None) == (dict(gateway.tokens), worker._alpn01.alpn_context(NAME.wire))


def test_change_is_gone_over_to_and_said(scene: Scene) -> None:
    """
    Names, policy, the wait, upstreams and their roots.
    """
    roots = load_pem_x509_certificate(trustme.CA().cert_pem.bytes()).public_bytes(Encoding.DER)
    upstream = UpstreamConfig(host="192.0.2.1", trust=Path("/roots.pem"))
    new = attrs.evolve(
        scene.config,
        domains=(DomainConfig(OTHER, upstream),),
        tls=TlsConfig("modern"),
        handshake=HandshakeConfig(3),
    )
    scene.tell(Begin(scene.config))
    assert [Done(7)] == scene.tell(Change(7, new, (Roots("/roots.pem", (roots,)),)))
    parts = scene.worker._parts
    assert (Hold(OTHER), True) == (scene.answer(OTHER), isinstance(scene.answer(), Refuse))
    assert (3, "modern") == (parts.serving.tls.hold_deadline.seconds, parts.contexts._policy)
    assert scene.worker._trust[Path("/roots.pem")] is not None
    assert [Done(8)] == scene.tell(Change(8, scene.config))


def test_long_message_is_read_in_a_thread_and_keeps_its_turn(scene: Scene) -> None:
    """
    A hundred thousand domains take half a second; what is said behind them waits, clients do not.
    """
    reading: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def in_thread(work: Callable[[], Any], /) -> Deferred[Any]:
        reading.append((work, Deferred()))
        return reading[-1][1]

    scene.worker._in_thread = in_thread
    domains = tuple(DomainConfig(HostName(f"{at}.a-rather-long-name.example")) for at in range(10_000))
    scene.tell(Begin(scene.config))
    assert [] == scene.tell(Change(1, attrs.evolve(scene.config, domains=domains)), Change(2, scene.config))
    ((work, read),) = reading
    read.callback(work())
    assert [Done(1), Done(2)] == scene.pipes.heard()


def test_long_nonsense_is_refused(scene: Scene) -> None:
    """
    As soon as it is read.
    """
    scene.worker._in_thread = execute
    scene.worker.dataReceived(framed(b"x" * 300_000))
    assert [CannotServe, Leaving] == [type(message) for message in scene.pipes.heard()]


def test_change_that_fails_is_said(scene: Scene) -> None:
    """
    The parent starts another worker then; until it does, this one serves.
    """
    scene.tell(Begin(scene.config))
    with logged() as events:
        (done,) = scene.tell(Change(7, scene.config, (Roots("/roots.pem", (b"no certificate",)),)))
    assert isinstance(done, Done)
    assert (7, "it could not do what it was asked (ValueError)") == (done.turn, done.problem)
    assert ["critical"] == [level for level, _ in events]


def test_it_says_that_it_lives_and_what_it_counted(scene: Scene) -> None:
    """
    Every second; nothing was counted before it was told what to serve.
    """
    scene.reactor.advance(TELL_SECONDS)
    assert [Alive()] == scene.pipes.heard()
    scene.tell(Begin(scene.config))
    scene.worker._parts.serving.gateway.counters.requests = 3
    scene.reactor.advance(TELL_SECONDS)
    (counted,) = scene.pipes.heard()
    assert isinstance(counted, Counted)
    assert 3 == counted.traffic.http["requests"]


def test_long_report_is_told_less_often(scene: Scene) -> None:
    """
    Of a thousand upstreams: it never costs more than 64 KB a second.
    """
    domains = tuple(
        DomainConfig(HostName(f"{at}.example"), UpstreamConfig(host=f"{at}.upstream.example")) for at in range(1000)
    )
    scene.worker._in_thread = execute
    scene.tell(Begin(attrs.evolve(scene.config, domains=domains)))
    scene.worker._parts.serving.upstreams.serve(domain.upstream for domain in domains)
    said: list[type] = []
    for _ in range(4):
        scene.reactor.advance(TELL_SECONDS)
        said += [type(message) for message in scene.pipes.heard()]
    assert [Counted, Alive, Counted, Alive] == said


def test_parent_that_takes_nothing_gets_no_more_than_it_must(scene: Scene) -> None:
    """
    What is lost of the log is said later.
    """
    scene.worker.say("one")
    assert [Said("one")] == scene.pipes.heard()
    scene.worker.pauseProducing()
    scene.worker.say("lost")
    scene.reactor.advance(TELL_SECONDS)
    assert [] == scene.pipes.heard()
    scene.worker.resumeProducing()
    with logged() as events:
        scene.reactor.advance(TELL_SECONDS)
    assert [("warn", "1 lines of this log were lost: the parent process did not take them")] == events
    scene.worker.stopProducing()
    scene.worker.say("lost")
    assert 1 == scene.worker.lost_lines


def test_it_ends_when_it_is_told_to(scene: Scene) -> None:
    """
    Its last words are what it counted.
    """
    scene.tell(Begin(scene.config), Serve(), ReopenLogs())
    said = scene.end()
    assert (Leaving(), Counted) == (said[0], type(said[-1]))
    assert (True, 1) == (scene.pipes.disconnecting, scene.reactor.stops)
    scene.worker.leave()
    assert [] == scene.pipes.heard()


def test_it_ends_when_its_parent_is_gone(scene: Scene) -> None:
    """
    Briefly: what runs is finished, and the addresses are free for a successor.
    """
    scene.tell(Begin(scene.config), Serve())
    scene.worker.connectionLost()
    for _ in range(20):
        scene.reactor.advance(1)
        if scene.reactor.stops:
            break
    assert (1, []) == (scene.reactor.stops, scene.pipes.heard())
    assert ORPHAN_SECONDS < 5


def test_pipe_that_closes_behind_the_last_words_ends_it_at_once(scene: Scene) -> None:
    """
    Nobody waits for nothing.
    """
    scene.tell(Drain())
    scene.worker.connectionLost()
    assert 1 == scene.reactor.stops


@pytest.mark.parametrize("message", [Serve(), ReopenLogs(), Answers((Answer(NAME),))])
def test_what_comes_before_begin_is_refused(scene: Scene, message: Message) -> None:
    """
    A parent of another version, perhaps: it is told why, and the worker ends.
    """
    first, *_ = scene.tell(message)
    assert isinstance(first, CannotServe)
    assert "Begin" in first.reason


def test_nonsense_is_refused(scene: Scene) -> None:
    """
    Nothing can be read after it.
    """
    scene.worker.dataReceived(b"\x00\x00\x00\x02{}")
    first, second = scene.pipes.heard()
    assert (CannotServe, Leaving) == (type(first), type(second))


def test_access_log_that_cannot_be_opened_is_said(scene: Scene, tmp_path: Path) -> None:
    """
    As a daemon of one process says it.
    """
    (first, *_) = scene.tell(Begin(attrs.evolve(scene.config, log=LogConfig(str(tmp_path / "none" / "log")))), Serve())
    assert isinstance(first, CannotServe)
    assert "the access log" in first.reason


def test_end_that_fails_is_logged(scene: Scene) -> None:
    """
    And is an end all the same.
    """
    scene.worker._ending.callback(lambda: 1 / 0)
    with logged() as events:
        scene.end()
    assert (["critical"], 1) == ([level for level, _ in events], scene.reactor.stops)


def test_moments_are_aware(scene: Scene) -> None:
    """
    A failure that is over is a wait again.
    """
    past: datetime = wall_time() - timedelta(seconds=1)
    scene.tell(Begin(scene.config), Answers((Answer(NAME, None, past),)))
    assert Hold(NAME) == scene.answer()
