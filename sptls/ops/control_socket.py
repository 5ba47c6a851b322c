"""
The Unix socket in the state directory by which commands reach the daemon.

It is its owner's alone from the first moment on, whatever the umask. The state directory's lock is held while it is
made and removed, so a socket that is there already belongs to nobody, or to the process that this one took over from:
it is replaced in one step, and is not removed by who had it before. That it can't be made never keeps a daemon from
serving.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from sptls.files import PRIVATE_MODE
from sptls.ops.control_address import CONTROL_SOCKET, address

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from twisted.web.server import Site

_log = Logger()

# Where it is made; then it takes the place of the one before.
_NEW: Final = f"{CONTROL_SOCKET}.new"


class ControlSocket:
    """
    The listening socket in *state_dir*, at which *site* answers.
    """

    def __init__(self, reactor: Any, state_dir: Path, site: Site) -> None:
        self._reactor, self._state_dir, self._site = reactor, state_dir, site
        self._port: _PrivatePort | None = None
        self._ending = ExitStack()

    def start(self) -> None:
        """
        Listen, in the place of a socket that another process left; what keeps it from that is logged.
        """
        try:
            where = self._ending.enter_context(address(self._state_dir))
            new = self._ending.enter_context(address(self._state_dir, _NEW))
            with suppress(FileNotFoundError):
                os.unlink(new)
            port = _PrivatePort(os.fsencode(new), self._site, self._reactor)
            port.startListening()
            try:
                port.move(os.fsencode(where))
            except OSError:
                os.unlink(new)
                port.is_left = True
                port.stopListening()  # type: ignore[no-untyped-call]
                raise
        except (OSError, CannotListenError) as error:
            self._ending.close()
            cause = error.socketError if isinstance(error, CannotListenError) else error
            _log.warn(
                "commands can't reach this daemon, which serves all the same: {path} can't be made: {reason}; "
                "mend that and restart, or ask the admin listener for the status",
                path=str(self._state_dir / CONTROL_SOCKET),
                reason=getattr(cause, "strerror", None) or str(cause),
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
        self._ending.close()


class _PrivatePort(unix.Port):
    """
    A port whose socket nobody else may connect to, not even before Twisted sets its mode.

    In the end the socket is removed, unless it *is_left*.
    """

    def __init__(self, path: bytes, site: Site, reactor: Any) -> None:
        super().__init__(path, site, mode=PRIVATE_MODE, reactor=reactor)
        self._path, self.is_left = path, False
        self._placed: os.stat_result | None = None

    def createInternetSocket(self) -> socket.socket:  # noqa: N802 - Twisted's name
        """
        Make the socket; what bind makes of it has its mode, less the umask (Linux's unix_bind).
        """
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        os.fchmod(made.fileno(), PRIVATE_MODE)
        self._made = made
        return made

    def startListening(self) -> None:  # noqa: N802 - Twisted's name
        """
        Bind and listen; a socket that can't be bound is closed.
        """
        try:
            super().startListening()  # type: ignore[no-untyped-call]
        except CannotListenError:
            self._made.close()
            raise

    def move(self, to: bytes) -> None:
        """
        Rename the socket, in the place of whatever file is there.
        """
        os.rename(self._path, to)
        self._path, self._placed = to, os.stat(to)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Close the socket, and remove it; Twisted's own would remove what is where it was made, whosever it is.
        """
        with suppress(FileNotFoundError):  # somebody removed it
            if not self.is_left and self._is_there():
                os.unlink(self._path)
        tcp.Port.connectionLost(self, reason)

    def _is_there(self) -> bool:
        """
        Tell whether no other process has put its own in the place.
        """
        return self._placed is None or os.path.samestat(self._placed, os.stat(self._path))
