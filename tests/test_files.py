from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from sptls.files import make_private_directory, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Run the test under this umask.
    """
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """
    Give the permission bits of *path*.
    """
    return path.stat().st_mode & 0o7777


@pytest.mark.usefixtures("umask")
def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """
    Private files have mode 0600, public ones 0644, new directories 0700.
    """
    directory = tmp_path / "state"
    make_private_directory(directory)
    write_private(directory / "key", b"secret")
    write_public(directory / "root", b"public")
    assert (mode(directory), mode(directory / "key"), mode(directory / "root")) == (0o700, 0o600, 0o644)


def test_parents_are_made(tmp_path: Path) -> None:
    """
    A directory's missing parents are made as mkdir -p makes them.
    """
    make_private_directory(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """
    Directories of others are not touched.
    """
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_file_in_the_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    """
    A file that has the directory's name is named in the error.
    """
    path = tmp_path / "state"
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="it exists and is not a directory"):
        make_private_directory(path)


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    """
    What was readable for everybody is private once it was written as such, and nothing else is left behind.
    """
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path), os.listdir(tmp_path)) == (b"new", 0o600, ["key"])


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """
    When the disk takes no more, the old file stays, and no half-written one does.
    """
    path = tmp_path / "key"
    write_private(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_private(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["key"])


def test_a_directory_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """
    A file whose place is taken by a directory is not written, nor half of it.
    """
    (tmp_path / "key").mkdir()
    with pytest.raises(IsADirectoryError):
        write_private(tmp_path / "key", b"secret")
    assert os.listdir(tmp_path) == ["key"]
