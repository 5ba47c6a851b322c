"""
What answers to the self-check at an address that a customer's DNS chose: judged whatever it is, told in one short line.
"""

from __future__ import annotations

from typing import Final

from sptls.certs.reach_rules import PROBE_BYTES, Probe, findings, http_answer, is_enough

_ADDRESS: Final = "192.0.2.1"
_PROBE: Final = Probe.of(bytes(PROBE_BYTES))
_ANSWER: Final = _PROBE.key_authorization.encode("ascii")

SEEDS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n" + _ANSWER,
    b"HTTP/1.1 404 Not Found\r\nServer: nginx/1.18\r\n\r\n",
    b"HTTP/1.0 301 Moved\r\nlocation: https://[2001:db8::1]/x?y\r\nServer: \x1b[2J\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"",
)


def check(data: bytes) -> None:
    """
    See that only our own answer is taken for ours, and what is told fits a line.
    """
    is_enough(data, _PROBE)
    reached = http_answer(_ADDRESS, data, _PROBE)
    assert (reached.verdict == "ours") == (_ANSWER in data)
    assert reached.words.isprintable()
    assert len(reached.words) < 200
    assert all(found.diagnosis.cause.isprintable() for found in findings([reached]))
