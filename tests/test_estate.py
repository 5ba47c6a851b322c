"""
Tests for `sptls.estate`: what is shared with whom, on a real lock and real sockets; the parts are played.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from sptls.certs.bundle import CertificateBundle
from sptls.certs.lock import StateLock
from sptls.certs.records import NO_HISTORY
from sptls.certs.store_file import StoreFile
from sptls.config import Config, DomainConfig
from sptls.estate import DaemonEstate
from sptls.names import HostName
from sptls.startup import Bound
from sptls.successor import Estate
from tests.certs.authority import NOW
from tests.certs.stored import outcome, stored
from tests.doubles import InlineReactor
from tests.proxy.wire import logged


@attrs.define
class Played:
    """
    Parts, their front, what is served, and the control socket: all of them note what is asked.
    """

    config: Config
    calls: list[str] = attrs.field(factory=list)
    is_serving: bool = True
    bundles: dict[HostName, CertificateBundle] = attrs.field(factory=dict)

    @property
    def front(self) -> Played:
        """
        Give itself.
        """
        return self

    keeping = served = control_socket = front

    def bundle_for(self, name: HostName) -> CertificateBundle | None:
        """
        Give what is served.
        """
        return self.bundles.get(name)

    def replace(self, name: HostName, bundle: CertificateBundle) -> None:
        """
        Serve it.
        """
        self.bundles[name] = bundle

    def leave(self) -> None:
        """
        Note it.
        """
        self.calls.append("leave")

    def leave_admin(self) -> None:
        """
        Note it.
        """
        self.calls.append("leave admin")

    async def pause(self) -> None:
        """
        Note it.
        """
        self.calls.append("pause")

    async def go_on(self) -> None:
        """
        Note it.
        """
        self.calls.append("go on")


class PlayedReloading:
    """
    A reloading that notes what is asked.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        """
        Note it.
        """
        self.calls.append("pause")

    def go_on(self) -> None:
        """
        Note it.
        """
        self.calls.append("go on")


class Scene:
    """
    An estate with two sockets, one of them kept.
    """

    def __init__(self, state_dir: Path, *, is_daemon: bool = True) -> None:
        self.reactor, self.lock = InlineReactor(), StateLock(state_dir)
        self.lock.acquire()
        self.https, self.http = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.bound = Bound((self.https,), (self.http,), (), frozenset({self.https}))
        name = stored().name
        self.played = Played(
            Config(domains=(DomainConfig(name), DomainConfig(HostName("b.example"))), state_dir=state_dir)
        )
        self.reloading = PlayedReloading()
        parts: Any = self.played
        reloading: Any = self.reloading if is_daemon else None
        self.estate = DaemonEstate(self.reactor, parts, self.lock, self.bound, reloading)

    def close(self) -> None:
        """
        Leave nothing.
        """
        self.bound.close()
        self.lock.release()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene(tmp_path)
    yield scene
    scene.close()
    gc.unfreeze()


def test_daemon_can_be_taken_over(scene: Scene) -> None:
    """
    Also where its workers are all down: a new process is what an operator tries then.
    """
    estate: Estate = scene.estate
    assert "" == estate.why_not()
    scene.played.is_serving = False
    assert "" == estate.why_not()


def test_command_can_not(tmp_path: Path) -> None:
    """
    It ends by itself, like the demo.
    """
    scene = Scene(tmp_path, is_daemon=False)
    assert "ends by itself" in scene.estate.why_not()
    outcome(scene.estate.pause())
    outcome(scene.estate.go_on())
    assert ["pause", "go on"] == scene.played.calls
    scene.close()
    gc.unfreeze()


def test_what_is_handed_over_is_shared(scene: Scene) -> None:
    """
    All sockets that are open, and the lock.
    """
    outcome(scene.estate.pause())
    assert (["pause"], ["pause"]) == (scene.played.calls, scene.reloading.calls)
    assert [(scene.https.fileno(), True), (scene.http.fileno(), False)] == scene.estate.hand_over()
    assert scene.lock.fileno() == scene.estate.lock_descriptor()
    assert scene.lock.is_shared
    assert {scene.https, scene.http} == scene.bound.shared


def test_socket_that_is_closed_is_not_handed_over(scene: Scene) -> None:
    """
    Nobody listens there any more.
    """
    scene.http.close()
    assert [(scene.https.fileno(), True)] == scene.estate.hand_over()


def test_going_on_shares_nothing(scene: Scene, tmp_path: Path) -> None:
    """
    Only what a supervisor keeps; the lock's file has our number again.
    """
    scene.estate.hand_over()
    scene.estate.lock_descriptor()
    (tmp_path / "lock").write_text("1\n")
    outcome(scene.estate.go_on())
    assert not scene.lock.is_shared
    assert {scene.https} == scene.bound.shared
    assert "1\n" != (tmp_path / "lock").read_text()
    assert (["go on"], ["go on"]) == (scene.played.calls, scene.reloading.calls)


def test_giving_way_leaves_what_was_taken(scene: Scene) -> None:
    """
    Who waits at a socket that was not taken is still ours; the process ends.
    """
    scene.estate.hand_over()
    scene.estate.give_way(frozenset({1}))
    assert ["leave", "leave admin"] == scene.played.calls
    assert {scene.https, scene.http} == scene.bound.shared
    scene.estate.give_way(frozenset())
    assert {scene.https} == scene.bound.shared
    assert 2 == scene.reactor.stops


def _draining(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Give way, with looks at the store made at once.
    """
    monkeypatch.setattr("sptls.threads.Thread", _Inline)
    scene.estate.hand_over()
    scene.estate.give_way(frozenset({0, 1}))


class _Inline:
    """
    A thread that is the caller's.
    """

    def __init__(self, *, target: Any, **_: Any) -> None:
        self.start = target


def test_certificate_that_the_other_process_obtains_is_served(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A client that waits for it here may have come before the other process.
    """
    store = StoreFile(tmp_path / "store.db", lambda: NOW)
    store.open()
    _draining(scene, monkeypatch)
    scene.reactor.advance(0.5)
    assert {} == scene.played.bundles
    store.put_certificate(stored(), NO_HISTORY)
    scene.reactor.pump([0.5] * 30)
    assert {stored().name: stored().bundle} == scene.played.bundles
    assert [] == scene.reactor.getDelayedCalls()
    store.close()


def test_looking_ends_when_everything_is_there(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The store is left alone then.
    """
    scene.played.config = attrs.evolve(scene.played.config, domains=(DomainConfig(stored().name),))
    store = StoreFile(tmp_path / "store.db", lambda: NOW)
    store.put_certificate(stored(), NO_HISTORY)
    store.close()
    _draining(scene, monkeypatch)
    scene.reactor.advance(0.5)
    assert [] == scene.reactor.getDelayedCalls()


def test_store_that_can_not_be_read_is_said_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A newer process may have brought it up to date.
    """
    _draining(scene, monkeypatch)
    with logged() as events:
        scene.reactor.pump([0.5] * 30)
    assert 1 == len(events)
    assert "can't be read" in events[0][1]
