"""
What can be said and shown of certificates without a daemon: from the store, the configuration, and the files it names.

Reads only. How a name stands is what the daemon would make of it at its start: `certs.standing` decides that, here as
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sptls.certs import own_files as files_of_own
from sptls.certs import schedule
from sptls.certs.own_files import OwnFiles
from sptls.certs.records import NO_HISTORY, Loaded
from sptls.certs.schema import STORE_FILE
from sptls.certs.standing import Standing
from sptls.certs.store_reader import read_store
from sptls.clock import wall_time
from sptls.errors import BadCertificate
from sptls.ops.status import DomainStatus, ordered_status, own_state, passed_through

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.cli.options import Place
    from sptls.config import Config
    from sptls.names import HostName


@attrs.frozen
class Stored:
    """
    What is stored, and the *config* that goes with it, None where there is none.
    """

    loaded: Loaded
    config: Config | None
    _own: Mapping[HostName, OwnFiles] = attrs.field(init=False)

    @_own.default
    def _find_own(self) -> Mapping[HostName, OwnFiles]:
        return {} if self.config is None else {files.name: files for files in own_files(self.config)}

    @classmethod
    def at(cls, where: Place) -> Stored:
        """
        Read the store that *where* means, and the configuration if there is one.

        Raises:
            ConfigError: the configuration has faults.
            StoreError: the store can't be read.
        """
        config = None if where.source is None else where.config()
        state_dir = where.state_dir() if config is None else config.state_dir
        return cls(read_store(state_dir / STORE_FILE), config)

    @property
    def names(self) -> tuple[HostName, ...]:
        """
        Give the domains of the configuration, or all that anything is stored of.
        """
        if self.config is not None:
            return tuple(domain.name for domain in self.config.domains)
        return tuple(sorted({*self.loaded.certificates, *self.loaded.histories}))

    def unknown(self, name: HostName) -> str:
        """
        Say of *name*, which is none of `names`, why it is not.
        """
        where = "nothing is stored of it" if self.config is None else "it is none of the configuration's domains"
        return f"{name}: {where}"

    @property
    def passed_through(self) -> frozenset[HostName]:
        """
        Give the domains that another server has, certificate and all.
        """
        domains = () if self.config is None else self.config.domains
        return frozenset(domain.name for domain in domains if domain.passthrough is not None)

    def bundle(self, name: HostName) -> CertificateBundle | None:
        """
        Give the certificate of *name*: its own one, or what is stored; None where there is neither.

        Raises:
            BadCertificate: its own one can't be used.
            OSError: its own one can't be read.
        """
        files = self._own.get(name)
        if files is not None:
            return files_of_own.read(files, wall_time()).bundle
        stored = self.loaded.certificates.get(name)
        return None if stored is None else stored.bundle

    def statuses(self, names: Iterable[HostName], now: datetime) -> Iterator[DomainStatus]:
        """
        Tell how each of *names* stands *now*.
        """
        elsewhere = self.passed_through
        for name in names:
            files = self._own.get(name)
            if name in elsewhere:
                yield passed_through(name)
            else:
                yield self._ordered(name, now) if files is None else _own_status(files, now)

    def _ordered(self, name: HostName, now: datetime) -> DomainStatus:
        certificate = self.loaded.certificates.get(name)
        history = schedule.corrected(self.loaded.histories.get(name, NO_HISTORY), now)
        directories = [history.directory if certificate is None else certificate.directory]
        if self.config is not None:
            directories = [acme.directory for acme in self.config.cas]
        bundle = None if certificate is None else certificate.bundle
        state = Standing(name, certificate, history).state(now, is_running=False)
        return ordered_status(name, state, bundle, directories)


def own_files(config: Config) -> Iterator[OwnFiles]:
    """
    Give the files of the domains that bring their own certificate.
    """
    for index, domain in enumerate(config.domains):
        if domain.certificate is not None and domain.key is not None:
            yield OwnFiles(domain.name, f"domains[{index}]", domain.certificate, domain.key)


def _own_status(files: OwnFiles, now: datetime) -> DomainStatus:
    try:
        found = files_of_own.read(files, now)
    except (OSError, BadCertificate) as error:
        return DomainStatus(files.name.text, "faulty", "own", problem=files_of_own.sentence(files, error))
    state = own_state(found.bundle, found.faults, now)
    return DomainStatus(files.name.text, state, "own", found.bundle, problem="; ".join(found.faults))
