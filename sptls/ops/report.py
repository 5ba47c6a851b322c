"""
Gathers what the parts know into the values of `status`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import attrs

from sptls.ops.status import DomainStatus, http_json, own_state, status_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sptls.certs.own import OwnCertificates
    from sptls.certs.renewer import Renewer
    from sptls.clock import WallClock
    from sptls.config import Config
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
    ) -> None:
        self.config = config
        self._renewer, self._served, self._own, self._tls = renewer, served, own, tls
        self._gateway, self._upstreams, self._access_log = gateway, upstreams, access_log
        self._wall_clock = wall_clock
        self._started_at: datetime = wall_clock()

    def status(self) -> dict[str, Any]:
        """
        Give the whole status, as plain values.
        """
        counters = self._gateway.counters
        return status_json(
            version=metadata.version("sptls"),
            serving=not self._gateway.finishing,
            started_at=self._started_at,
            domains=self._domains(),
            connections={"open": len(self._gateway.connections)},
            tls=attrs.asdict(self._tls.counts),
            http=http_json(counters),
            upstreams=[attrs.asdict(origin) for origin in self._upstreams.status()],
            access_log={"dropped_lines": self._access_log.dropped_lines},
        )

    def _domains(self) -> Iterator[DomainStatus]:
        now = self._wall_clock()
        own = {one.name: one for one in self._own.statuses()}
        for domain in self.config.domains:
            brought = own.get(domain.name)
            if brought is not None:
                problems = (*brought.faults, brought.trouble) if brought.trouble else brought.faults
                state = own_state(brought.bundle, problems, now)
                yield DomainStatus(domain.name.text, state, "own", brought.bundle, problem="; ".join(problems))
                continue
            state_of = self._renewer.state(domain.name)
            if state_of is not None:
                yield DomainStatus(
                    domain.name.text,
                    state_of.state,
                    self.config.acme.directory,
                    self._served.bundle_for(domain.name),
                    state_of.renew_at,
                    state_of.next_attempt_at,
                    state_of.last_error,
                )
