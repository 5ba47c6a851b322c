"""
The calls by which the commands reach a running daemon: HTTP with JSON, on the socket of `control_socket`.

``GET /status`` is the admin listener's. ``GET /domains?name=…&name=…`` tells of a few names, ``POST /issue`` with
``{"names": […]}`` asks for their certificates as well, ``POST /renew`` for others than they have; both answer at once,
with how each stands. ``POST /examine`` answers when a name was looked at from here, ``POST /revoke`` when the CA has,
``POST /import`` when what it brought is stored. What can't be done is answered with ``{"error": …}``, or with an entry
that has an *error* where only that name is concerned.
``POST /hand-over`` is a successor's, and answered with the channel of `handover`.

Who may connect may do everything; who may is the socket's mode.
"""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from twisted.internet.interfaces import IUNIXTransport
from twisted.web import server
from twisted.web.resource import Resource

from sptls.certs.intake import Outcome
from sptls.clock import wall_time
from sptls.errors import BadCertificate, InvalidHostName, SptlsError
from sptls.names import HostName
from sptls.ops import interventions
from sptls.ops.pages import Answer, LatePage, Page, Pages, QuietSite
from sptls.ops.status import check_json, domain_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from socket import socket

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request

    from sptls.certs.intake import Offer
    from sptls.certs.renewer import Renewer
    from sptls.ops.report import Report
    from sptls.ops.status import DomainStatus
    from sptls.precheck import Check

    # What is asked about names, and given of them.
    Ask = Callable[[Iterable[HostName]], Iterable[DomainStatus]]
    # A look at a name from here.
    Examine = Callable[[HostName], Awaitable[Check | None]]
    # Begins a handover, by a version of its protocol, and gives what the successor gets; raises SptlsError.
    HandOver = Callable[[int], socket]

# So many take a few milliseconds; whoever has more asks again.
MAX_NAMES: Final = 500
# Each is checked in a millisecond or two, and no handshake may wait for long.
MAX_CERTIFICATES: Final = 8
# Four times what that many names of the greatest length take.
MAX_BODY_BYTES: Final = 524288
# A command asks every second at the most while it waits; anything longer is no command of ours.
_IDLE_SECONDS: Final = 60


