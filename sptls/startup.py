"""
What happens before twistd forks and changes user: the state directory, its lock, the sockets, the descriptor limit.

All of it needs the rights of the user who started the daemon, and every fault must still reach that user's terminal.
"""

from __future__ import annotations

import errno
import importlib
import os
import resource
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs
from twisted.logger import Logger
from twisted.python.logfile import LogFile

from sptls.certs.lock import StateLock, is_absent
from sptls.certs.registered_domain import registered_domain
from sptls.clock import wall_time
from sptls.errors import StartError, StoreError
from sptls.files import make_private_directory
from sptls.inherited_sockets import InheritedSockets
from sptls.logs import json_observer, text_observer
from sptls.tls.sockets import bind

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from twisted.logger import ILogObserver

    from sptls.config import Address, Config

_log = Logger()

# The log, the store and its journal, the lock, epoll, the admin listener, Twisted's waker, DNS look-ups: a few dozen.
_OTHER_DESCRIPTORS = 256
# To a worker, from it, and its standard error; one that drains has its own still.
_PIPES = 2 * 3
# Workers of a process that was killed leave its addresses in the next turn of their reactors (`workers.worker`).
_LEFT_SECONDS: Final = 3.0
_TRY_AGAIN_SECONDS: Final = 0.05
_IMPORTED_LATE = (
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.idna",
    "sptls.acme.issue",
    "sptls.alerts.posting",
    "sptls.ops.admin",
    "sptls.ops.control",
    "sptls.ops.control_socket",
    "twisted.names.client",
)


@attrs.frozen
class ProcessSettings:
    """
    What twistd was told: whether it stays in the foreground, whose rights it takes, and where its log goes.

    *observer* is None where twistd's own choice of a log stands.
    """

    foreground: bool = True
    uid: int | None = None
    gid: int | None = None
    observer: ILogObserver | None = None
    log_file: LogFile | None = None

    @classmethod
    def from_twistd(cls, options: Mapping[str, Any], *, log_json: bool) -> ProcessSettings:
        """
        Read twistd's own options; in the foreground the log goes to standard error.
        """
        foreground = bool(options["nodaemon"])
        chosen = options.get("logger") or options.get("syslog")
        path = options.get("logfile") or ("" if foreground else "twistd.log")
        if chosen or (path and not log_json):
            return cls(foreground, options["uid"], options["gid"])
        log_file = LogFile.fromFullPath(path) if path and path != "-" else None
        stream: TextIO = log_file or (sys.stdout if path == "-" else sys.stderr)
        observer = json_observer(stream) if log_json else text_observer(stream)
        return cls(foreground, options["uid"], options["gid"], observer, log_file)


@attrs.define(eq=False)
class Bound:
    """
    The listening sockets, made while ports under 1024 may still be bound, or made by another process.

    A supervisor holds those that are *kept*, and another process those that are *shared* at the moment, the kept ones
    among them: in the end what waits at a shared one is left to others.
    """

    https: tuple[socket.socket, ...]
    http: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]
    kept: frozenset[socket.socket] = frozenset()
    shared: frozenset[socket.socket] = attrs.field(default=attrs.Factory(lambda bound: bound.kept, takes_self=True))

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """
        Give all of them.
        """
        return (*self.https, *self.http, *self.admin)

    @property
    def https_port(self) -> int:
        """
        Give the port that clients of another one are sent to for HTTPS: 443 where it is among them, else the first.
        """
        ports = [listening.getsockname()[1] for listening in self.https]
        return 443 if 443 in ports or not ports else int(ports[0])

    def share(self, others: frozenset[socket.socket]) -> None:
        """
        Take note that another process has *others* too, for now; and a supervisor the kept ones, always.
        """
        self.shared = self.kept | others

    def close(self) -> None:
        """
        Close them all.
        """
        for listening in self.sockets:
            listening.close()


def lock_state(config: Config) -> StateLock:
    """
    Make the state directory where it is missing, and take its lock.

    Raises:
        StartError: it can't be made or written, or another process uses it.
    """
    try:
        make_private_directory(config.state_dir)
    except OSError as error:
        raise StartError(
            f"the state directory {config.state_dir} can't be used: {error.strerror}; "
            "name another with state_dir, or give this user the right to write it"
        ) from None
    lock = StateLock(config.state_dir)
    lock.acquire()
    return lock


def was_killed(config: Config) -> bool:
    """
    Tell whether who used the state directory last has not ended by itself, or not yet: its lock is there.
    """
    return not is_absent(config.state_dir)


