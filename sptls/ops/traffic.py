"""
What the processes that serve clients count, and how several of them add up to what ``/status`` says.

Pure: plain values that JSON can hold. What is open or waits ends with its process, what was counted stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Of the counts of TLS (`tls.counts.TlsCounts`), those that tell how many there are now.
_PRESENT: Final = frozenset({"open", "holding", "passing_through"})


@attrs.frozen
class Traffic:
    """
    The sections of ``/status`` about clients and tracking services.

    *upstreams* are by URL; their numbers are of the moment, as is how many *connections* are open.
    """

    connections: int = 0
    tls: Mapping[str, int] = attrs.field(factory=dict)
    http: Mapping[str, Any] = attrs.field(factory=dict)
    upstreams: tuple[Mapping[str, Any], ...] = ()
    dropped_lines: int = 0

    @property
    def sections(self) -> dict[str, Any]:
        """
        Give them as ``/status`` has them.
        """
        return {
            "connections": {"open": self.connections},
            "tls": dict(self.tls),
            "http": dict(self.http),
            "upstreams": [dict(upstream) for upstream in self.upstreams],
            "access_log": {"dropped_lines": self.dropped_lines},
        }


def left_behind(traffic: Traffic) -> Traffic:
    """
    Give what is left of a process's *traffic* when it has ended: its counts, and nothing that is open.
    """
    tls = {key: 0 if key in _PRESENT else count for key, count in traffic.tls.items()}
    return attrs.evolve(traffic, connections=0, tls=tls, upstreams=())


def total(each: Iterable[Traffic]) -> Traffic:
    """
    Add *each* up.
    """
    together = Traffic()
    for one in each:
        together = Traffic(
            together.connections + one.connections,
            _sum(together.tls, one.tls),
            _sum(together.http, one.http),
            _upstreams(together.upstreams, one.upstreams),
            together.dropped_lines + one.dropped_lines,
        )
    return together


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """
    Add numbers with the same key, and what is below a key that both have.
    """
    result = dict(one)
    for key, value in other.items():
        before = result.get(key)
        if before is None:
            result[key] = value
        elif isinstance(value, int):
            result[key] = before + value
        elif isinstance(value, list | tuple):
            result[key] = [left + right for left, right in zip(before, value, strict=True)]
        else:
            result[key] = _sum(before, value)
    return result


def _upstreams(
    one: tuple[Mapping[str, Any], ...], other: tuple[Mapping[str, Any], ...]
) -> tuple[Mapping[str, Any], ...]:
    """
    Add the numbers of the same upstream; its addresses and its trouble are those of the first that knows any.
    """
    by_url = {upstream["url"]: dict(upstream) for upstream in one}
    for upstream in other:
        before = by_url.setdefault(upstream["url"], {})
        for key, value in upstream.items():
            known = before.get(key)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            before[key] = (known or 0) + value if is_number else known or value
    return tuple(by_url.values())
