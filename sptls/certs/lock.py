"""
One process per state directory: a lock that the kernel drops with the process, however it ends.

``flock`` belongs to the open file, so it outlives the fork by which twistd becomes a daemon, and a process that takes
over from a running one can be given the open file: no moment passes in which a third could take the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING, Final

from sptls.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

# A file that its holder removes between our opening and locking it is opened again; twice would be odd already.
_ATTEMPTS: Final = 10
_NAME: Final = "lock"
# Linux has ids up to 2²² (proc_sys_kernel(5)); 0 and negative ones would mean groups of processes (kill(2)).
_PROCESS_ID: Final = re.compile(rb"([1-9][0-9]{0,9})\s*")
_MOST_BYTES: Final = 20


def is_absent(state_dir: Path) -> bool:
    """
    Tell whether *state_dir* has no lock at all, as after the end of who had it; one who was killed leaves it.
    """
    return not os.path.lexists(state_dir / _NAME)


def is_free(state_dir: Path) -> bool:
    """
    Tell whether no process holds the lock of *state_dir*; a directory that can't be read is not free.
    """
    try:
        descriptor = os.open(state_dir / _NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def noted_process(state_dir: Path) -> int | None:
    """
    Give the id of the process that last had the lock of *state_dir*, dead or alive; None where none can be read.
    """
    try:
        descriptor = os.open(state_dir / _NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _process_id(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


class StateLock:
    """
    The lock on a state directory: a file ``lock`` in it, with the holder's process id for people to read.

    While it *is_shared*, another process holds it as well, and goes on holding it when this one releases it.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir, self._path = state_dir, state_dir / _NAME
        self._descriptor: int | None = None
        self.is_shared = False

    @classmethod
    def shared(cls, state_dir: Path, descriptor: int) -> StateLock:
        """
        Give the lock that another process holds too, and whose open file it passed on as *descriptor*.
        """
        lock = cls(state_dir)
        lock._descriptor, lock.is_shared = descriptor, True
        return lock

    def fileno(self) -> int:
        """
        Give the open file's descriptor, -1 when the lock is not held.
        """
        return -1 if self._descriptor is None else self._descriptor

    def acquire(self) -> None:
        """
        Take the lock, or say who has it. Never waits.

        Raises:
            StartError: another process has it, or the directory can't be written.
        """
        for _ in range(_ATTEMPTS):
            descriptor = self._open()
            if not self._locked(descriptor):
                holder = _process_id(descriptor)
                os.close(descriptor)
                raise StartError(
                    f"another sptls (pid {holder or 'unknown'}) uses this state directory: {self._state_dir}; "
                    "stop it, or set another state_dir"
                )
            if self._is_current(descriptor):
                self._descriptor = descriptor
                self.write_pid()
                return
            os.close(descriptor)
        raise StartError(f"the lock {self._path} is removed again and again; see which process does it")

    def write_pid(self) -> None:
        """
        Write this process's id into the file; again after a fork.
        """
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """
        Remove the file and give the lock back; fine when it is not held. One that is shared stays the other's.
        """
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # Removed while still locked: who opened it meanwhile finds that it is not the current one. It stays where the
        # user changed since it was made; unlocked, it harms nobody.
        with contextlib.suppress(OSError):
            if not self.is_shared:
                self._path.unlink(missing_ok=True)
        os.close(descriptor)

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)  # a umask may have taken even the owner's bits
        except OSError as error:
            raise StartError(
                f"the state directory {self._state_dir} can't be used: {error.strerror}; "
                "it must exist and be writable for this user"
            ) from None
        return descriptor

    def _locked(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(current, os.fstat(descriptor))


def _process_id(descriptor: int) -> int | None:
    """
    Give the process id that is written in a lock's open file, which may be damaged.
    """
    written = _PROCESS_ID.fullmatch(os.pread(descriptor, _MOST_BYTES, 0))
    return None if written is None else int(written[1])
