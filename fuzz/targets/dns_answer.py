"""
What the DNS says of a customer's name: understood whatever is in it, told in one line.
"""

from __future__ import annotations

from typing import Final

from twisted.names import dns

from sptls.certs.precheck_rules import Ours, Seen, judge
from sptls.dns_questions import answer_in

_OURS: Final = Ours(frozenset({"192.0.2.1"}), frozenset({"letsencrypt.org"}), "https://ca.example/1", ("http-01",))


def _message(*records: tuple[int, bytes]) -> bytes:
    answers = b"".join(
        b"\xc0\x0c%b\0\x01\0\0\0\x3c%b%b" % (kind.to_bytes(2, "big"), len(rdata).to_bytes(2, "big"), rdata)
        for kind, rdata in records
    )
    return b"\0\x01\x81\x80\0\x01%b\0\0\0\0\x01a\x07example\0\0\x01\0\x01%b" % (
        len(records).to_bytes(2, "big"),
        answers,
    )


SEEDS: Final = (
    _message((1, b"\xc0\0\x02\x01")),
    _message((5, b"\x01b\x07example\0"), (1, b"\xc0\0\x02\x02")),
    _message((5, b"\x03\xff\n\x1b\0")),
    _message((28, bytes(16))),
    _message((257, b"\0\x05issueletsencrypt.org; validationmethods = dns-01; accounturi=x")),
    _message((257, b"\x80\x03tbs"), (257, b"\0\x05issue;"), (257, b"\0")),
    b"\0\x01\x81\x83\0\0\0\0\0\0\0\0",
)


def check(data: bytes) -> None:
    """
    See that every message that Twisted reads has a meaning, and that what is found fits a line.
    """
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # noqa: BLE001 - Twisted's to drop: the question is silent then
        return
    answer = answer_in(message)
    for found in judge(Seen(answer, answer, (answer,)), _OURS):
        assert found.diagnosis.cause.isprintable()
