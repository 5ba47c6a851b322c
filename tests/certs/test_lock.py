from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sptls.certs.lock import StateLock, is_absent, is_free
from sptls.errors import StartError

# Takes the lock, says so, and keeps it until its standard input ends.
HOLDER = """
import pathlib, sys
from sptls.certs.lock import StateLock
StateLock(pathlib.Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""
# Takes the lock, forks, and leaves by the parent: what twistd does to become a daemon.
DAEMON = """
import os, pathlib, sys
from sptls.certs.lock import StateLock
lock = StateLock(pathlib.Path(sys.argv[1]))
lock.acquire()
if os.fork():
    os._exit(0)
lock.write_pid()
print(os.getpid(), flush=True)
sys.stdin.read()
lock.release()
"""


def start(program: str, state_dir: Path) -> subprocess.Popen[str]:
    """
    Start a second process with *program*.
    """
    return subprocess.Popen(
        [sys.executable, "-c", program, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def first_line(process: subprocess.Popen[str]) -> str:
    """
    Read what the process says once it is ready.
    """
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_second_process_is_refused_by_pid(tmp_path: Path) -> None:
    """
    Who comes second is told which process has the directory, and gets it when that one is gone.
    """
    with start(HOLDER, tmp_path) as holder:
        assert "locked" == first_line(holder)
        with pytest.raises(StartError, match=rf"another sptls \(pid {holder.pid}\) uses this state directory"):
            StateLock(tmp_path).acquire()
        holder.kill()
    lock = StateLock(tmp_path)
    lock.acquire()
    lock.release()


@pytest.mark.parametrize("written", [b"", b"0\n", b"-1\n", b"\xff\x1b[2J", b"1 2"])
def test_what_is_no_process_id_is_not_told(tmp_path: Path, written: bytes) -> None:
    """
    A damaged file says nothing about who has the lock.
    """
    lock = StateLock(tmp_path)
    lock.acquire()
    (tmp_path / "lock").write_bytes(written)
    with pytest.raises(StartError, match=r"another sptls \(pid unknown\) uses this state directory"):
        StateLock(tmp_path).acquire()
    lock.release()


def test_lock_survives_becoming_a_daemon(tmp_path: Path) -> None:
    """
    The child of the fork still has the lock after its parent has gone, under its own pid, and gives it back.
    """
    with start(DAEMON, tmp_path) as parent:
        child = first_line(parent)
        parent.wait(timeout=30)
        with pytest.raises(StartError, match=rf"\(pid {child}\)"):
            StateLock(tmp_path).acquire()
        assert parent.stdin is not None
        parent.stdin.close()
        assert parent.stdout is not None
        assert "" == parent.stdout.read()
    assert not (tmp_path / "lock").exists()


def test_release_leaves_no_file(tmp_path: Path) -> None:
    """
    A lock given back leaves nothing, and giving it back twice does no harm.
    """
    lock = StateLock(tmp_path)
    lock.acquire()
    assert f"{os.getpid()}\n" == (tmp_path / "lock").read_text()
    lock.release()
    lock.release()
    lock.write_pid()
    assert [] == list(tmp_path.iterdir())


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    """
    The lock belongs to the one that took it, not to the process.
    """
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire()
    with pytest.raises(StartError, match="another sptls"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_file_is_private(tmp_path: Path, umask: int) -> None:
    """
    The file has mode 0600 whatever the umask.
    """
    lock = StateLock(tmp_path)
    before = os.umask(umask)
    try:
        lock.acquire()
    finally:
        os.umask(before)
    assert 0o600 == (tmp_path / "lock").stat().st_mode & 0o777
    lock.release()


def test_missing_directory_is_said(tmp_path: Path) -> None:
    """
    A directory that can't be used is named, with the reason.
    """
    with pytest.raises(StartError, match=r"nowhere can't be used: No such file or directory"):
        StateLock(tmp_path / "nowhere").acquire()


def test_file_removed_while_it_was_opened_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A lock on a file that its last holder has just removed is no lock: a new file is made and locked.
    """
    lock = StateLock(tmp_path)
    opened = []

    def open_and_remove() -> int:
        descriptor = StateLock._open(lock)
        opened.append(descriptor)
        if len(opened) == 1:
            (tmp_path / "lock").unlink()
        return descriptor

    monkeypatch.setattr(lock, "_open", open_and_remove)
    lock.acquire()
    assert (tmp_path / "lock").exists()
    lock.release()
    assert 2 == len(opened)


def test_file_that_never_stays_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Something that removes the file for ever does not keep us trying for ever.
    """
    lock = StateLock(tmp_path)
    monkeypatch.setattr(lock, "_is_current", lambda _descriptor: False)
    with pytest.raises(StartError, match="removed again and again"):
        lock.acquire()


def test_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """
    The daemon's user could put one there, and root would write its process id into another's file.
    """
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (tmp_path / "lock").symlink_to(outside)
    with pytest.raises(StartError):
        StateLock(tmp_path).acquire()
    assert "kept" == outside.read_text()


def test_shared_lock_stays_the_others(tmp_path: Path) -> None:
    """
    A process that was given the open file has the lock too: either may end, and nobody else gets it meanwhile.
    """
    first = StateLock(tmp_path)
    first.acquire()
    second = StateLock.shared(tmp_path, os.dup(first.fileno()))
    first.is_shared = True
    first.release()
    assert (-1, True) == (first.fileno(), second.is_shared)
    with pytest.raises(StartError, match="another sptls"):
        StateLock(tmp_path).acquire()
    second.is_shared = False
    second.release()
    assert [] == list(tmp_path.iterdir())


def test_lock_that_was_shared_is_ones_own_again(tmp_path: Path) -> None:
    """
    The other process has ended, and takes neither the lock nor its file with it.
    """
    first = StateLock(tmp_path)
    first.acquire()
    StateLock.shared(tmp_path, os.dup(first.fileno())).release()
    assert (tmp_path / "lock").exists()
    with pytest.raises(StartError, match="another sptls"):
        StateLock(tmp_path).acquire()
    first.release()


def test_others_see_whether_it_is_free(tmp_path: Path) -> None:
    """
    Without taking it. One whose holder was killed is free, and there; one that was released is neither taken nor there.
    """
    assert (True, True) == (is_absent(tmp_path), is_free(tmp_path))
    lock = StateLock(tmp_path)
    lock.acquire()
    assert (False, False) == (is_absent(tmp_path), is_free(tmp_path))
    os.close(lock.fileno())  # as the kernel does for one that was killed
    assert (False, True) == (is_absent(tmp_path), is_free(tmp_path))
    after = StateLock(tmp_path)
    after.acquire()
    after.release()
    assert (True, True) == (is_absent(tmp_path), is_free(tmp_path))


def test_lock_that_can_not_be_read_is_not_free(tmp_path: Path) -> None:
    """
    Nobody knows whose it is.
    """
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    assert (False, False) == (is_absent(tmp_path), is_free(tmp_path))