def bind_all(
    config: Config, inherited: InheritedSockets | None = None, workers: int = 1, *, is_patient: bool = False
) -> Bound:
    """
    Give a socket for every address of the configuration, or none: an *inherited* one where there is one, else bind it.

    For clients there is one for each of *workers*, unless others made it. One that *is_patient* waits a little for
    addresses that are taken.

    Raises:
        StartError: names the address, the cause, and what to do.
    """
    inherited = inherited or InheritedSockets()
    bound: list[socket.socket] = []
    kept: set[socket.socket] = set()
    deadline = time.monotonic() + (_LEFT_SECONDS if is_patient else 0.0)

    def at(address: Address, count: int) -> list[socket.socket]:
        taken = inherited.take(address)
        kept.update(one.socket for one in taken if one.is_kept)
        return [one.socket for one in taken] or _bound_by(deadline, address, count)

    def sockets(addresses: tuple[Address, ...], count: int = 1) -> tuple[socket.socket, ...]:
        before = len(bound)
        for address in addresses:
            bound.extend(at(address, count))
        return tuple(bound[before:])

    try:
        admin = (config.listen.admin,) if config.listen.admin else ()
        https, http = sockets(config.listen.https, workers), sockets(config.listen.http, workers)
        made = Bound(https, http, sockets(admin), frozenset(kept))
        inherited.finish()
    except StartError:
        for listening in bound:
            listening.close()
        inherited.close()
        raise
    return made


def _bound_by(deadline: float, address: Address, count: int) -> list[socket.socket]:
    """
    Bind *address* as soon as nobody else has it, until the moment *deadline*; blocks.
    """
    while True:
        try:
            return bind(address, count)
        except StartError as error:
            is_taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not is_taken or time.monotonic() >= deadline:
                raise
        time.sleep(_TRY_AGAIN_SECONDS)


def import_ahead(process: ProcessSettings) -> None:
    """
    Import now what is otherwise imported when first needed: another user may not be able to read where Python lies.
    """
    if process.uid is not None:
        for module in _IMPORTED_LATE:
            importlib.import_module(module)
        registered_domain("example.com")  # reads its list


def give_away(state_dir: Path, process: ProcessSettings) -> None:
    """
    Let the user that the daemon will run as own the state directory and what is in it.

    That user could write there at the last run: a link to another's file is not followed, whatever its kind.
    """
    if process.uid is None or os.geteuid() != 0:
        return
    gid = -1 if process.gid is None else process.gid
    for path in (state_dir, *state_dir.iterdir()):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            os.chown(path, process.uid, gid, follow_symlinks=False)


def raise_descriptor_limit(config: Config, workers: int = 1) -> None:
    """
    Allow as many open files as this process, and each of *workers* that inherits its limit, needs; or say so.
    """
    wanted = descriptors_wanted(config, workers)
    allowed = _allow_descriptors(wanted)
    if allowed < wanted:
        _log.warn(
            "limits.connections = {connections} and limits.upstream_connections = {upstream} need {wanted} open files, "
            "but a process may have {allowed}; raise LimitNOFILE (systemd), ulimits (Docker) or ulimit -Hn, or lower "
            "these limits",
            connections=config.limits.connections,
            upstream=config.limits.upstream_connections,
            wanted=wanted,
            allowed=allowed,
        )


def descriptors_wanted(config: Config, workers: int) -> int:
    """
    Tell how many open files a process needs at the most: one that serves, or the parent of *workers*.
    """
    addresses = len(config.listen.https) + len(config.listen.http)
    serving = addresses + _connections(config, 1 if config.renew_only else workers)
    parent = addresses * workers + workers * _PIPES if workers > 1 else 0
    return max(serving, parent) + _OTHER_DESCRIPTORS


def _connections(config: Config, workers: int) -> int:
    """
    Tell how many connections one of *workers* may have open: as many clients of HTTPS as of HTTP, and to upstreams what
    they take, but no more than there may be clients; or all of one upstream, as HTTP/2 clients can use them.
    """
    listen, domains, limits = config.listen, config.domains, config.limits
    clients = -(-limits.connections // workers) * (bool(listen.https) + bool(listen.http))
    if any(domain.passthrough is not None for domain in domains):
        return 2 * clients
    to_each = -(-limits.upstream_connections // workers)
    # Compared by identity first: 100,000 domains share a few.
    upstreams = set({id(domain.upstream): domain.upstream for domain in domains}.values())
    return clients + min(max(clients, to_each), len(upstreams) * to_each)


def _allow_descriptors(wanted: int) -> int:
    """
    Raise the limits to *wanted*, or as far as this user may; give what is allowed then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError):  # not privileged
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return wanted


def check_store(path: Path) -> None:
    """
    Open the store once, so that one that can't be used is said now; what serves opens it again after the fork.

    Raises:
        StartError: it can't be read or made, or a newer sptls made it.
    """
    # Not above: workers have no store, and each would wait for all that belongs to it.
    from sptls.certs.store_file import StoreFile

    file = StoreFile(path, wall_time)
    try:
        file.open()
        file.close()
    except StoreError as error:
        raise StartError(str(error)) from None
