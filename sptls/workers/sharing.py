"""
Who gets what: of the sockets, and of a configuration whose limits are for all workers together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sptls.config import AcmeConfig, DeployConfig, NotifyConfig

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from sptls.config import Config


def share(addresses: Sequence[Hashable], index: int, count: int) -> tuple[int, ...]:
    """
    Give the positions of the sockets that worker *index* of *count* (from 0) accepts on; *addresses* has each one's.

    Each socket has somebody, or the clients in its queue would have nobody. Where an address has fewer sockets than
    there are workers (one, from systemd), several workers accept on the same.
    """
    by_address: dict[Hashable, list[int]] = {}
    for position, address in enumerate(addresses):
        by_address.setdefault(address, []).append(position)
    mine: list[int] = []
    for positions in by_address.values():
        mine += positions[index::count] or [positions[index % len(positions)]]
    return tuple(mine)


def for_worker(config: Config, count: int) -> Config:
    """
    Give what one of *count* workers goes by: its share of what may be open or wait at the same time, rounded up, and
    nothing of CAs, files and warnings.
    """
    limits = config.limits
    limits = attrs.evolve(
        limits,
        connections=_share(limits.connections, count),
        upstream_connections=_share(limits.upstream_connections, count),
        upstream_waiting=_share(limits.upstream_waiting, count),
    )
    return attrs.evolve(
        config, limits=limits, acme=AcmeConfig(), more_cas=(), deploy=DeployConfig(), notify=NotifyConfig()
    )


def _share(limit: int, count: int) -> int:
    return -(-limit // count)
