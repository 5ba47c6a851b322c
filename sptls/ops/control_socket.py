"""
The Unix socket in the state directory by which commands reach the daemon.

It is its owner's alone from the first moment on, whatever the umask. The state directory's lock is held while it is
made and removed, so a socket that is there already belongs to nobody, or to the process that this one took over from:
it is replaced in one step, and is not removed by who had it before. That it can't be made never keeps a daemon from
serving.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import tcp, unix
from twisted.logger import Logger

from sptls.files import PRIVATE_MODE
from sptls.ops.control_address import CONTROL_SOCKET, address

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.web.server import Site

_log = Logger()

# Where it is made; then it takes the place of the one before.
_NEW: Final = f"{CONTROL_SOCKET}.new"
# Commands come one at a time, and a port of Twisted's has as many.
_BACKLOG: Final = 50


class ControlSocket:
    """
    The listening socket in *state_dir*, at which *site* answers.
    """

    def __init__(self, reactor: Any, state_dir: Path, site: Site) -> None:
        self._reactor, self._state_dir, self._site = reactor, state_dir, site
        self._port: _PrivatePort | None = None

    def start(self) -> None:
        """
        Listen, in the place of a socket that another process left; what keeps it from that is logged.
        """
        path = self._state_dir / CONTROL_SOCKET
        try:
            port = _PrivatePort(os.fsencode(path), _placed(self._state_dir), self._site, self._reactor)
            port.startListening()  # type: ignore[no-untyped-call]
        except OSError as error:
            _log.warn(
                "commands can't reach this daemon, which serves all the same: {path} can't be made: {reason}; "
                "mend that and restart, or ask the admin listener for the status",
                path=str(path),
                reason=error.strerror or str(error),
            )
        else:
            self._port = port

    def answer_by(self, site: Site) -> None:
        """
        Have *site* answer who connects from now on.
        """
        self._site = site
        if self._port is not None:
            self._port.factory = site  # type: ignore[assignment] # as when it was made

    def leave(self) -> None:
        """
        Let the socket stay where it is in the end: another process replaces it.
        """
        if self._port is not None:
            self._port.is_left = True

    async def stop(self) -> None:
        """
        Listen no more, and remove the socket; fine when it never listened.
        """
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()  # type: ignore[no-untyped-call]


def _placed(state_dir: Path) -> socket.socket:
    """
    Give a socket that listens in *state_dir*, in the place of whatever file was there.
    """
    new = state_dir / _NEW
    new.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        # What bind makes of it has its mode, less the umask (Linux's unix_bind).
        os.fchmod(made.fileno(), PRIVATE_MODE)
        with address(state_dir, _NEW) as where:
            made.bind(where)
        made.listen(_BACKLOG)
        new.rename(state_dir / CONTROL_SOCKET)
    except OSError:
        made.close()
        with suppress(OSError):
            new.unlink()
        raise
    return made


class _PrivatePort(unix.Port):
    """
    A port at *path*, where *listening* is already; nobody else could connect to it before Twisted sets its mode.

    Twisted's log names the path where it stays. In the end the socket is removed, unless it *is_left*.
    """

    def __init__(self, path: bytes, listening: socket.socket, site: Site, reactor: Any) -> None:
        super().__init__(path, site, _BACKLOG, PRIVATE_MODE, reactor)
        self._preexistingSocket = listening
        self._path, self._socket_file, self.is_left = path, os.stat(path), False

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Close the socket, and remove it; Twisted's own would remove what is there, whosever it is.
        """
        with suppress(FileNotFoundError):  # somebody removed it
            if not self.is_left and os.path.samestat(self._socket_file, os.stat(self._path)):
                os.unlink(self._path)
        tcp.Port.connectionLost(self, reason)
