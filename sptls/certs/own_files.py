"""
The two files of an own certificate: reading them, telling versions apart, and which version is in force.

They are replaced one after the other, so for a moment key and certificate do not fit: what was read before stays in
force, and the next look tries again. So it does when new files have faults that the old ones have not; which faults
there are is `bundle.faults`'s to say. Everything here blocks as long as the file system does.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import attrs

from sptls.certs.bundle import KEY_DOES_NOT_FIT, CertificateBundle, faults
from sptls.certs.pem import MAX_PEM_BYTES
from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sptls.names import HostName


@attrs.frozen
class OwnFiles:
    """
    The two files of one name; *place* is where the configuration names them.
    """

    name: HostName
    place: str
    certificate: Path
    key: Path


# What tells one version of a file from the next, whether it was rewritten or replaced.
_Version = tuple[int, int, int, int, int]


@attrs.frozen
class Found:
    """
    What looks at a name's files have come to: *bundle* is in force, read from *versions* of the files.

    *faults* are the bundle's at *judged_at*; *trouble* is why the files' present versions are not in force, and the
    same was found in *troubled_looks* looks in a row.
    """

    versions: tuple[_Version, ...]
    bundle: CertificateBundle
    faults: tuple[str, ...]
    judged_at: datetime
    trouble: str = ""
    troubled_looks: int = 0


def read(files: OwnFiles, now: datetime) -> Found:
    """
    Read both files of one name.

    Raises:
        OSError: one of them can't be read.
        BadCertificate: there is no usable key or certificate in them, or the key is another certificate's.
    """
    # Taken first: a change while the files are being read is seen by the next look.
    versions = _versions(files)
    bundle = CertificateBundle.from_pem(_content(files.key), _content(files.certificate))
    if not bundle.key_fits():
        raise BadCertificate(KEY_DOES_NOT_FIT)
    return Found(versions, bundle, faults(bundle, files.name, now), now)


def look(files: OwnFiles, before: Found, now: datetime) -> Found:
    """
    Give what is in force after a look at the files of one name; blocks.
    """
    before = _judged_again(files, before, now)
    try:
        if _versions(files) == before.versions:
            return attrs.evolve(before, trouble="", troubled_looks=0)
        after = read(files, now)
    except (OSError, BadCertificate) as error:
        return _troubled(before, sentence(files, error))
    if after.faults and not before.faults:
        return _troubled(before, f"{files.certificate}: " + "; ".join(after.faults))
    return after


def sentence(files: OwnFiles, error: OSError | BadCertificate) -> str:
    """
    Say which of the files can't be used and why.
    """
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return f"{files.certificate} with the key {files.key}: {error}"


def _judged_again(files: OwnFiles, found: Found, now: datetime) -> Found:
    """
    Give *found* with the faults of *now*: they change while the files do not when a validity begins or ends.
    """
    if found.bundle.valid_at(now) == found.bundle.valid_at(found.judged_at):
        return found
    return attrs.evolve(found, faults=faults(found.bundle, files.name, now), judged_at=now)


def _troubled(found: Found, trouble: str) -> Found:
    looks = found.troubled_looks + 1 if trouble == found.trouble else 1
    return attrs.evolve(found, trouble=trouble, troubled_looks=looks)


def _versions(files: OwnFiles) -> tuple[_Version, ...]:
    seen = (path.stat() for path in (files.certificate, files.key))
    return tuple((it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns) for it in seen)


def _content(path: Path) -> bytes:
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(MAX_PEM_BYTES + 1)


def _open_at_once(path: str, flags: int) -> int:
    # Opening a named pipe waits for a writer otherwise.
    return os.open(path, flags | os.O_NONBLOCK)
