"""
What a daemon answers to a command: domains, each in words that fit a line of a terminal, or a sentence.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from sptls.cli import client, wording
from sptls.cli.domain import Domain
from sptls.errors import ControlError
from sptls.ops.status import domain_json
from tests.ops.web import failing, valid

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STATUSES: Final = (200, 400, 404, 409, 413, 500)
_MOMENT: Final = "2026-02-01T00:00:00Z"
_VALID: Final = domain_json(valid("a.example", bundle=None, renew_at=None))
_FAILING: Final = domain_json(failing("b.example"))

SEEDS: Final = (
    b"\x00" + json.dumps({"domains": [_VALID | {"not_after": _MOMENT, "renew_at": _MOMENT}]}).encode(),
    b"\x00" + json.dumps({"domains": [_FAILING | {"next_attempt_at": _MOMENT, "dns_changed_at": _MOMENT}]}).encode(),
    b"\x00" + json.dumps({"domains": [_VALID | {"issuer": "CN=A\\,B,O=x\x1b[2J", "not_after": _MOMENT}]}).encode(),
    b"\x00" + json.dumps({"domains": [_FAILING | {"cause": "x", "who": "dns", "advice": "y\n"}]}).encode(),
    b'\x00{"domains": [{"name": "x y", "error": "no host name"}]}',
    b'\x01{"error": "the body is not JSON"}',
    b"\x02<html>Not Found",
    b"\x00" + b"[" * 2000,
)


def check(data: bytes) -> None:
    """
    See that what was answered can be shown, or is told as what it is.
    """
    try:
        answer = client._read(_STATUSES[data[0] % len(_STATUSES)] if data else 200, data[1:])  # noqa: SLF001 - its rest is http.client's
        domains, errors = client.entries(client.listed(answer), is_whole=False)
    except ControlError as error:
        assert str(error)
        return
    assert wording.count(domains)
    wording.other_version(answer.get("version"), "0.1.0", domains)
    assert all(isinstance(error, str) for error in errors)
    for domain in domains:
        _check_words(domain)


def _check_words(domain: Domain) -> None:
    domain.is_fine(_NOW)
    domain.needs_no_order(_NOW)
    assert wording.validity(domain, _NOW)
    assert wording.next_step(domain, _NOW)
    wording.problem(domain)
    shown = [wording.issuer(domain), *(words for line in wording.explanation(domain, (), _NOW) for words in line)]
    assert not any({*map(chr, range(0x20)), "\x7f", "\x9b"} & {*words} for words in shown)
