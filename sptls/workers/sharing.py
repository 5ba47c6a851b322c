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


def for_worker(config: Config, index: int, count: int) -> Config:
    """
    Give what worker *index* of *count* (from 0) goes by: its share of what may be open or wait at the same time, and
    nothing of CAs, files and warnings.

    The shares add up to the limit; but each has a connection to serve, and one to an upstream.
    """
    limits = config.limits
    limits = attrs.evolve(
        limits,
        connections=max(1, share_of(limits.connections, index, count)),
        upstream_connections=max(1, share_of(limits.upstream_connections, index, count)),
        upstream_waiting=share_of(limits.upstream_waiting, index, count),
    )
    return attrs.evolve(
        config, limits=limits, acme=AcmeConfig(), more_cas=(), deploy=DeployConfig(), notify=NotifyConfig()
    )


def share_of(limit: int, index: int, count: int) -> int:
    """
    Give the share of *limit* that worker *index* of *count* (from 0) has; the first ones have what is left over.
    """
    return limit // count + (index < limit % count)
