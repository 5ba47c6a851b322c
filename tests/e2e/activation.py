"""
A parent that starts daemons with listening sockets, as systemd does (sd_listen_fds(3)).
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from tests.e2e.daemon import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.daemon import Daemon, Launcher

# Between fork and exec: the sockets become descriptors 3, 4, ..., and the process says that they are its own.
_BECOME = """
import os, sys
count, passed = int(sys.argv[1]), [int(descriptor) for descriptor in sys.argv[2].split(",")]
high = [os.dup2(descriptor, 100 + number) for number, descriptor in enumerate(passed)]
for number, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
os.execv(sys.argv[3], sys.argv[3:])
"""


def listening(port: int) -> socket.socket:
    """
    Give a socket as systemd makes them.
    """
    made = socket.create_server(("127.0.0.1", port), backlog=512)
    made.set_inheritable(True)
    return made


class Activator:
    """
    Starts *launcher*'s daemon with *sockets*, again and again.
    """

    def __init__(self, launcher: Launcher, sockets: Sequence[socket.socket]) -> None:
        self._launcher, self._sockets = launcher, sockets
        self._daemon: Daemon | None = None

    def spawn(self, *more: str) -> Daemon:
        """
        Start the daemon, and give it at once.
        """
        descriptors = [one.fileno() for one in self._sockets]
        passed = ",".join(map(str, descriptors))
        before = [sys.executable, "-c", _BECOME, str(len(descriptors)), passed]
        return self._launcher.spawn(*more, before=tuple(before), pass_fds=tuple(descriptors))

    def restart(self) -> Daemon:
        """
        Stop the one that runs, if any; start another, and give it when it says that it serves.
        """
        self.stop()
        log_path = self._launcher.directory / "log"
        begin = log_path.stat().st_size if log_path.exists() else 0
        self._daemon = daemon = self.spawn()
        until(lambda: "info serving " in daemon.log[begin:], f"daemon that serves:\n{daemon.log}")
        return daemon

    def stop(self) -> None:
        """
        Stop the one that runs.
        """
        if self._daemon is not None:
            self._daemon.stop()
