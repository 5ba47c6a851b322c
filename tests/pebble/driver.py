"""
Issues certificates with the real `AcmeIssuer` on a real reactor, in a process of its own, for `test_acme_client.py`.

One JSON object on standard input says what to do (`Task`); one on standard output says what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
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
from sptls.clock import run_on_monotonic_time, wall_time
from sptls.config import AcmeConfig, ExternalAccountBinding, KeyType
from sptls.errors import IssuanceFailed
from sptls.interfaces import IAccounts
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder
from sptls.tls.contexts import client_trust

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IBodyProducer, IResponse
    from twisted.web.server import Request

    from sptls.certs.records import AccountRecord


@attrs.frozen
class Task:
    """
    Issue for *names*, all at once, *rounds* times; with *loses_account* the CA's account URL is forged after the first.
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


@attrs.frozen
class Outcome:
    """
    What came of one name in one round; *requests* is how many the CA got meanwhile, all names together.
    """

    name: str
    error: str = ""
    cause: str = ""
    failed_authorizations: int = 0
    serial: str = ""
    issuer: str = ""
    chain_pem: str = ""
    seconds: float = 0.0
    requests: int = 0


@implementer(IAgent)
@attrs.define
class CountingAgent:
    """
    Counts the requests that go through it.
    """

    agent: CaAgent
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
        return self.agent.request(method, uri, headers, bodyProducer)


@implementer(IAccounts)
@attrs.define
class AccountsInMemory:
    """
    Keeps accounts for as long as this process runs.
    """

    records: dict[str, AccountRecord] = attrs.field(factory=dict)

    async def account(self, directory: str) -> AccountRecord | None:
        """
        Give what is kept.
        """
        return self.records.get(directory)

    async def put_account(self, directory: str, record: AccountRecord) -> None:
        """
        Keep it.
        """
        self.records[directory] = record


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


async def issue(issuer: AcmeIssuer, name: str, counted: CountingAgent) -> Outcome:
    """
    Issue for one name and tell what came of it.
    """
    started, before = time.monotonic(), len(counted.requests)
    try:
        bundle = await issuer.issue(HostName.parse(name))
    except IssuanceFailed as failed:
        return Outcome(name, str(failed), type(failed.cause).__name__, failed.failed_authorizations)
    return Outcome(
        name=name,
        serial=bundle.serial,
        issuer=bundle.issuer,
        chain_pem=bundle.chain_pem().decode(),
        seconds=time.monotonic() - started,
        requests=len(counted.requests) - before,
    )


async def run(reactor: Any, task: Task) -> None:
    """
    Carry out *task* and print the report.
    """
    run_on_monotonic_time(reactor)
    agent = make_agent(reactor, client_trust(Path(task.trust)))
    counted, accounts, responder = CountingAgent(agent), AccountsInMemory(), Http01Responder()
    site = Site(Tokens(responder), reactor=reactor)
    port = reactor.listenTCP(task.http_port, site, interface="127.0.0.1")
    threads = ThreadPool(0, 2)
    threads.start()
    config = AcmeConfig(
        directory=task.directory_url,
        contact=("ops@example.com",),
        agree_to_terms=task.agree_to_terms,
        key_type=task.key_type,
        eab=ExternalAccountBinding(task.eab_kid, Path(task.eab_file)) if task.eab_kid else None,
    )

    def make_issuer() -> AcmeIssuer:
        return AcmeIssuer(
            agent=counted,
            reactor=reactor,
            wall_clock=wall_time,
            config=config,
            responders=[responder],
            accounts=accounts,
            threads=threads,
            preferred_issuer=task.preferred_issuer,
        )

    issuer, outcomes = make_issuer(), []
    for number in range(task.rounds):
        if task.loses_account and number:
            record = accounts.records[task.directory_url]
            accounts.records[task.directory_url] = attrs.evolve(record, url=record.url + "0")
            issuer = make_issuer()
        issued = [Deferred.fromCoroutine(issue(issuer, name, counted)) for name in task.names]
        outcomes.append(await gatherResults(issued, consumeErrors=True))
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
