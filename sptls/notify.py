"""
Tells the service supervisor that started us how we are: systemd's ``Type=notify``, sd_notify(3), without its library.

The supervisor names a datagram socket in the environment and reads lines like ``READY=1`` from it; where it named none,
nothing is said. Decides only how that is spelt; when something is said is `service`'s part.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = Logger()

VARIABLE: Final = "NOTIFY_SOCKET"
# How many microseconds may pass between two signs of life, and whose they are to be; sd_watchdog_enabled(3).
WATCHDOG_VARIABLES: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
_MICROSECONDS: Final = 1_000_000
# systemd reads at once; a socket whose queue stays full this long has nobody who reads it.
SEND_SECONDS: Final = 1.0


@attrs.frozen
class Supervisor:
    """
    Who is told, at the Unix datagram socket *address*; nobody where it is "".

    It ends us if it hears of no life for *watchdog_seconds*; 0: it does not mind.
    """

    address: str = ""
    watchdog_seconds: float = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], pid: int) -> Supervisor:
        """
        Give the supervisor that *environment* names: a socket's path, or its abstract name after ``@``; *pid* is ours.

        An address of another family (systemd can pass on that of a virtual machine's host) is not spoken to.
        """
        address = environment.get(VARIABLE, "")
        if not address.startswith(("/", "@")):
            return cls()
        usec, whose = (environment.get(variable, "") for variable in WATCHDOG_VARIABLES)
        is_ours = whose in ("", str(pid)) and usec.isascii() and usec.isdigit()
        return cls(address, int(usec) / _MICROSECONDS if is_ours else 0.0)

    def ready(self, status: str) -> None:
        """
        Say that we serve, after the start or a reload; *status* is for people (``systemctl status``).
        """
        self._tell("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """
        Say that the configuration is being read again; `ready` ends it.
        """
        self._tell("RELOADING=1")

    def stopping(self) -> None:
        """
        Say that we drain, and will end.
        """
        self._tell("STOPPING=1", "STATUS=draining")

    def alive(self) -> None:
        """
        Give a sign of life; from `ready` on one is due twice in `watchdog_seconds`.
        """
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self.address:
            return
        # Linux's abstract names begin with a NUL, which no environment can hold.
        where = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_SECONDS)
                sender.sendto("\n".join(lines).encode(), where)
        except OSError as error:
            _log.warn(
                "the supervisor at {address} can't be told {what}: {error}; with systemd's Type=notify it may end us",
                address=self.address,
                what=lines[0],
                error=error.strerror or str(error),
            )


def _one_line(text: str) -> str:
    return " ".join(text.split())
