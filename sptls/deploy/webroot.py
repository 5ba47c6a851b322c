"""
Answers to http-01 challenges (RFC 8555 §8.3) for a server that is not this one: files in its webroot.

Another server owns port 80 and serves ``/.well-known/acme-challenge/`` from *webroot*. So the files are readable for
everybody. Beside each open token stands a hidden copy, ``.sptls-TOKEN``: what a killed process left is told by it from
the tokens of other ACME clients, and removed at the next start.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger
from txacme.interfaces import IResponder
from zope.interface import implementer

from sptls.deploy.layout import failed
from sptls.errors import AcmeProtocolError, StartError
from sptls.files import write_public

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from sptls.proxy.http01 import Challenge, Response
    from sptls.threads import InThread

_log = Logger()

# RFC 8555 §8.1: base64url, at least 128 bits; longer than this it is no file name with what stands before it.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_COPY: Final = ".sptls-"
_DIRECTORIES: Final = (".well-known", "acme-challenge")
_DIRECTORY_MODE: Final = 0o755


def prepare(webroot: Path, uid: int | None, gid: int | None) -> None:
    """
    Make the directory for tokens below *webroot*, owned by *uid*, and remove what a killed process left there.

    For the start, with the rights of the user who started it. Directories that exist keep their owner and mode.

    Raises:
        StartError: there is no *webroot*, or the directory can't be made or written.
    """
    place = f"deploy.webroot: {webroot}"
    try:
        if not webroot.is_dir():
            raise StartError(f"{place} is no directory; name the one from which the server on port 80 serves files")
        directory = _make_directories(webroot, uid, gid)
        _remove_leftovers(directory)
    except OSError as error:
        raise StartError(f"deploy.webroot: {failed(error, webroot)}") from None
    if uid is None and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise StartError(f"deploy.webroot: {failed(PermissionError(errno.EACCES, 'Permission denied'), directory)}")


@implementer(IResponder)
class WebrootResponder:
    """
    The open http-01 challenges as files below *webroot*; *in_thread* writes them.
    """

    challenge_type = "http-01"

    def __init__(self, webroot: Path, in_thread: InThread) -> None:
        self._webroot, self._in_thread = webroot, in_thread

    def start_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[None]:
        """
        Have the other server answer the CA from when the Deferred fires.

        Raises:
            AcmeProtocolError: the token is none (RFC 8555 §8.1).
            DeployError: the file can't be written.
        """
        token, content = challenge.encode("token"), response.key_authorization.encode("ascii")
        return self._in_thread(lambda: _write(self._webroot, token, content))

    def stop_responding(self, server_name: str, challenge: Challenge, response: Response) -> Deferred[None]:
        """
        Remove the answer; fine when it was never there, or is no more.

        Raises:
            DeployError: the file can't be removed.
        """
        token = challenge.encode("token")
        return self._in_thread(lambda: _withdraw(self._webroot, token))


def _write(webroot: Path, token: str, content: bytes) -> None:
    if not _TOKEN.fullmatch(token):
        raise AcmeProtocolError("authorization", "its token is not base64url (RFC 8555 §8.1)")
    path = webroot.joinpath(*_DIRECTORIES, token)
    try:
        directory = _make_directories(webroot, None, None)
        write_public(directory / f"{_COPY}{token}", content)
        write_public(path, content)
    except OSError as error:
        raise failed(error, path) from None


def _withdraw(webroot: Path, token: str) -> None:
    if not _TOKEN.fullmatch(token):
        return  # nothing was written
    path = webroot.joinpath(*_DIRECTORIES, token)
    try:
        path.unlink(missing_ok=True)
        path.with_name(f"{_COPY}{token}").unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise failed(error, path) from None


def _make_directories(webroot: Path, uid: int | None, gid: int | None) -> Path:
    """
    Make what is missing of the directory for tokens, open to every reader whatever the umask says.
    """
    directory = webroot
    for name in _DIRECTORIES:
        directory /= name
        with suppress(FileExistsError):
            directory.mkdir()
            directory.chmod(_DIRECTORY_MODE)
            if uid is not None and os.geteuid() == 0:
                os.chown(directory, uid, -1 if gid is None else gid)
    return directory


def _remove_leftovers(directory: Path) -> None:
    """
    Remove the tokens whose hidden copy tells that they are ours, the copies, and what was half written.
    """
    left = 0
    for copy in directory.glob(f"{_COPY}*"):
        token = copy.name.removeprefix(_COPY)
        if not _TOKEN.fullmatch(token):
            continue
        path = copy.with_name(token)
        if _is_same(copy, path):
            path.unlink()
        for half_written in directory.glob(f".{token}.*"):
            half_written.unlink()
        copy.unlink()
        left += 1
    for half_written in directory.glob(f".{_COPY}*"):
        half_written.unlink()
    if left:
        _log.info("{count} http-01 answers of an earlier process were removed from {path}", count=left, path=directory)


def _is_same(copy: Path, path: Path) -> bool:
    try:
        return not path.is_symlink() and copy.read_bytes() == path.read_bytes()
    except FileNotFoundError:
        return False
