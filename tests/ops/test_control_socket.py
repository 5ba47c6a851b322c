"""
Tests for `sptls.ops.control_socket`: a real socket, served by a reactor in memory whose turns the test takes.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sptls.ops.control import control_site
from sptls.ops.control_address import CONTROL_SOCKET
from sptls.ops.control_socket import ControlSocket
from tests.doubles import InlineReactor
from tests.ops.web import FakeControls
from tests.proxy.wire import logged


def _made(directory: Path, reactor: InlineReactor) -> ControlSocket:
    return ControlSocket(reactor, directory, control_site(Clock(), FakeControls()))


def _stop(control: ControlSocket, reactor: InlineReactor) -> None:
    stopping = Deferred.fromCoroutine(control.stop())
    reactor.advance(1)
    assert None is stopping.result


@contextmanager
def _listening(directory: Path) -> Iterator[Path]:
    """
    Listen in *directory* until the end of the block; gives the socket's path.
    """
    reactor = InlineReactor()
    control = _made(directory, reactor)
    control.start()
    try:
        yield directory / CONTROL_SOCKET
    finally:
        _stop(control, reactor)


def _connect(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(path))


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_socket_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    """
    Its mode is 0600 whatever the umask.
    """
    before = os.umask(umask)
    try:
        with _listening(tmp_path) as path:
            assert stat.S_IFSOCK | 0o600 == path.stat().st_mode
            _connect(path)
    finally:
        os.umask(before)


def test_socket_is_private_before_twisted_sets_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With the widest umask there is no moment in which others could connect.
    """
    seen: list[int] = []
    monkeypatch.setattr(os, "chmod", lambda path, _mode: seen.append(stat.S_IMODE(os.stat(path).st_mode)))
    before = os.umask(0)
    try:
        with _listening(tmp_path):
            pass
    finally:
        os.umask(before)
    assert [0o600] == seen


def test_socket_goes_with_the_daemon(tmp_path: Path) -> None:
    """
    In the end nothing is left.
    """
    with _listening(tmp_path):
        pass
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["socket", "file", "link"])
def test_what_a_killed_process_left_is_replaced(tmp_path: Path, kind: str) -> None:
    """
    Nobody listens on it; a link is not followed.
    """
    path, other = tmp_path / CONTROL_SOCKET, tmp_path / "other"
    other.write_text("kept")
    if kind == "socket":
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(path))
    elif kind == "file":
        path.write_text("")
    else:
        path.symlink_to(other)
    with _listening(tmp_path):
        _connect(path)
    assert "kept" == other.read_text()


def test_path_too_long_for_an_address_is_no_hindrance(tmp_path: Path) -> None:
    """
    State directories lie as deep as they lie.
    """
    directory = tmp_path / ("d" * 200)
    directory.mkdir()
    with _listening(directory) as path:
        assert path.is_socket()
    assert [] == list(directory.iterdir())


@pytest.mark.parametrize("depth", [1, 200])
def test_log_names_the_place_where_it_stays(tmp_path: Path, depth: int) -> None:
    """
    Whatever way led there, at the start and in the end.
    """
    directory = tmp_path / ("d" * depth)
    directory.mkdir()
    with logged() as events, _listening(directory) as path:
        pass
    said = [text for _, text in events if CONTROL_SOCKET in text]
    assert [f"QuietSite starting on '{path}'", f"(UNIX Port {path} Closed)"] == said


@pytest.mark.parametrize("hindrance", ["directory", "nothing"])
def test_socket_that_cannot_be_made_is_said_and_no_more(tmp_path: Path, hindrance: str) -> None:
    """
    The daemon serves all the same; the log says what is missing, why, and what to do.
    """
    if hindrance == "directory":
        (tmp_path / CONTROL_SOCKET).mkdir()
    directory = tmp_path if hindrance == "directory" else tmp_path / "gone"
    reactor = InlineReactor()
    control = _made(directory, reactor)
    with logged() as events:
        control.start()
    ((level, text),) = [event for event in events if event[0] != "info"]
    assert ("warn", True) == (level, text.startswith("commands can't reach this daemon"))
    assert str(directory / CONTROL_SOCKET) in text
    _stop(control, reactor)


def test_socket_that_somebody_removed_does_not_disturb_the_end(tmp_path: Path) -> None:
    """
    A cleaner of old files may have been there.
    """
    with _listening(tmp_path) as path:
        path.unlink()
    assert [] == list(tmp_path.iterdir())


def _inode(path: Path) -> int:
    return path.stat().st_ino


def test_socket_of_a_process_that_is_taken_over_is_replaced(tmp_path: Path) -> None:
    """
    There is one at every moment; the old process leaves the new one's alone when it ends.
    """
    path, reactor = tmp_path / CONTROL_SOCKET, InlineReactor()
    old, new = _made(tmp_path, reactor), _made(tmp_path, reactor)
    old.start()
    before = _inode(path)
    old.leave()
    new.start()
    assert before != _inode(path)
    _stop(old, reactor)
    _connect(path)
    assert [path] == list(tmp_path.iterdir())
    _stop(new, reactor)
    assert [] == list(tmp_path.iterdir())


def test_socket_of_the_next_process_is_left_alone(tmp_path: Path) -> None:
    """
    Also by one that was not told that it is taken over from, since it was ended meanwhile.
    """
    path, reactor = tmp_path / CONTROL_SOCKET, InlineReactor()
    old, new = _made(tmp_path, reactor), _made(tmp_path, reactor)
    old.start()
    new.start()
    _stop(old, reactor)
    _connect(path)
    _stop(new, reactor)
    assert [] == list(tmp_path.iterdir())


def test_another_site_answers_from_now_on(tmp_path: Path) -> None:
    """
    What keeps certificates may be other parts than when the socket was made.
    """
    reactor = InlineReactor()
    control, site = _made(tmp_path, reactor), control_site(Clock(), FakeControls())
    control.answer_by(control_site(Clock(), FakeControls()))
    control.leave()
    control.start()
    control.answer_by(site)
    assert control._port is not None
    assert site is control._port.factory
    _stop(control, reactor)
