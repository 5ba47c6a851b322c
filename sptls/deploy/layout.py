"""
The directory that other servers read certificates from: for each name a link to a directory with the present files.

``NAME`` is a relative symlink to ``.versions/NAME/VERSION``. A version is written whole beside its final place, synced,
and renamed; then the link is replaced by rename. So a server that opens files below ``NAME`` finds an old set or a new
one, after a crash or on a full disk too. The version before is kept, older ones are removed. What at ``NAME`` was not
made here is never touched. Which content and which names is `plan`'s to say. Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from sptls.deploy import plan
from sptls.errors import BadCertificate, DeployError, StartError
from sptls.files import PRIVATE_DIRECTORY_MODE, make_private_directory, sync_directory, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName

_log = Logger()

VERSIONS: Final = ".versions"
# No host name and no version begins with a dot: what does was left by a process that was killed.
_NEW: Final = ".new-"

_ADVICE: Final = {
    errno.ENOSPC: "free some space; what was in place still is",
    errno.EDQUOT: "free some space, or raise the quota; what was in place still is",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f, LimitFSIZE); what was in place still is",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "give the user that sptls runs as the right to write there",
    errno.EPERM: "give the user that sptls runs as the right to write there",
    errno.ENOTDIR: "move away what stands in the place of a directory",
}
_OTHER_ADVICE: Final = "check the disk and the kernel's log; what was in place still is"


def failed(error: OSError, path: Path) -> DeployError:
    """
    Give what an *error* of the system means, and what to do; *path* is meant where it names none.
    """
    advice = _ADVICE.get(error.errno or 0, _OTHER_ADVICE)
    return DeployError(str(error.filename or path), error.strerror or str(error), advice)


def prepare(directory: Path, uid: int | None, gid: int | None) -> None:
    """
    Make *directory* where it is missing, and let *uid*, as which the daemon will run, own what was made there.

    For the start, with the rights of the user who started it. An existing directory keeps its owner and its mode.

    Raises:
        StartError: it can't be made, or not be written.
    """
    try:
        is_new = not directory.exists()
        make_private_directory(directory)
        if uid is not None and os.geteuid() == 0:
            _give_away(directory, uid, -1 if gid is None else gid, is_new=is_new)
    except OSError as error:
        raise StartError(f"deploy.directory: {failed(error, directory)}") from None
    if uid is None and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise StartError(f"deploy.directory: {failed(PermissionError(errno.EACCES, 'Permission denied'), directory)}")


def put_all(
    directory: Path, bundles: Mapping[HostName, CertificateBundle]
) -> dict[HostName, bool | DeployError | BadCertificate]:
    """
    Put the files of *bundles* in place; gives for each name whether anything was changed, or why that can't be done.
    """
    outcomes: dict[HostName, bool | DeployError | BadCertificate] = {}
    for name, bundle in bundles.items():
        try:
            outcomes[name] = put(directory, name, bundle)
        except (DeployError, BadCertificate) as error:
            outcomes[name] = error
    return outcomes


def put(directory: Path, name: HostName, bundle: CertificateBundle) -> bool:
    """
    Have *name*'s link lead to the files of *bundle*; tells whether anything had to be changed.

    Raises:
        DeployError: that can't be done; what was linked still is.
        BadCertificate: the bundle can't be written as PEM.
    """
    link, contents = directory / plan.link_name(name), plan.files(bundle)
    versions = directory / VERSIONS / link.name
    try:
        before = _linked(link)
        if before is not None and _holds(versions / before, contents):
            return False
        for path in (directory, versions.parent, versions):
            make_private_directory(path)
        version = _put_version(versions, plan.version_name(bundle), contents)
        _replace_link(link, versions, version)
    except OSError as error:
        raise failed(error, link) from None
    _remove_old(versions, version, before)
    return True


def _linked(link: Path) -> str | None:
    """
    Give the version that *link* leads to; None where there is nothing.

    Raises:
        DeployError: there is something that was not made here.
    """
    try:
        target = Path(os.readlink(link))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:  # no symlink
            raise
        target = Path()
    if target.parent != Path(VERSIONS, link.name) or target.name.startswith("."):
        reason = "something that sptls did not make has that name"
        raise DeployError(str(link), reason, "move it away, and sptls puts its link there")
    return target.name


def _holds(version: Path, contents: Mapping[str, bytes]) -> bool:
    """
    Tell whether the directory *version* has exactly these *contents* in the files of these names.
    """
    try:
        return all((version / file_name).read_bytes() == content for file_name, content in contents.items())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _put_version(versions: Path, wanted: str, contents: Mapping[str, bytes]) -> str:
    """
    Have a version with these *contents*; gives its name: *wanted*, or that with a number where it was damaged.
    """
    free_or_same = (
        name
        for name in _candidates(wanted)
        if not os.path.lexists(versions / name) or _holds(versions / name, contents)
    )
    version = next(free_or_same)
    if os.path.lexists(versions / version):  # written before a crash that came before the link
        return version
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=versions))
    try:
        new.chmod(PRIVATE_DIRECTORY_MODE)  # a umask may have taken even the owner's bits
        for file_name, content in contents.items():
            write_private(new / file_name, content)
        os.rename(new, versions / version)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync_directory(versions)
    return version


def _candidates(wanted: str) -> Iterator[str]:
    yield wanted
    number = 2
    while True:
        yield f"{wanted}.{number}"
        number += 1


def _replace_link(link: Path, versions: Path, version: str) -> None:
    # Not beside the link: a name may have all the characters that a file system takes.
    new = versions / f"{_NEW}link"
    new.unlink(missing_ok=True)
    new.symlink_to(Path(VERSIONS, link.name, version))
    try:
        os.replace(new, link)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    sync_directory(link.parent)


def _remove_old(versions: Path, linked: str, before: str | None) -> None:
    """
    Remove all but the version that is *linked* and the one before it; what can't be removed is said.
    """
    try:
        others = sorted(entry.name for entry in os.scandir(versions) if entry.name != linked)
        kept = before or next((name for name in reversed(others) if not name.startswith(".")), None)
        for name in others:
            if name != kept:
                _remove(versions / name)
    except OSError as error:
        _log.warn("old certificate files stay: {error}", error=failed(error, versions))


def _remove(path: Path) -> None:
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def _give_away(directory: Path, uid: int, gid: int, *, is_new: bool) -> None:
    """
    Let *uid* own what was made here. That user could write there: no link is followed, and none is given away.
    """
    if is_new:
        os.chown(directory, uid, gid)
    if not (directory / VERSIONS).is_dir():
        return
    for _, _, file_names, descriptor in os.fwalk(directory / VERSIONS):
        os.chown(descriptor, uid, gid)
        for file_name in file_names:
            status = os.stat(file_name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.chown(file_name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
