"""
The Unix socket in the state directory by which commands reach the daemon.

It is its owner's alone from the first moment on, whatever the umask. The state directory's lock is held while it is
made and removed, so a socket that is there already belongs to nobody. That it can't be made never keeps a daemon from
serving.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

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


class ControlSocket:
    """
    The listening socket in *state_dir*, at which *site* answers.
    """

    def __init__(self, reactor: Any, state_dir: Path, site: Site) -> None:
        self._reactor, self._state_dir, self._site = reactor, state_dir, site
        self._port: unix.Port | None = None
        self._ending = ExitStack()

    def start(self) -> None:
        """
        Listen, in the place of a socket that a killed process left; what keeps it from that is logged.
        """
        try:
            where = self._ending.enter_context(address(self._state_dir))
            with suppress(FileNotFoundError):
                os.unlink(where)
            port = _PrivatePort(os.fsencode(where), self._site, mode=PRIVATE_MODE, reactor=self._reactor)
            port.startListening()
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

    async def stop(self) -> None:
        """
        Listen no more, and remove the socket; fine when it never listened.
        """
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        self._ending.close()


class _PrivatePort(unix.Port):
    """
    A port whose socket nobody else may connect to, not even before Twisted sets its mode.
    """

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

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Close and remove the socket.
        """
        try:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        except FileNotFoundError:  # somebody removed it, and Twisted's own stops there
            tcp.Port.connectionLost(self, reason)
