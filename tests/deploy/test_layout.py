from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.logger import capturedLogs

from sptls.certs.bundle import CertificateBundle
from sptls.deploy import layout
from sptls.errors import BadCertificate, DeployError, StartError
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CLICK, bundle_for, open_directory, read_only, stored

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
FIRST, SECOND, THIRD = (bundle_for(CLICK, NOW + timedelta(days=days)) for days in (0, 10, 20))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """
    Where certificates are deployed; not made yet.
    """
    return tmp_path / "deployed"


def read(directory: Path, name: str = "click.example.com") -> CertificateBundle:
    """
    Read what a server would that is configured with *name*'s files.
    """
    link = directory / name
    return CertificateBundle.from_pem((link / "privkey.pem").read_bytes(), (link / "fullchain.pem").read_bytes())


def versions(directory: Path) -> list[str]:
    """
    Give all that stands beside the version that is linked, and itself.
    """
    return sorted(path.name for path in (directory / ".versions" / CLICK.text).iterdir())


def tree(directory: Path) -> dict[str, tuple[int, int, int]]:
    """
    Give every path's inode, mode and moment of change.
    """
    found = [path.lstat() for path in sorted(directory.rglob("*"))]
    return {f"{it.st_ino}": (it.st_mode, it.st_mtime_ns, it.st_ctime_ns) for it in found}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """
    Have another umask for a while.
    """
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def full_disk() -> Iterator[None]:
    """
    Have no file grow beyond 100 bytes, as on a disk that is full, for a while.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_files_are_private(directory: Path, mask: int) -> None:
    """
    Whatever the umask, files have mode 0600 and directories 0700; the link is relative and leads to the files.
    """
    with umask(mask):
        assert layout.put(directory, CLICK, FIRST)
    link = directory / "click.example.com"
    assert Path(".versions/click.example.com") == Path(os.readlink(link)).parent
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            assert (0o700 if path.is_dir() else 0o600) == path.stat().st_mode & 0o777
    assert {"fullchain.pem", "privkey.pem", "chain.pem"} == {path.name for path in link.iterdir()}
    assert read(directory) == FIRST


def test_the_same_certificate_writes_nothing(directory: Path) -> None:
    """
    Where everything is in place, not even a directory's moment of change moves.
    """
    layout.put(directory, CLICK, FIRST)
    before = tree(directory.parent)
    assert not layout.put(directory, CLICK, FIRST)
    assert before == tree(directory.parent)


def test_the_version_before_is_kept_and_older_ones_are_removed(directory: Path) -> None:
    """
    A server that has read the old link goes on finding the files; no more than two versions pile up.
    """
    layout.put(directory, CLICK, FIRST)
    first = os.readlink(directory / CLICK.text)
    layout.put(directory, CLICK, SECOND)
    assert ((directory / first) / "fullchain.pem").exists()
    layout.put(directory, CLICK, THIRD)
    assert (THIRD, 2) == (read(directory), len(versions(directory)))
    assert not (directory / first).exists()


def test_going_back_is_a_change(directory: Path) -> None:
    """
    An older certificate, restored from a back-up, is linked again, and the newer one is the one before.
    """
    layout.put(directory, CLICK, FIRST)
    layout.put(directory, CLICK, SECOND)
    assert layout.put(directory, CLICK, FIRST)
    assert (FIRST, 2) == (read(directory), len(versions(directory)))


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
@pytest.mark.parametrize("file", ["fullchain.pem", "privkey.pem", "chain.pem"])
def test_damaged_files_are_replaced(directory: Path, file: str, damage: bytes | None) -> None:
    """
    Files that are not as they were written are written again, beside them, and linked whole.
    """
    layout.put(directory, CLICK, FIRST)
    path = directory / CLICK.text / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert layout.put(directory, CLICK, FIRST)
    assert (FIRST, 2) == (read(directory), len(versions(directory)))
    assert not layout.put(directory, CLICK, FIRST)


def test_files_damaged_again_and_again_are_replaced(directory: Path) -> None:
    """
    While two damaged versions are still there, a third one finds a name.
    """
    for _ in range(4):
        layout.put(directory, CLICK, FIRST)
        (directory / CLICK.text / "chain.pem").write_bytes(b"rubbish")
    assert layout.put(directory, CLICK, FIRST)
    assert (FIRST, 2) == (read(directory), len(versions(directory)))


def test_a_removed_link_is_made_again_of_what_is_there(directory: Path) -> None:
    """
    A link that the operator has removed comes back, to the files that are there already.
    """
    layout.put(directory, CLICK, FIRST)
    layout.put(directory, CLICK, SECOND)
    before = versions(directory)
    (directory / CLICK.text).unlink()
    assert layout.put(directory, CLICK, SECOND)
    assert (SECOND, before) == (read(directory), versions(directory))


def make_directory(path: Path) -> None:
    """
    Make a directory with a file, as an operator may have.
    """
    path.mkdir()
    (path / "fullchain.pem").write_bytes(b"theirs")


@pytest.mark.parametrize(
    "make",
    [
        make_directory,
        Path.touch,
        lambda path: path.symlink_to("/etc/letsencrypt/live/click.example.com"),
        lambda path: path.symlink_to(".versions/other.example.com/20260801T120000Z-0a"),
        lambda path: path.symlink_to(".versions/click.example.com/../../.."),
        lambda path: path.symlink_to(".versions/click.example.com/.new-x"),
    ],
)
def test_what_others_made_is_never_touched(directory: Path, make: Callable[[Path], None]) -> None:
    """
    A file, a directory or a link that sptls did not make stays as it is, and the error says what to do.
    """
    directory.mkdir()
    make(directory / CLICK.text)
    before = tree(directory)
    with pytest.raises(DeployError, match="something that sptls did not make has that name; move it away"):
        layout.put(directory, CLICK, FIRST)
    assert before == tree(directory)


def _fail(*_args: Any, **_kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "step",
    [
        *("make_private_directory", "tempfile.mkdtemp", "write_private", "os.rename"),
        *("Path.symlink_to", "Path.chmod"),
    ],
)
def test_a_failure_at_any_step_leaves_the_old_link(directory: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """
    Wherever the disk refuses, a server finds the old files, nothing half-written is left, and the next try succeeds.
    """
    layout.put(directory, CLICK, FIRST)
    with monkeypatch.context() as failing:
        failing.setattr(f"sptls.deploy.layout.{step}", _fail)
        with pytest.raises(DeployError, match="No space left on device; free some space; what was in place still is"):
            layout.put(directory, CLICK, SECOND)
    assert FIRST == read(directory)
    assert [] == [name for name in versions(directory) if name.startswith(".")]
    assert layout.put(directory, CLICK, SECOND)
    assert SECOND == read(directory)


def test_a_link_that_cannot_be_replaced_leaves_the_old_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The very last step may fail too.
    """
    layout.put(directory, CLICK, FIRST)
    replace = os.replace
    monkeypatch.setattr("os.replace", lambda new, old: _fail() if old == directory / CLICK.text else replace(new, old))
    with pytest.raises(DeployError, match="No space left on device"):
        layout.put(directory, CLICK, SECOND)
    assert FIRST == read(directory)
    assert [] == [name for name in versions(directory) if name.startswith(".")]


