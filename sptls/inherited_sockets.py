"""
Listening sockets that are there before we are: systemd's (sd_listen_fds(3)), or those of the process we take over from.

Decides which of them serves which address of the configuration, and what is wrong with one that serves none. They
outlive this process where somebody else holds them too: then who waits at them is left to the next one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from sptls.config import Address
from sptls.errors import StartError
from sptls.tls.sockets import adopt, is_at

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, MutableMapping

_log = Logger()

# What systemd calls a socket that has no name (sd_listen_fds_with_names(3)).
_NAMELESS: Final = "unknown"
# More than any system lets a process have open (fs.nr_open) is no number of sockets, but a list that fills the memory.
_MAX_COUNT_CHARACTERS: Final = 6
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# The environment of this process's exec, whatever was taken out of it since (proc(5)).
_STARTED_WITH: Final = Path("/proc/self/environ")


@attrs.frozen(eq=False)
class InheritedSocket:
    """
    One of them. *is_kept*: a supervisor holds it for whoever comes after us.

    *unit_name* is what systemd calls it, and it must serve an address then; "" where nobody minds.
    """

    socket: socket.socket
    is_kept: bool = False
    unit_name: str = ""


class InheritedSockets:
    """
    Those that nobody has taken yet.
    """

    def __init__(self, sockets: Iterable[InheritedSocket] = ()) -> None:
        self._left = list(sockets)

    @classmethod
    def of(cls, *groups: Iterable[InheritedSocket] | InheritedSockets | None) -> InheritedSockets:
        """
        Give those of several origins together; None is an origin of none.
        """
        return cls(one for group in groups if group is not None for one in group)

    def __iter__(self) -> Iterator[InheritedSocket]:
        return iter(self._left)

    def take(self, address: Address) -> tuple[InheritedSocket, ...]:
        """
        Give those that listen at *address*, each only once: IPv4's and IPv6's where it is every address.
        """
        taken = tuple(one for one in self._left if is_at(one.socket, address))
        self._left = [one for one in self._left if one not in taken]
        return taken

    def close(self) -> None:
        """
        Close those that are left; another process may go on listening at them.
        """
        left, self._left = self._left, []
        for one in left:
            one.socket.close()

    def finish(self) -> None:
        """
        Close those that are left, for nobody else will take one.

        Raises:
            StartError: systemd passed one of them, and so somebody wants it served.
        """
        unwanted = [
            f"{Address(*one.socket.getsockname()[:2])} ({one.unit_name})" for one in self._left if one.unit_name
        ]
        self.close()
        if unwanted:
            raise StartError(
                f"systemd passes sockets that the configuration has no use for: {', '.join(unwanted)}; "
                "put their addresses in listen.https, listen.http or listen.admin, "
                "or take their ListenStream= out of the socket unit"
            )


def put_back(environment: MutableMapping[str, str], started_with: Path = _STARTED_WITH) -> None:
    """
    Have *environment* say again which sockets systemd passed to this process, where Twisted has taken that out of it.

    `twisted.internet.endpoints` does so when it is imported, which twistd does before it asks us for anything if its
    cache of plugins is missing or old: always, where the user that serves can't write it, as systemd's DynamicUser.
    """
    try:
        variables = started_with.read_bytes().split(b"\0")
    except OSError:
        return  # no /proc: then it works with a cache of plugins only
    passed = {name: value for name, _, value in (os.fsdecode(variable).partition("=") for variable in variables)}
    if passed.get("LISTEN_PID") == str(os.getpid()):
        for name in passed.keys() & set(_VARIABLES):
            environment.setdefault(name, passed[name])


def from_environment(environment: MutableMapping[str, str]) -> InheritedSockets:
    """
    Give the sockets that systemd passed to this process; *environment* says so no more, for the programs that we start.

    Raises:
        StartError: one of them is no listening TCP socket, or there are more than there can be.
    """
    process, count = environment.get("LISTEN_PID"), environment.get("LISTEN_FDS", "")
    if process is not None and process != str(os.getpid()):
        _log.warn(
            "LISTEN_PID says that the sockets are for process {process}, and this is {own}; none is used: "
            "the unit, or a script that it runs, has to start twistd itself (exec)",
            process=process,
            own=os.getpid(),
        )
    elif len(count) > _MAX_COUNT_CHARACTERS:
        raise StartError(
            f"LISTEN_FDS in the environment is no number of sockets: {count[:20]!r}; it is the supervisor's to set, "
            "and nobody else's"
        )
    elif count.isdecimal() and not environment.get("LISTEN_FDNAMES"):
        # Twisted takes no socket without a name; systemd-socket-activate and other supervisors give none.
        environment["LISTEN_FDNAMES"] = ":".join([_NAMELESS] * int(count))
    found = ListenFDs.fromEnvironment(environment)
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for variable in _VARIABLES:
        environment.pop(variable, None)
    inherited: list[InheritedSocket] = []
    try:
        for descriptor, name in zip(found.inheritedDescriptors(), names, strict=False):
            inherited.append(InheritedSocket(_adopted(descriptor, name), is_kept=True, unit_name=name))
    except StartError:
        InheritedSockets(inherited).close()
        raise
    return InheritedSockets(inherited)


def _adopted(descriptor: int, name: str) -> socket.socket:
    try:
        return adopt(descriptor)
    except ValueError as error:
        raise StartError(
            f"systemd passes file descriptor {descriptor} ({name}), which is no listening TCP socket: {error}; "
            "the socket unit needs ListenStream= with a port, and Accept=no"
        ) from None
