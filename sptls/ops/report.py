"""
Gathers what the parts know into the values of `status`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import attrs

from sptls.ops.status import (
    DomainStatus,
    Reading,
    http_json,
    ordered_status,
    own_state,
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
    from sptls.proxy.access_log import AccessLog
    from sptls.proxy.gateway import Gateway
    from sptls.proxy.upstream import Upstreams
    from sptls.tls.served import ServedCertificates
    from sptls.tls.server import TlsServer


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
        tls: TlsServer,
        gateway: Gateway,
        upstreams: Upstreams,
        access_log: AccessLog,
        wall_clock: WallClock,
        deploy_state: Callable[[HostName], DeployState | None],
    ) -> None:
        self.config = config
        self._renewer, self._served, self.own, self._tls = renewer, served, own, tls
        self._gateway, self._upstreams, self._access_log = gateway, upstreams, access_log
        self._wall_clock, self._deploy_state = wall_clock, deploy_state
        self._started_at: datetime = wall_clock()
        self._reading = Reading(self._started_at)

    def was_read(self, reading: Reading) -> None:
        """
        Take note that the configuration was read again, and what came of it.
        """
        self._reading = reading

    def status(self) -> Iterator[str]:
        """
        Give the whole status as JSON, in pieces that are made as they are asked for.
        """
        counters = self._gateway.counters
        return status_text(
            version=metadata.version("sptls"),
            serving=not self._gateway.finishing,
            started_at=self._started_at,
            domains=self.domains(domain.name for domain in self.config.domains),
            configuration=reading_json(self._reading),
            connections={"open": len(self._gateway.connections)},
            tls=attrs.asdict(self._tls.counts),
            http=http_json(counters),
            upstreams=[attrs.asdict(origin) for origin in self._upstreams.status()],
            access_log={"dropped_lines": self._access_log.dropped_lines},
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
