"""
Tests for `sptls.ops.control_address`, on real sockets.
"""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from sptls.ops.control_address import CONTROL_SOCKET, MAX_ADDRESS_BYTES, address


def _deep(tmp_path: Path, length: int) -> Path:
    """
    Make a directory in which the socket's path has *length* bytes.
    """
    missing = length - len(os.fsencode(tmp_path / CONTROL_SOCKET)) - 1
    assert 0 < missing < 255
    path = tmp_path / ("d" * missing)
    path.mkdir()
    return path


def test_short_path_is_its_own_address(tmp_path: Path) -> None:
    """
    What fits is used as it is.
    """
    with address(Path("/run/sptls")) as where:
        assert "/run/sptls/control.sock" == where


@pytest.mark.parametrize("length", [MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES + 1, 200])
def test_socket_can_be_made_and_reached_at_any_depth(tmp_path: Path, length: int) -> None:
    """
    Also where the path is longer than an address may be.
    """
    directory = _deep(tmp_path, length)
    with closing(socket.socket(socket.AF_UNIX)) as listening, closing(socket.socket(socket.AF_UNIX)) as client:
        with address(directory) as where:
            listening.bind(where)
        listening.listen()
        with address(directory) as where:
            client.connect(where)
    assert (directory / CONTROL_SOCKET).is_socket()


def test_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    """
    The system's own error comes out, also where the directory would have to be opened.
    """
    with pytest.raises(FileNotFoundError), address(tmp_path / ("d" * 200)):
        pass


def test_another_name_beside_it(tmp_path: Path) -> None:
    """
    What replaces the socket is made in the same directory.
    """
    with address(tmp_path, "other.sock") as where:
        assert str(tmp_path / "other.sock") == where
    with address(_deep(tmp_path, 200), "other.sock") as where:
        assert where.endswith("/other.sock")
