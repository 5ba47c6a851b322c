"""
What the TLS server counts, as plain ints: cheap to add to, and read by the status page.
"""

from __future__ import annotations

import attrs


@attrs.define
class TlsCounts:
    """
    What happened since the start; *open* and *holding* are how many there are now.
    """

    accepted: int = 0
    open: int = 0
    handshakes: int = 0
    handshake_failures: int = 0
    not_tls: int = 0
    hello_timeouts: int = 0
    refused: int = 0
    held: int = 0
    holding: int = 0
    hold_timeouts: int = 0
    proxy_header_failures: int = 0
    passed_through: int = 0
    passing_through: int = 0
    passthrough_failures: int = 0
    over_address_limit: int = 0