class Controls(Protocol):
    """
    What can be asked of a running daemon.
    """

    def status(self) -> Iterator[str]:
        """
        Give the whole status as JSON, in pieces.
        """

    def domains(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Tell how each of *names* stands; one that is not served is left out.
        """

    def issue(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Have a certificate obtained now for those of *names* that need one, and tell how each stands.
        """

    def renew(self, names: Iterable[HostName], *, is_at_once: bool) -> Iterable[DomainStatus]:
        """
        Have the certificates of *names* replaced, *is_at_once* after failures too, and tell how each stands.
        """

    async def examine(self, name: HostName) -> Check | None:
        """
        Give what can be seen of *name* from here, now; None where nothing is looked for. Takes seconds.
        """

    async def revoke(self, name: HostName, reason: int) -> None:
        """
        Have *name*'s certificate revoked for *reason* (RFC 5280 §5.3.1), and replaced.

        Raises:
            SptlsError: it is not revoked.
        """

    async def take_over(self, offer: Offer, *, is_trial: bool) -> Outcome:
        """
        Serve and store what another program obtained, or, on trial, tell whether that would be done.
        """


class DaemonControls:
    """
    `Controls` of this process's own parts.
    """

    def __init__(self, report: Report, renewer: Renewer, examine: Examine) -> None:
        self._report, self._renewer, self._examine = report, renewer, examine

    def status(self) -> Iterator[str]:
        """
        Give the whole status as JSON, in pieces.
        """
        return self._report.status()

    def domains(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Tell how each of *names* stands; one that is not served is left out.
        """
        return self._report.domains(names)

    def issue(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Have the renewer forget failures of *names* and obtain what they need; give how each stands then.
        """
        asked = tuple(names)
        for name in asked:
            self._renewer.retry(name)
        return self._report.domains(asked)

    def renew(self, names: Iterable[HostName], *, is_at_once: bool) -> Iterable[DomainStatus]:
        """
        Have the renewer replace what *names* have, *is_at_once* after failures too; give how each stands then.
        """
        asked = tuple(names)
        for name in asked:
            self._renewer.renew(name)
            if is_at_once:
                self._renewer.retry(name)
        return self._report.domains(asked)

    async def examine(self, name: HostName) -> Check | None:
        """
        Give what can be seen of *name* from here, now; None where nothing is looked for.
        """
        return await self._examine(name)

    async def revoke(self, name: HostName, reason: int) -> None:
        """
        Have *name*'s certificate revoked and replaced.
        """
        await interventions.revoke(self._renewer, name, reason)

    async def take_over(self, offer: Offer, *, is_trial: bool) -> Outcome:
        """
        Serve and store what another program obtained, as coming from one of the CAs that are configured now.
        """
        directories = [acme.directory for acme in self._report.config.cas]
        return await interventions.take_over(self._renewer, directories, offer, wall_time(), is_trial=is_trial)


class CallError(Exception):
    """
    A call that can't be answered: the *status* code and the sentence for whoever made it.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class ControlRequest(server.Request):
    """
    A request whose body is kept in memory up to `MAX_BODY_BYTES`, and never in a file.
    """

    content: BytesIO
    is_too_long = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """
        Get ready for the body.
        """
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Keep a piece of the body.
        """
        if self.content.tell() + len(data) > MAX_BODY_BYTES:
            self.is_too_long = True
        else:
            self.content.write(data)


class HandOverPage(Resource):
    """
    The page at which a successor is given the socket that *hand_over* gives.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, hand_over: HandOver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hand_over = hand_over

    def render_POST(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """
        Send the socket along with the answer's first byte (SCM_RIGHTS, unix(7)).
        """
        request.setHeader(b"content-type", b"application/json")
        try:
            given = self._hand_over(_version(_body(request)))
        except CallError as error:
            request.setResponseCode(error.status)
            return _json({"error": error.sentence})
        except SptlsError as error:
            request.setResponseCode(409)
            return _json({"error": str(error)})
        # Whoever gave the socket closes it, when the successor has told that it has it.
        IUNIXTransport(request.transport).sendFileDescriptor(given.fileno())
        return _json({"handing_over": True})


def control_site(
    reactor: IReactorTime,
    controls: Controls,
    hand_over: HandOver | None = None,
    is_paused: Callable[[], bool] = lambda: False,
) -> server.Site:
    """
    Give the factory for the control socket. Nothing can be changed while this daemon *is_paused*.
    """

    def read(give: Callable[[Request], Answer]) -> Page:
        return Page(reactor, (b"GET", b"HEAD"), b"this call only reads\n", _explained(give))

    def change(give: Callable[[Mapping[str, Any]], Answer]) -> Page:
        refusal = b"this call changes something; use POST\n"
        return Page(reactor, (b"POST",), refusal, _explained(lambda request: give(changing(request))))

    def check_awake() -> None:
        if is_paused():
            raise CallError(503, "another process is taking over from this one; try again in a moment")

    def changing(request: Request) -> Mapping[str, Any]:
        check_awake()
        return _body(request)

    def late(give: Callable[[Mapping[str, Any]], Awaitable[Answer]]) -> LatePage:
        async def answer(request: Request) -> Answer:
            try:
                return await give(changing(request))
            except CallError as error:
                return Answer(_json({"error": error.sentence}), error.status)

        return LatePage(answer)

    pages: dict[bytes, Resource] = {
        b"status": read(lambda _request: Answer(controls.status())),
        b"domains": read(lambda request: _told(controls.domains, _queried(request))),
        b"issue": change(lambda body: _told(controls.issue, _listed(body))),
        b"renew": change(
            lambda body: _told(partial(controls.renew, is_at_once=body.get("now") is True), _listed(body))
        ),
        b"examine": late(lambda body: _examined(controls, body)),
        b"revoke": late(lambda body: _revoked(controls, body)),
        b"import": late(lambda body: _imported(controls, body, check_awake)),
    }
    if hand_over is not None:
        pages[b"hand-over"] = HandOverPage(hand_over)
    return QuietSite(Pages(pages), requestFactory=ControlRequest, timeout=_IDLE_SECONDS, reactor=reactor)


def _explained(give: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """
    Have a `CallError` answered with its sentence.
    """

    def answer(request: Request) -> Answer:
        try:
            return give(request)
        except CallError as error:
            return Answer(_json({"error": error.sentence}), error.status)

    return answer


def _told(ask: Ask, texts: list[str]) -> Answer:
    """
    Answer with what *ask* says of each name in *texts*, in their order, or why nothing can be said of it.
    """
    if len(texts) > MAX_NAMES:
        raise CallError(413, f"{len(texts)} names are too many at once; ask for {MAX_NAMES} at the most")
    names: dict[str, HostName | InvalidHostName] = {}
    for text in texts:
        try:
            names[text] = HostName.parse(text)
        except InvalidHostName as error:
            names[text] = error
    asked = dict.fromkeys(name for name in names.values() if isinstance(name, HostName))
    found = {domain.name: domain for domain in ask(asked)}
    return Answer(_json({"domains": [_entry(text, name, found) for text, name in names.items()]}))


def _entry(text: str, name: HostName | InvalidHostName, found: Mapping[str, DomainStatus]) -> dict[str, Any]:
    if isinstance(name, InvalidHostName):
        return {"name": text, "error": str(name)}
    domain = found.get(name.text)
    if domain is None:
        return {"name": text, "error": f"{name} is none of the domains that this daemon serves"}
    return domain_json(domain)


async def _examined(controls: Controls, body: Mapping[str, Any]) -> Answer:
    name = body.get("name")
    if not isinstance(name, str):
        raise CallError(400, 'the body must hold a name: {"name": "click.example.com"}')
    try:
        check = await controls.examine(HostName.parse(name))
    except InvalidHostName as error:
        raise CallError(400, str(error)) from None
    return Answer(_json({"check": None if check is None else check_json(check)}))


async def _revoked(controls: Controls, body: Mapping[str, Any]) -> Answer:
    name, reason = body.get("name"), body.get("reason")
    if not isinstance(name, str) or type(reason) is not int:
        raise CallError(400, 'the body must hold a name and a reason: {"name": "click.example.com", "reason": 4}')
    try:
        await controls.revoke(HostName.parse(name), reason)
    except SptlsError as error:
        return Answer(_json({"revoked": False, "problem": str(error)}))
    return Answer(_json({"revoked": True}))


async def _imported(controls: Controls, body: Mapping[str, Any], check_awake: Callable[[], None]) -> Answer:
    listed, is_trial = body.get("certificates"), body.get("dry_run") is True
    if not isinstance(listed, list) or not all(isinstance(told, dict) for told in listed):
        raise CallError(400, 'the body must hold the certificates: {"certificates": [{"name": …}]}')
    if len(listed) > MAX_CERTIFICATES:
        raise CallError(413, f"{len(listed)} certificates are too many at once; send {MAX_CERTIFICATES} at the most")
    outcomes = []
    for told in listed:
        check_awake()  # or it would be taken, and stored by nobody
        outcomes.append(attrs.asdict(await _take_over(controls, told, is_trial=is_trial)))
    return Answer(_json({"outcomes": outcomes}))


async def _take_over(controls: Controls, told: Mapping[str, Any], *, is_trial: bool) -> Outcome:
    try:
        return await controls.take_over(interventions.read_offer(told), is_trial=is_trial)
    except BadCertificate as error:
        return Outcome("refused", str(error))
    except ValueError as error:
        raise CallError(400, str(error)) from None


def _version(body: Mapping[str, Any]) -> int:
    version = body.get("version")
    if type(version) is not int:
        raise CallError(400, 'the body must hold the version of the protocol: {"version": 1}')
    return version


def _queried(request: Request) -> list[str]:
    return [text.decode("utf-8", "replace") for text in request.args.get(b"name", [])]


def _listed(body: Mapping[str, Any]) -> list[str]:
    names = body.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CallError(400, 'the body must hold the names: {"names": ["click.example.com"]}')
    return names


def _body(request: Request) -> Mapping[str, Any]:
    """
    Give the JSON object that is the body of *request*.
    """
    if isinstance(request, ControlRequest) and request.is_too_long:
        raise CallError(413, f"the body is over {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(request.content.read() if request.content else b"")
    except (ValueError, RecursionError):
        raise CallError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise CallError(400, "the body must be a JSON object")
    return body


def _json(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"
