"""
The store's daily copy, and certificates read from exported files: where they come from when the store is lost.

A copy is a whole database beside the store, as new as a day, made by SQLite while the store is in use; there is always
the old one or the new one. When it is due and what is taken of exported files is `rescue`'s to say, when one is needed
`store_file`'s. The functions block; `DailyCopies` is the service that has copies made, in the store's thread.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.certs import schema
from sptls.certs.bundle import CertificateBundle
from sptls.certs.pem import MAX_PEM_BYTES
from sptls.errors import BadCertificate, StoreError
from sptls.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twisted.internet.interfaces import IReactorTime

    from sptls.names import HostName

_log = Logger()

# The start has other things to do, and a daemon that is restarted every few seconds must not copy each time.
FIRST_LOOK_SECONDS: Final = 60.0
# A disk that was full is tried again this often.
LOOK_AGAIN_SECONDS: Final = 3600.0


def copy_path(store: Path) -> Path:
    """
    Give where the copy of the *store* is.
    """
    return store.with_name(f"{store.name}.daily")


def made_at(store: Path) -> datetime | None:
    """
    Give the moment when the copy of the *store* was made; None where there is none that can be looked at.
    """
    try:
        return datetime.fromtimestamp(copy_path(store).stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return None


def make(connection: sqlite3.Connection, store: Path, now: datetime) -> None:
    """
    Copy the *store*, which is open as *connection* and was found sound, in the place of its old copy.

    Raises:
        StoreError: there is no room for it, or the directory can't be written; the old copy is still there.
    """
    path = copy_path(store)
    temporary = None
    try:
        # mkstemp makes it with mode 0600, and SQLite gives its journal the same.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            _write(connection, temporary)
            os.utime(temporary, (now.timestamp(), now.timestamp()))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        temporary = None
        sync_directory(path.parent)
    except OSError as error:
        raise StoreError(str(path), f"{error.strerror}; the copy of the store before is kept") from None
    except sqlite3.Error as error:
        raise schema.store_error(path, error) from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _write(connection: sqlite3.Connection, path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        # What is lost when this breaks off is a temporary file; it is synced in the end, once.
        copy.execute("PRAGMA journal_mode=OFF").close()
        copy.execute("PRAGMA synchronous=OFF").close()
        connection.backup(copy)


def is_needed(store: Path) -> bool:
    """
    Tell whether the *store* is missing or empty though there is a copy of it.
    """
    try:
        has_content = store.stat().st_size > 0
    except OSError:
        has_content = False
    return not has_content and made_at(store) is not None


def fill(connection: sqlite3.Connection, store: Path) -> str:
    """
    Bring what the *store*, open as *connection*, lacks and its copy has; says in words what that was, or "".

    To a store without any certificate comes all that the copy has, to another one certificates and accounts alone: its
    own memory of the names is newer. A copy that is damaged itself gives what can be read of it.

    Raises:
        sqlite3.Error: the store can't be written.
    """
    moment = made_at(store)
    if moment is None:
        return ""
    path = copy_path(store)
    with suppress(sqlite3.Error, UnicodeDecodeError, StoreError):
        # Brings a copy that an older sptls made to the newest schema.
        schema.connect(path, 0.0).close()
    before = _certificates(connection)
    schema.copy_rows(path, connection, None if before == 0 else ("certificate", "account"))
    brought = _certificates(connection) - before
    return f"{brought} certificates came from the copy of {moment:%Y-%m-%d %H:%M} UTC, {path}"


def _certificates(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM certificate").fetchone()[0])


def exported(files: Mapping[HostName, tuple[Path, Path]]) -> dict[HostName, CertificateBundle]:
    """
    Read the certificates in these *files*, a chain and a key for each name; those that can't be read are left out.

    Whether they can be served is for `rescue` to say.
    """
    found = {}
    for name, (chain, key) in files.items():
        try:
            found[name] = CertificateBundle.from_pem(_content(key), _content(chain))
        except FileNotFoundError:
            continue
        except (OSError, BadCertificate) as error:
            _log.warn("{name}: {path} is of no use: {error}", name=name, path=str(chain), error=error)
    return found


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PEM_BYTES + 1)


class CopiedStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def copy_if_due(self) -> None:
        """
        Make the daily copy if it is due.
        """


class DailyCopies:
    """
    Has the copy of a *store* made when it is due, while the daemon runs.
    """

    def __init__(self, store: CopiedStore, clock: IReactorTime) -> None:
        self._store, self._clock = store, clock
        self._is_failing = False
        self._looking: Deferred[None] | None = None

    def start(self) -> None:
        """
        Look in a minute, and every hour from then on.
        """
        self._looking = Deferred.fromCoroutine(self._look_on())

    async def stop(self) -> None:
        """
        Look no more; a copy that is being made is finished with the store.
        """
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            with suppress(CancelledError):
                await looking

    async def _look_on(self) -> None:
        await deferLater(self._clock, FIRST_LOOK_SECONDS)
        while True:
            await self._look()
            await deferLater(self._clock, LOOK_AGAIN_SECONDS)

    async def _look(self) -> None:
        try:
            await self._store.copy_if_due()
        except CancelledError:
            raise
        except StoreError as error:
            if not self._is_failing:
                _log.error("no daily copy of the store: {error}; tried again every hour", error=error)
            self._is_failing = True
        except Exception:  # noqa: BLE001 - the next look may succeed, and no other loop does this
            _log.failure("the store could not be copied")
        else:
            self._is_failing = False
