"""
Tests for `sptls.ops.control`, through twisted.web in memory.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from sptls.certs.intake import Offer
from sptls.certs.records import Loaded
from sptls.config import AcmeConfig, Config, DomainConfig
from sptls.errors import NotRevocable, SptlsError
from sptls.names import HostName
from sptls.ops.control import MAX_BODY_BYTES, MAX_CERTIFICATES, MAX_NAMES, Controls, DaemonControls, control_site
from sptls.ops.status import DomainStatus
from sptls.precheck import Check
from tests.certs.stored import CLICK, outcome, stored
from tests.ops.web import ADDRESS, FakeControls, Talk, ask, content, issuing, valid
from tests.test_parts import _made


def _call(controls: Controls, method: bytes, target: bytes, body: object = b"") -> tuple[int, Any]:
    """
    Give the status code of a call, and the JSON that it was answered with.
    """
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = ask(control_site(Clock(), controls), method, target, sent)
    return int(answer.split(b" ")[1]), json.loads(content(answer))


def test_status_is_the_whole_one() -> None:
    """
    GET /status answers all domains.
    """
    status, told = _call(FakeControls(valid("a.example"), issuing("b.example")), b"GET", b"/status")
    assert (200, {"valid": 1, "issuing": 1}) == (status, told["states"])


def test_few_domains_are_told_in_the_order_asked() -> None:
    """
    Each name is told once, in whatever spelling it was asked for.
    """
    controls = FakeControls(valid("a.example"), valid("b.example"))
    _, told = _call(controls, b"GET", b"/domains?name=b.example&name=A.example.&name=b.example")
    assert ["b.example", "a.example"] == [domain["name"] for domain in told["domains"]]


@pytest.mark.parametrize(
    ("name", "said"), [("x.example", "none of the domains"), ("not%20one", "is not a host name"), ("%ff", "not a host")]
)
def test_name_that_is_not_served_is_an_error_of_its_own(name: str, said: str) -> None:
    """
    The others are told all the same.
    """
    status, told = _call(FakeControls(valid("a.example")), b"GET", f"/domains?name={name}&name=a.example".encode())
    assert (200, "valid") == (status, told["domains"][1]["state"])
    assert said in told["domains"][0]["error"]


def test_issuing_asks_and_answers_at_once() -> None:
    """
    POST /issue hands the names on and tells how they stand then.
    """
    controls = FakeControls(issuing("a.example"))
    status, told = _call(controls, b"POST", b"/issue", {"names": ["a.example", "x.example"]})
    assert (200, ["a.example", "x.example"]) == (status, controls.asked)
    assert "issuing" == told["domains"][0]["state"]
    assert "error" in told["domains"][1]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        ([], 400, "must be a JSON object"),
        ({}, 400, "must hold the names"),
        ({"names": "a.example"}, 400, "must hold the names"),
        ({"names": [1]}, 400, "must hold the names"),
        ({"names": [f"{number}.example" for number in range(MAX_NAMES + 1)]}, 413, "too many"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "over 524288 bytes"),
    ],
)
def test_body_that_is_none_is_refused_with_the_reason(body: object, status: int, said: str) -> None:
    """
    Nothing is asked for then.
    """
    controls = FakeControls()
    answered, told = _call(controls, b"POST", b"/issue", body)
    assert (status, []) == (answered, controls.asked)
    assert said in told["error"]


def test_body_is_bounded_without_an_announced_length() -> None:
    """
    A chunked body over the limit isn't kept either.
    """
    talk = Talk(control_site(Clock(), FakeControls()))
    talk.say(b"POST /issue HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(MAX_BODY_BYTES // 65536 + 1):
        talk.say(b"10000\r\n" + b" " * 65536 + b"\r\n")
    assert b"413" in talk.say(b"0\r\n\r\n").split(b"\r\n")[0]
    talk.end()


@pytest.mark.parametrize(("method", "path"), [(b"GET", b"/issue"), (b"POST", b"/status"), (b"POST", b"/domains")])
def test_reading_and_changing_have_methods_of_their_own(method: bytes, path: bytes) -> None:
    """
    What changes something is asked for by POST only (RFC 9110 §9.2.1).
    """
    assert b"405" in ask(control_site(Clock(), FakeControls()), method, path).split(b"\r\n")[0]


def test_renewing_asks_and_answers_at_once() -> None:
    """
    With or without regard to failures.
    """
    controls = FakeControls(valid("a.example"))
    for body in ({"names": ["a.example"]}, {"names": ["a.example", "x.example"], "now": True}):
        status, told = _call(controls, b"POST", b"/renew", body)
        assert (200, "valid") == (status, told["domains"][0]["state"])
    assert ["a.example", "a.example!", "x.example!"] == controls.asked


def test_name_is_examined() -> None:
    """
    What was seen is told, or that nothing is looked for; a name that is none is said to be so.
    """
    controls = FakeControls(valid("a.example"))
    assert (200, {"check": None}) == _call(controls, b"POST", b"/examine", {"name": "a.example"})
    controls.check = Check()
    empty: dict[str, Any] = {"addresses": None, "answers": [], "findings": []}
    assert (200, {"check": empty}) == _call(controls, b"POST", b"/examine", {"name": "a.example"})
    for body, said in (({}, "must hold a name"), ({"name": "-"}, "is not a host name")):
        status, told = _call(controls, b"POST", b"/examine", body)
        assert (400, True) == (status, said in told["error"])


def test_revocation_is_done_or_its_problem_told() -> None:
    """
    The CA's own words.
    """
    controls = FakeControls(valid("a.example"))
    body = {"name": "A.example", "reason": 4}
    assert (200, {"revoked": True}) == _call(controls, b"POST", b"/revoke", body)
    assert ["a.example 4"] == controls.asked
    controls.refusal = NotRevocable("nobody can")
    assert (200, {"revoked": False, "problem": "nobody can"}) == _call(controls, b"POST", b"/revoke", body)


@pytest.mark.parametrize("body", [{}, {"name": "a.example"}, {"name": 1, "reason": 1}, {"name": "a", "reason": True}])
def test_revocation_of_nothing_is_refused(body: object) -> None:
    """
    It is said what is needed.
    """
    status, told = _call(FakeControls(), b"POST", b"/revoke", body)
    assert (400, True) == (status, "a name and a reason" in told["error"])


def _offered(name: str = "click.example.com", **more: str) -> dict[str, str]:
    bundle = stored().bundle
    return {
        "name": name,
        "key": bundle.key_pem().decode(),
        "chain": bundle.chain_pem().decode(),
        "server": "https://ca.example",
        **more,
    }


def test_each_certificate_that_is_imported_has_its_outcome() -> None:
    """
    One that can't be read doesn't keep the others.
    """
    controls = FakeControls()
    body = {"certificates": [_offered(), _offered(key="none"), _offered(server="bad")]}
    status, told = _call(controls, b"POST", b"/import", body)
    assert (200, ["taken", "refused", "refused"]) == (status, [outcome["word"] for outcome in told["outcomes"]])
    assert ["click.example.com https://ca.example False", "click.example.com bad False"] == controls.asked
    assert 200 == _call(controls, b"POST", b"/import", {"certificates": [_offered()], "dry_run": True})[0]
    assert controls.asked[-1].endswith("True")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        ({}, 400, "must hold the certificates"),
        ({"certificates": [1]}, 400, "must hold the certificates"),
        ({"certificates": [{}]}, 400, "must have the texts"),
        ({"certificates": [{}] * (MAX_CERTIFICATES + 1)}, 413, "too many"),
    ],
)
def test_import_that_is_none_is_refused_with_the_reason(body: object, status: int, said: str) -> None:
    """
    Nothing is taken then.
    """
    controls = FakeControls()
    answered, told = _call(controls, b"POST", b"/import", body)
    assert (status, []) == (answered, controls.asked)
    assert said in told["error"]


def test_daemon_renews_imports_and_refuses_to_revoke_at_the_internal_ca(tmp_path: Path) -> None:
    """
    The real controls, on the real renewer.
    """
    config = Config(
        state_dir=tmp_path, acme=AcmeConfig(directory="internal"), domains=(DomainConfig(HostName("a.example")),)
    )
    parts = _made(config)
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start([HostName("a.example")], Loaded())
    controls = DaemonControls(parts.report, parts.keeping.renewer, parts.keeping.self_check.examine)
    (domain,) = controls.renew([HostName("a.example")], is_at_once=True)
    assert "waiting" == domain.state
    offer = Offer(CLICK, stored().bundle)
    assert "refused" == outcome(controls.take_over(offer, is_trial=True)).word
    assert None is outcome(controls.examine(HostName("a.example")))  # of the internal CA
    with pytest.raises(NotRevocable):
        outcome(controls.revoke(HostName("a.example"), 1))


def test_daemon_forgets_failures_and_tells_of_its_own(tmp_path: Path) -> None:
    """
    The real controls ask the renewer, and what the renewer doesn't know is left out.
    """
    names = [HostName("a.example"), HostName("b.example")]
    config = Config(
        state_dir=tmp_path, acme=AcmeConfig(directory="internal"), domains=tuple(DomainConfig(name) for name in names)
    )
    parts = _made(config)
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start(names[:1], Loaded())
    controls: Controls = DaemonControls(parts.report, parts.keeping.renewer, parts.keeping.self_check.examine)
    expected = [DomainStatus("a.example", "waiting", "internal")]
    assert expected == list(controls.issue(names)) == list(controls.domains(names))
    assert "a.example" in "".join(controls.status())


@implementer(IUNIXTransport)
class _UnixTransport(StringTransport):
    """
    A transport that keeps the descriptors that are sent.
    """

    def __init__(self) -> None:
        super().__init__(peerAddress=ADDRESS)  # type: ignore[no-untyped-call]
        self.sent: list[int] = []

    def sendFileDescriptor(self, descriptor: int) -> None:  # noqa: N802 - Twisted's name
        """
        Keep it.
        """
        self.sent.append(descriptor)


def _handed_over(body: bytes, give: Callable[[int], socket.socket]) -> tuple[int, Any, list[int]]:
    """
    Give status and content of the answer to a successor, and the descriptors that came along.
    """
    transport = _UnixTransport()
    talk = Talk(control_site(Clock(), FakeControls(), give), transport)
    head = b"POST /hand-over HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = talk.say(head % len(body) + body)
    talk.end()
    return int(answer.split(b" ")[1]), json.loads(content(answer)), transport.sent


def test_successor_is_given_a_socket() -> None:
    """
    It comes along with the answer.
    """
    asked: list[int] = []
    with socket.socket() as given:

        def give(version: int) -> socket.socket:
            asked.append(version)
            return given

        assert (200, {"handing_over": True}, [given.fileno()]) == _handed_over(b'{"version": 1}', give)
    assert [1] == asked


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [(b'{"version": 1}', 409, "it ends"), (b"{}", 400, "must hold the version"), (b"{", 400, "not JSON")],
)
def test_successor_that_is_given_nothing_is_told_why(body: bytes, status: int, said: str) -> None:
    """
    Its operator reads it.
    """

    def give(_: int) -> socket.socket:
        raise SptlsError("it ends")

    answered, told, sent = _handed_over(body, give)
    assert (status, []) == (answered, sent)
    assert said in told["error"]


@pytest.mark.parametrize("call", [b"/issue", b"/renew", b"/revoke", b"/import"])
def test_nothing_is_changed_while_another_process_takes_over(call: bytes) -> None:
    """
    What was asked of this one would be lost; what is only read is answered.
    """
    controls = FakeControls(valid("a.example"))
    site = control_site(Clock(), controls, is_paused=lambda: True)
    answer = ask(site, b"POST", call, b'{"names": ["a.example"]}')
    assert (b"503", []) == (answer.split(b" ")[1], controls.asked)
    assert "try again" in json.loads(content(answer))["error"]
    assert b" 200 " in ask(site, b"GET", b"/domains?name=a.example")


def test_import_ends_where_another_process_begins_to_take_over() -> None:
    """
    What comes after that would be stored by nobody; what was taken before is kept.
    """
    controls = FakeControls()
    body = json.dumps({"certificates": [_offered(), _offered()]}).encode()
    answer = ask(control_site(Clock(), controls, is_paused=lambda: bool(controls.asked)), b"POST", b"/import", body)
    assert (b"503", 1) == (answer.split(b" ")[1], len(controls.asked))
