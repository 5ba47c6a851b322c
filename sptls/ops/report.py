"""
Gathers what the parts know into the values of `status`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from sptls.ops.status import (
    DomainStatus,
    Reading,
    ordered_status,
    own_state,
    passed_through,
    reading_json,
    status_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from sptls.certs.own import OwnCertificates
    from sptls.certs.renewer import Renewer
    from sptls.clock import WallClock
    from sptls.config import Config
    from sptls.deploy.plan import DeployState
    from sptls.names import HostName
    from sptls.ops.traffic import Traffic
    from sptls.tls.served import ServedCertificates

# Read at the start: when the files on the disk are upgraded, this process still is what it was, and another user's
# files may be out of its reach by then.
_VERSION: Final = metadata.version("sptls")


class Reported(Protocol):
    """
    What faces the clients, as far as it is reported.
    """

    @property
    def is_serving(self) -> bool:
        """
        Tell whether new clients are welcome.
        """

    @property
    def rows(self) -> list[dict[str, Any]]:
        """
        Give what is said of each worker process; nothing where there is one process for all.
        """

    def traffic(self) -> Traffic:
        """
        Give what was counted.
        """


class Report:
    """
    What ``/status`` is asked for, from the parts of one daemon.
    """

    def __init__(
        self,
        config: Config,
        renewer: Renewer,
        served: ServedCertificates,
        own: OwnCertificates,
        front: Reported,
        wall_clock: WallClock,
        deploy_state: Callable[[HostName], DeployState | None],
    ) -> None:
        self.config = config
        self._renewer, self._served, self.own, self._front = renewer, served, own, front
        self._wall_clock, self._deploy_state = wall_clock, deploy_state
        self._started_at: datetime = wall_clock()
        self._reading = Reading(self._started_at)

    def go_over(
        self, renewer: Renewer, served: ServedCertificates, deploy_state: Callable[[HostName], DeployState | None]
    ) -> None:
        """
        Ask these from now on, which have taken the places of others.
        """
        self._renewer, self._served, self._deploy_state = renewer, served, deploy_state

    def was_read(self, reading: Reading) -> None:
        """
        Take note that the configuration was read again, and what came of it.
        """
        self._reading = reading

    def status(self) -> Iterator[str]:
        """
        Give the whole status as JSON, in pieces that are made as they are asked for.
        """
        return status_text(
            version=_VERSION,
            serving=self._front.is_serving,
            started_at=self._started_at,
            domains=self.domains(domain.name for domain in self.config.domains),
            configuration=reading_json(self._reading),
            **self._front.traffic().sections,
            workers=self._front.rows,
        )

    def domains(self, names: Iterable[HostName]) -> Iterator[DomainStatus]:
        """
        Tell how each of *names* stands; one that is not served is left out.
        """
        now, directories = self._wall_clock(), [acme.directory for acme in self.config.cas]
        own = {one.name: one for one in self.own.statuses()}
        for name in names:
            brought = own.get(name)
            if brought is not None:
                problems = (*brought.faults, brought.trouble) if brought.trouble else brought.faults
                state = own_state(brought.bundle, problems, now)
                yield DomainStatus(name.text, state, "own", brought.bundle, problem="; ".join(problems))
                continue
            state_of = self._renewer.state(name)
            if state_of is not None:
                status = ordered_status(name, state_of, self._served.bundle_for(name), directories)
                yield attrs.evolve(status, deployment=self._deploy_state(name))
            elif self._served.passthrough_for(name) is not None:
                yield passed_through(name)
