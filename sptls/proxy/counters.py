"""
What the proxy counts, as plain ints: cheap to add to, and read by the status page.
"""

from __future__ import annotations

import attrs


@attrs.define
class Counters:
    """
    Totals since the start; *answers* are by the first digit of the status (index 4: 4xx, 499 included).

    *slow_readers* lost their answers to others who waited for the upstream, *held_too_much* their connections, or their
    requests, when too much was held for those who are slow.
    """

    connections: int = 0
    requests: int = 0
    error_pages: int = 0
    answers: list[int] = attrs.Factory(lambda: [0] * 10)
    client_left: int = 0
    upstream_connections: int = 0
    upstream_errors: int = 0
    upstream_retries: int = 0
    proxy_header_failures: int = 0
    over_address_limit: int = 0
    slow_readers: int = 0
    held_too_much: int = 0