def test_a_file_in_the_place_of_the_directory_is_said(directory: Path) -> None:
    """
    Whatever became of the directory since the start, the error tells what to do.
    """
    directory.touch()
    with pytest.raises(DeployError, match="Not a directory; move away what stands in the place of a directory"):
        layout.put(directory, CLICK, FIRST)


@pytest.mark.parametrize("call", range(1, 9))
def test_a_disk_that_does_not_sync_never_links_what_may_be_lost(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """
    Whichever fsync fails, the link leads to whole files; and the next try says that there was a change, or the first.
    """
    layout.put(directory, CLICK, FIRST)
    calls, sync = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(DeployError, match="Input/output error; check the disk and the kernel's log"):
        layout.put(directory, CLICK, SECOND)
    assert read(directory) in ((FIRST, SECOND) if call == 8 else (FIRST,))
    layout.put(directory, CLICK, SECOND)
    assert SECOND == read(directory)


def test_a_full_disk_leaves_the_old_link(directory: Path) -> None:
    """
    A file that can't be written to its end is not linked, and not left.
    """
    layout.put(directory, CLICK, FIRST)
    with full_disk(), pytest.raises(DeployError, match="File too large; raise the limit"):
        layout.put(directory, CLICK, SECOND)
    assert (FIRST, 1) == (read(directory), len(versions(directory)))


def test_a_read_only_disk_is_said() -> None:
    """
    Where nothing can be written, the old files stay and the error names the path and what to do.
    """
    with open_directory() as directory:
        layout.put(directory, CLICK, FIRST)
        (directory / ".versions").chmod(0o755)
        with read_only(directory), pytest.raises(DeployError, match="Permission denied; give the user that sptls runs"):
            layout.put(directory, HostName("other.example.com"), SECOND)
        assert FIRST == read(directory)


def test_what_a_killed_process_left_is_removed(directory: Path) -> None:
    """
    Half-written versions and links go with the next change; a whole version that was not linked yet is used.
    """
    layout.put(directory, CLICK, FIRST)
    inner = directory / ".versions" / CLICK.text
    layout.put(directory, CLICK, SECOND)
    second = os.readlink(directory / CLICK.text)
    (directory / CLICK.text).unlink()
    (directory / CLICK.text).symlink_to(f".versions/{CLICK.text}/{versions(directory)[0]}")
    (inner / ".new-abc").mkdir()
    (inner / ".new-abc" / "privkey.pem").touch()
    (inner / ".new-link").symlink_to("nowhere")
    (inner / "stray").touch()
    assert layout.put(directory, CLICK, SECOND)
    assert (second, 2) == (os.readlink(directory / CLICK.text), len(versions(directory)))


def test_an_old_version_that_stays_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The new files are in place all the same.
    """
    layout.put(directory, CLICK, FIRST)
    layout.put(directory, CLICK, SECOND)
    monkeypatch.setattr("sptls.deploy.layout.shutil.rmtree", _fail)
    with capturedLogs() as events:
        assert layout.put(directory, CLICK, THIRD)
    (event,) = events
    assert "old certificate files stay" in event["log_format"].format(**event)
    assert THIRD == read(directory)


def test_each_name_has_its_own_outcome(directory: Path) -> None:
    """
    What goes wrong with one name does not concern the others.
    """
    theirs, broken = HostName("theirs.example"), HostName("broken.example")
    directory.mkdir()
    (directory / theirs.text).mkdir()
    damaged = attrs.evolve(stored().bundle, key=b"no key")
    outcomes = layout.put_all(directory, {theirs: SECOND, broken: damaged, CLICK: FIRST})
    assert outcomes.pop(CLICK) is True
    assert [DeployError, BadCertificate] == [type(outcome) for outcome in outcomes.values()]
    assert {CLICK: False} == layout.put_all(directory, {CLICK: FIRST})


def test_the_longest_name_is_deployed(directory: Path) -> None:
    """
    A name of 253 characters leaves no room for anything beside it in a file's name.
    """
    name = HostName(".".join(["a" * 63] * 3 + ["a" * 61]))
    assert layout.put(directory, name, FIRST)
    assert FIRST == read(directory, name.text)


def test_the_directory_is_made_at_the_start(directory: Path) -> None:
    """
    It is there before the first certificate, private; one that is there already is not changed.
    """
    layout.prepare(directory, None, None)
    assert 0o700 == directory.stat().st_mode & 0o777
    directory.chmod(0o750)
    layout.prepare(directory, None, None)
    assert 0o750 == directory.stat().st_mode & 0o777


def test_a_directory_that_cannot_be_had_stops_the_start(tmp_path: Path) -> None:
    """
    The message names the key, the path, and what to do.
    """
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"deploy\.directory: .*/file can't be put in place: it exists and is not"):
        layout.prepare(tmp_path / "file", None, None)
    with (
        open_directory() as directory,
        read_only(directory),
        pytest.raises(StartError, match="Permission denied; give the user that sptls runs as"),
    ):
        layout.prepare(directory / "new", None, None)


def test_a_directory_that_cannot_be_written_stops_the_start() -> None:
    """
    One that is there but is another user's is said before the first certificate comes.
    """
    with (
        open_directory() as directory,
        read_only(directory),
        pytest.raises(StartError, match="Permission denied; give the user that sptls runs as"),
    ):
        layout.prepare(directory, None, None)


@needs_root
def test_what_was_made_is_given_to_the_daemons_user(directory: Path) -> None:
    """
    A directory made now, and files of an earlier run as root, are the daemon's; what another's link names is not.
    """
    layout.put(directory, CLICK, FIRST)
    others = directory.parent / "others"
    others.touch()
    (directory / ".versions" / "link").symlink_to(others)
    os.link(others, directory / ".versions" / "hard")
    layout.prepare(directory, NOBODY, None)
    owned = {path.relative_to(directory).parts[0] for path in directory.rglob("*") if path.lstat().st_uid == NOBODY}
    assert ({".versions"}, 0, 0) == (owned, others.stat().st_uid, directory.stat().st_uid)
    assert NOBODY == (directory / CLICK.text / "privkey.pem").stat().st_uid
    layout.prepare(directory / "new", NOBODY, NOBODY)
    assert (NOBODY, NOBODY) == ((directory / "new").stat().st_uid, (directory / "new").stat().st_gid)
