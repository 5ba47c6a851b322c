"""
The system's resolv.conf: addresses of servers to ask, never none.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from sptls.certs.precheck_rules import DNS_PORT, name_servers

SEEDS: Final = (
    b"# made by a program\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0\n",
    b"nameserver\t192.0.2.53 ; x\r\nnameserver fe80::1%eth0\nnameserver dns.example\n",
    b"search example\n",
    b"nameserver 192.0.2.1\n" * 5,
)


def check(data: bytes) -> None:
    """
    See that any text names a few servers that can be asked.
    """
    found = name_servers(data.decode("utf-8", "replace"))
    assert 1 <= len(found) <= 3
    for host, port in found:
        assert host == str(ipaddress.ip_address(host))
        assert port == DNS_PORT
