"""
The ACME front: an HTTPS proxy before a real Pebble that injects faults, rate limits, profiles and renewal info.

Host is passed through, since Pebble makes all its URLs of it and compares the signed ``url`` with it: clients stay at
the front. Every request is kept with its operation and moment. What is armed in `faults` comes first, then the front's
own resources and limits, then Pebble. Everything runs on the given reactor, in the test's thread.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import attrs
import treq
import trustme
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from tests.acme_front.asked import Asked, Register
from tests.acme_front.door import Context, Door, QuietSite
from tests.acme_front.faults import Action, Answer, Break, Change, Fault, Faults, GoDown, Say, answer, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IConsumer
    from twisted.python.failure import Failure
    from twisted.web.server import Request

    from tests.acme_front.limits import LetsEncryptLimits
    from tests.acme_front.reactor import SkippingReactor
    from tests.pebble.pebble import Pebble

_OWN_FIELDS = {"content-length", "connection", "transfer-encoding", "date", "server"}


@implementer(IBodyProducer)
class _Whole:
    """
    A content that is written in one piece.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self.length = content, len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """
        Write it.
        """
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing: all is written.
        """

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing: all is written.
        """

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing: all is written.
        """


@implementer(IPolicyForHTTPS, IOpenSSLClientConnectionCreator)
class _Unverified:
    """
    TLS to our own child process.
    """

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: N802 - Twisted's
        """
        Give what makes the connections.
        """
        return self

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        """
        Make a connection that verifies nothing.
        """
        return SSL.Connection(self._context, None)


@attrs.frozen
class Seen:
    """
    A request that came: its *operation*, the *name* it is about ("" while not known), the reactor's *seconds*.
    """

    operation: str
    name: str
    seconds: float
    asked: Asked = attrs.field(repr=False)


class Front(Resource):
    """
    The front before *pebble*.

    *profiles* (name to description) and *renewal_info* (certificate identifier to answer or other action) are offered
    where they are set, *limits* applied.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, reactor: SkippingReactor, pebble: Pebble, context: Context, untrusted: Context) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor, self._upstream = reactor, pebble.directory_url.removesuffix("/dir").encode()
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.held = 0
        self.broken: list[str] = []
        self.profiles: dict[str, str] = {}
        self.renewal_info: dict[str, Action] | None = None
        self.limits: LetsEncryptLimits | None = None
        self._register = Register(pebble.log)
        self._relaying = 0
        self._replaced: set[str] = set()
        self._replacing: set[str] = set()
        self._failed: set[str] = set()
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = 64
        self._agent = Agent(reactor, _Unverified(), pool=self._pool)
        self.door = Door(reactor, QuietSite(self, reactor), context, untrusted)
        self.door.open()

    # What tests ask for

    @property
    def directory_url(self) -> str:
        """
        Give the directory's URL, at the front.
        """
        return f"https://127.0.0.1:{self.door.port}/dir"

    def arm(self, *faults: Fault) -> None:
        """
        Do these from now on.
        """
        self.faults.arm(*faults)

    def come_back(self) -> None:
        """
        Be there again, with all that was armed still armed.
        """
        self.door.how = ""
        self.door.open()

    def forget(self) -> None:
        """
        Begin anew: nothing armed, nothing seen, nothing offered, and no connection left.
        """
        self.faults.clear()
        self.seen.clear()
        self.profiles, self.renewal_info, self.limits = {}, None, None
        for known in (self._replaced, self._replacing, self._failed):
            known.clear()
        self.come_back()
        self.door.reset()

    def count(self, operation: str = "", name: str = "") -> int:
        """
        Tell how many requests came, of one operation, about one name.
        """
        return sum(operation in ("", seen.operation) and name in ("", seen.name) for seen in self.seen)

    @property
    def counts(self) -> Counter[str]:
        """
        Tell how many requests came of each operation.
        """
        return Counter(seen.operation for seen in self.seen)

    def last(self, operation: str) -> Asked:
        """
        Give the last request for *operation*.
        """
        return next(seen.asked for seen in reversed(self.seen) if seen.operation == operation)

    def is_at_work(self) -> bool:
        """
        Tell whether Pebble has yet to answer, or to validate, or to issue.
        """
        return self._relaying > 0 or self._register.is_ca_at_work()

    def stop(self) -> Deferred[object]:
        """
        Close everything.
        """
        self.door.close()
        self.door.reset()
        closed: Deferred[object] = self._pool.closeCachedConnections()
        return closed

    # Serving

    def render(self, request: Request) -> int:
        """
        Answer a request, or do to it what is armed.
        """
        fields = tuple((name, text) for name, texts in request.requestHeaders.getAllRawHeaders() for text in texts)
        asked = self._register.read(request.method, request.uri, fields, cast("IO[bytes]", request.content).read())
        self.seen.append(Seen(asked.operation, asked.name, self._reactor.seconds(), asked))
        serving = Deferred.fromCoroutine(self._serve(request, asked))
        serving.addErrback(self._failed_to_serve, request)
        return NOT_DONE_YET

    def _failed_to_serve(self, failure: Failure, request: Request) -> None:
        self.broken.append(failure.getTraceback())
        self._send(request, answer(500))

    async def _serve(self, request: Request, asked: Asked) -> None:
        action = self.faults.action(asked.operation, asked.name) or self._own_action(asked)
        match action:
            case None:
                self._send(request, await self._answer(asked))
            case Say(said, asks_ca, gives_nonce):
                nonce = (await self._answer(asked)).field("replay-nonce") if asks_ca else asked.nonce
                self._send(request, said.with_field("Replay-Nonce", nonce) if nonce and gives_nonce else said)
            case Change(change):
                self._send(request, change(await self._answer(asked)))
            case Break(how, asks_ca, content_bytes):
                begun = await self._answer(asked) if asks_ca or content_bytes is not None else None
                await self._break(request, how, begun, content_bytes)
            case GoDown(how, seconds):
                self._go_down(how, seconds)

    def _send(self, request: Request, said: Answer) -> None:
        if request.channel is None:  # the client has left
            return
        self._put_head(request, said)
        if request.method != b"HEAD":
            request.write(said.content)
        request.finish()

    def _put_head(self, request: Request, said: Answer) -> None:
        request.setResponseCode(said.status)
        request.responseHeaders.removeHeader(b"content-type")
        for name, text in said.fields:
            request.responseHeaders.addRawHeader(name, text)
        if request.method != b"HEAD":
            request.setHeader(b"content-length", str(len(said.content)).encode())

    async def _break(self, request: Request, how: str, said: Answer | None, content_bytes: int | None) -> None:
        if request.channel is None:
            return
        # HTTP over TLS over the door's wrapper over TCP.
        connection = cast("Any", request.channel).transport.transport.transport
        if content_bytes is not None and said is not None:
            self._put_head(request, said)
            request.write(said.content[:content_bytes])
            # TLS writes are put together until the next turn.
            await deferLater(self._reactor, 0)
            await deferLater(self._reactor, 0)
        if how == "close":
            connection.loseConnection()
        elif how == "reset":
            connection.abortConnection()
        else:
            self._hold(request)

    def _hold(self, request: Request) -> None:
        self.held += 1

        def left(_: object) -> None:
            self.held -= 1

        request.notifyFinish().addBoth(left)

    def _go_down(self, how: str, seconds: float | None) -> None:
        if how == "refuse":
            self.door.close()
        else:
            self.door.how = how
        self.door.reset()
        if seconds is not None:
            self._reactor.callLater(seconds, self.come_back)

    # The CA

    async def _answer(self, asked: Asked) -> Answer:
        """
        Give the CA's answer, with what the front adds to it.
        """
        if asked.operation == "renewalInfo":
            return answer(404)
        said = await self._relay(asked)
        self._register.learn(asked, said)
        if asked.operation == "directory":
            return self._with_own_resources(said)
        if self.limits is not None:
            self._spend(self.limits, asked, said)
        return said

    async def _relay(self, asked: Asked) -> Answer:
        self._relaying += 1
        try:
            producer = _Whole(asked.content) if asked.content else None
            headers = Headers()
            for name, text in asked.fields:
                if name.lower() not in (b"content-length", b"connection"):
                    headers.addRawHeader(name, text)
            response = await self._agent.request(asked.method, self._upstream + asked.target, headers, producer)
            content: bytes = await treq.content(response)
        finally:
            self._relaying -= 1
        fields = tuple(
            (name.decode(), text.decode())
            for name, texts in response.headers.getAllRawHeaders()
            for text in texts
            if name.decode().lower() not in _OWN_FIELDS
        )
        return Answer(response.code, content, fields)

    def _with_own_resources(self, directory: Answer) -> Answer:
        """
        Give it with what the front offers, and without what a newer Pebble (2.6) offers of the same.
        """
        members = directory.json()
        members.pop("renewalInfo", None)
        members["meta"].pop("profiles", None)
        if self.renewal_info is not None:
            members["renewalInfo"] = self.directory_url.replace("/dir", "/renewal-info")
        if self.profiles:
            members["meta"]["profiles"] = self.profiles
        return directory.with_content(json.dumps(members).encode())

    # The front's own rules

    def _own_action(self, asked: Asked) -> Action | None:
        refusal = self._over_limit(self.limits, asked) if self.limits is not None else None
        if refusal is not None:
            return Say(refusal)
        if asked.operation == "renewalInfo":
            offered = self.renewal_info or {}
            number = asked.path.rpartition("/")[2]
            return offered.get(number) or offered.get("") or Say(answer(404))
        return self._unwanted(asked) if asked.operation == "newOrder" else None

    def _unwanted(self, asked: Asked) -> Action | None:
        """
        Refuse a profile that is not offered, and a second order that replaces the same certificate (RFC 9773 §5).
        """
        profile, replaces = asked.payload.get("profile"), asked.payload.get("replaces")
        if profile is not None and profile not in self.profiles:
            return Say(problem(400, "invalidProfile", f"there is no profile {profile}"))
        if replaces in self._replaced:
            return Say(problem(409, "alreadyReplaced", f"{replaces} was replaced before"))
        if replaces is not None:
            self._replaced.add(replaces)
        return None

    def _over_limit(self, limits: LetsEncryptLimits, asked: Asked) -> Answer | None:
        refusal = limits.request(asked.operation)
        if refusal is None and asked.operation == "newAccount":
            refusal = limits.new_account()
        if refusal is None and asked.operation == "newOrder":
            refusal = limits.new_order(asked.account, asked.names, replaces="replaces" in asked.payload)
        return refusal

    def _spend(self, limits: LetsEncryptLimits, asked: Asked, said: Answer) -> None:
        """
        Count what the CA's answer means for the limits.
        """
        if asked.operation == "newOrder" and said.status == 201 and "replaces" in asked.payload:
            self._replacing.add(asked.name)
        if asked.operation == "certificate" and said.status == 200:
            limits.issued(asked.account, asked.names, replaces=asked.name in self._replacing)
            self._replacing.discard(asked.name)
        is_new = asked.operation == "authorization" and said.status == 200 and asked.path not in self._failed
        if is_new and said.json().get("status") == "invalid":
            self._failed.add(asked.path)
            limits.failed_authorization(asked.account, asked.name)


@contextmanager
def running_front(reactor: SkippingReactor, pebble: Pebble, folder: Path) -> Iterator[Front]:
    """
    Run a front before *pebble*, whose folder has the certificate that both serve, until the end of the block.
    """
    stranger = trustme.CA().issue_cert("127.0.0.1", "localhost")
    stranger.private_key_and_cert_chain_pem.write_to_path(str(folder / "untrusted.pem"))
    context = Context(pebble.trust.with_name("cert.pem"), pebble.trust.with_name("key.pem"))
    untrusted = Context(folder / "untrusted.pem", folder / "untrusted.pem")
    front = Front(reactor, pebble, context, untrusted)
    try:
        yield front
    finally:
        # Connections to Pebble end when it says so, in real time.
        reactor.is_busy, is_busy = (lambda: True), reactor.is_busy
        reactor.run_coroutine(_stopped(front))
        reactor.is_busy = is_busy
        reactor.settle()


async def _stopped(front: Front) -> None:
    await front.stop()
