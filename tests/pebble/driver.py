"""
Issues certificates with the real `AcmeIssuer` on a real reactor, in a process of its own, for `test_acme_client.py`.

One JSON object on standard input says what to do (`Task`); one on standard output says what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import cattrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.python.threadpool import ThreadPool
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from sptls.acme.agent import CaAgent, make_agent
from sptls.acme.issue import AcmeIssuer
from sptls.certs.records import StoredCertificate
from sptls.certs.store import InlineWorker, Store
from sptls.clock import run_on_monotonic_time, wall_time
from sptls.config import AcmeConfig, ExternalAccountBinding, KeyType
from sptls.errors import IssuanceFailed
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder
from sptls.tls.contexts import client_trust

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IBodyProducer, IResponse
    from twisted.web.server import Request

    from sptls.certs.bundle import CertificateBundle


@attrs.frozen
class Task:
    """
    Issue for *names*, all at once, *rounds* times; with *loses_account* the CA's account URL is forged after the first.

    *store* is the file to keep everything in, "" for one that ends with the process. The process kills itself when the
    CA has answered a request whose URL has *dies_at* in it. In the end certificates are revoked by the *revoker*:
    "account" or "key".
    """

    directory_url: str
    trust: str
    http_port: int
    names: list[str]
    rounds: int = 1
    key_type: KeyType = "ec-p256"
    agree_to_terms: bool = True
    eab_kid: str = ""
    eab_file: str = ""
    preferred_issuer: str = ""
    loses_account: bool = False
    store: str = ""
    dies_at: str = ""
    revoker: str = ""


@attrs.frozen
class Outcome:
    """
    What came of one name in one round; *requests* is how many the CA got meanwhile, all names together.
    """

    name: str
    error: str = ""
    cause: str = ""
    failed_authorizations: int = 0
    orders: int = 0
    serial: str = ""
    issuer: str = ""
    chain_pem: str = ""
    seconds: float = 0.0
    requests: int = 0


@implementer(IAgent)
@attrs.define
class CountingAgent:
    """
    Counts the requests that go through it, and ends the process after one for *dies_at*.
    """

    agent: CaAgent
    dies_at: str = ""
    requests: list[str] = attrs.field(factory=list)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803 - Twisted's name
    ) -> Deferred[IResponse]:
        """
        Make a request, as `IAgent` says.
        """
        self.requests.append(f"{method.decode()} {uri.decode()}")
        answered = self.agent.request(method, uri, headers, bodyProducer)
        if self.dies_at and self.dies_at in uri.decode():
            answered.addCallback(lambda _: os.kill(os.getpid(), signal.SIGKILL))
        return answered


class Tokens(Resource):
    """
    Answers http-01 for every name.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, responder: Http01Responder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._responder = responder

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """
        Give the key authorization of the token at the path's end.
        """
        token = request.path.rsplit(b"/", 1)[-1].decode()
        if token not in self._responder.tokens:
            request.setResponseCode(404)
            return b""
        return self._responder.tokens[token].encode()


@attrs.define
class Run:
    """
    What one process does with a CA, and the certificates that came of it.
    """

    reactor: Any
    task: Task
    counted: CountingAgent
    responder: Http01Responder
    threads: ThreadPool
    bundles: list[CertificateBundle] = attrs.field(factory=list)

    def issuer(self, store: Store) -> AcmeIssuer:
        """
        Make an issuer, as a start does.
        """
        task = self.task
        return AcmeIssuer(
            agent=self.counted,
            reactor=self.reactor,
            wall_clock=wall_time,
            config=AcmeConfig(
                directory=task.directory_url,
                contact=("ops@example.com",),
                agree_to_terms=task.agree_to_terms,
                key_type=task.key_type,
                eab=ExternalAccountBinding(task.eab_kid, Path(task.eab_file)) if task.eab_kid else None,
            ),
            responders=[self.responder],
            accounts=store,
            orders=store,
            threads=self.threads,
            preferred_issuer=task.preferred_issuer,
        )

    async def issue(self, issuer: AcmeIssuer, store: Store, text: str) -> Outcome:
        """
        Issue for one name, store what comes, and tell of it.
        """
        started, before, name = time.monotonic(), len(self.counted.requests), HostName.parse(text)
        try:
            issued = await issuer.obtain(name)
        except IssuanceFailed as failed:
            return Outcome(text, str(failed), type(failed.cause).__name__, failed.failed_authorizations, failed.orders)
        bundle = issued.bundle
        await store.put_certificate(StoredCertificate(name, bundle, issuer.directory, bundle.not_after))
        self.bundles.append(bundle)
        return Outcome(
            name=text,
            failed_authorizations=issued.failed_authorizations,
            orders=issued.orders,
            serial=bundle.serial,
            issuer=bundle.issuer,
            chain_pem=bundle.chain_pem().decode(),
            seconds=time.monotonic() - started,
            requests=len(self.counted.requests) - before,
        )

    async def rounds(self, store: Store) -> list[list[Outcome]]:
        """
        Issue for all names at once, several times.
        """
        issuer, outcomes = self.issuer(store), []
        for number in range(self.task.rounds):
            if self.task.loses_account and number:
                record = await store.account(issuer.directory)
                assert record is not None
                await store.put_account(issuer.directory, attrs.evolve(record, url=record.url + "0"))
                issuer = self.issuer(store)
            issued = [Deferred.fromCoroutine(self.issue(issuer, store, name)) for name in self.task.names]
            outcomes.append(await gatherResults(issued, consumeErrors=True))
        return outcomes

    async def revoke(self, store: Store) -> None:
        """
        Revoke everything that was issued, by the account in *store*.
        """
        issuer = self.issuer(store)
        for bundle in self.bundles:
            await issuer.revoke(bundle, 4)


async def run(reactor: Any, task: Task) -> None:
    """
    Carry out *task* and print the report.
    """
    run_on_monotonic_time(reactor)
    agent = make_agent(reactor, client_trust(Path(task.trust)))
    counted, responder, threads = CountingAgent(agent, task.dies_at), Http01Responder(), ThreadPool(0, 2)
    site = Site(Tokens(responder), reactor=reactor)
    port = reactor.listenTCP(task.http_port, site, interface="127.0.0.1")
    threads.start()
    running = Run(reactor, task, counted, responder, threads)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stores = {
            "account": Store(Path(task.store) if task.store else folder / "own.db", InlineWorker()),
            # Another account's, which may not revoke what the first one ordered.
            "key": Store(folder / "other.db", InlineWorker()),
        }
        for store in stores.values():
            await store.open()
        outcomes = await running.rounds(stores["account"])
        if task.revoker:
            await running.revoke(stores[task.revoker])
        for store in stores.values():
            await store.close()
    report = {
        "rounds": cattrs.unstructure(outcomes),
        "requests": counted.requests,
        "open_challenges": len(responder.tokens),
    }
    await port.stopListening()
    await agent.close()
    threads.stop()
    print(json.dumps(report))  # noqa: T201 - the test reads it


def main(reactor: Any) -> Deferred[None]:
    """
    Read the task and start.
    """
    task = cattrs.structure(json.load(sys.stdin), Task)
    return Deferred.fromCoroutine(run(reactor, task))


if __name__ == "__main__":
    react(main)
