"""
What somebody says at the control socket: one answer in JSON, with a sentence for whoever made a mistake.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from twisted.internet.task import Clock

from fuzz.targets.pem import CERTIFICATE, KEY
from sptls.errors import StartError
from sptls.names import HostName
from sptls.ops.control import MAX_BODY_BYTES, MAX_NAMES, control_site
from tests.ops.web import FakeControls, Talk, ask, content, failing, valid
from tests.proxy.wire import logged

_CALLS: Final = (b"issue", b"renew", b"examine", b"revoke", b"import", b"hand-over", b"domains?name=", b"nowhere")
_STATUSES: Final = frozenset({200, 400, 404, 405, 409, 413})
_OFFER: Final = {
    "name": "a.example",
    "key": KEY.decode(),
    "chain": CERTIFICATE.decode(),
    "server": "https://ca.example/",
}

SEEDS: Final = (
    b'\x00{"names": ["a.example", "B.Example.", "x y", "c.example"]}',
    b'\x01{"names": ["a.example"], "now": true}',
    b'\x02{"name": "a.example"}',
    b'\x03{"name": "a.example", "reason": 4}',
    b"\x04" + json.dumps({"certificates": [_OFFER], "dry_run": True}).encode(),
    b'\x04{"certificates": [{"name": "", "key": "\\ud800", "chain": "x", "server": ""}]}',
    b'\x05{"version": 1}',
    b"\x06a.example&name=b.example&name=%ff",
    b"\x07",
    b'\x00{"names": [%b]}' % b", ".join([b'"a"'] * (MAX_NAMES + 1)),
    b"\x02" + b"[" * 2000,
    b"\xffGET /status HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /issue HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"\xffPOST /renew HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES,
)


def check(data: bytes) -> None:
    """
    See that the call that the first byte names, with the rest as its body, is answered, and nothing breaks.
    """
    controls = FakeControls(valid("a.example"), failing("b.example"))
    site = control_site(Clock(), controls, _refuse)
    number, rest = data[0] if data else 0, data[1:]
    with logged() as events:
        if number >= len(_CALLS):
            talk = Talk(site)
            talk.say(rest)
            talk.end()
        elif _CALLS[number].endswith(b"="):
            query = b"".join(b"%%%02x" % byte if byte <= 0x20 or byte >= 0x7F else bytes((byte,)) for byte in rest)
            _check_answer(ask(site, b"GET", b"/" + _CALLS[number] + query), number)
        else:
            _check_answer(ask(site, b"POST", b"/" + _CALLS[number], rest), number)
    assert events == []
    for asked in controls.asked:
        HostName.parse(asked.split()[0].rstrip("!"))


def _refuse(version: int) -> NoReturn:
    raise StartError(f"version {version} is another one")


def _check_answer(answer: bytes, number: int) -> None:
    status = int(answer.split(b" ")[1])
    assert status in _STATUSES
    if _CALLS[number] != b"nowhere":
        told = json.loads(content(answer))
        assert isinstance(told, dict)
        assert (status == 200) == ("error" not in told)
