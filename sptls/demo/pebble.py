"""
A real ACME CA for the demo: Pebble with its mock DNS, as child processes on free loopback ports.

Writes their configuration, starts them, waits until the CA answers, and ends them. For them, every name is this
machine, and validation connects to the demo's own ports.
"""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import treq
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed
from twisted.web.http import OK

from sptls.acme.agent import make_agent
from sptls.certs.csr import generate_key
from sptls.certs.internal import CERTIFICATE_FILE, open_root
from sptls.demo.child import Child
from sptls.errors import StartError
from sptls.files import write_private, write_public
from sptls.names import HostName
from sptls.tls.contexts import client_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from sptls.acme.agent import CaAgent
    from sptls.clock import WallClock

T = TypeVar("T")

PEBBLE: Final = "pebble"
DNS: Final = "pebble-challtestsrv"
HOST: Final = HostName("localhost")
ADDRESS: Final = "127.0.0.1"
# Pebble makes its keys in a tenth of a second; the rest is for a loaded machine.
START_SECONDS: Final = 20.0
# Another process may take a port between our look and the bind.
START_TRIES: Final = 3
TRY_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 5.0
# A directory is 500 bytes, a root certificate 1,200.
MAX_ANSWER_BYTES: Final = 65536
# As the public CAs give.
CERTIFICATE_SECONDS: Final = 90 * 86400
# One nonce in twenty is refused, Pebble's own default: clients must cope with that.
ENVIRONMENT: Final = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5"}

CERTIFICATE: Final = "pebble.pem"
KEY: Final = "pebble.key.pem"
CONFIGURATION: Final = "pebble.json"


@attrs.frozen
class DemoCa:
    """
    A running CA: its directory, and the PEM file with the root that its own HTTPS chains to.
    """

    directory_url: str
    trust: Path


@attrs.frozen
class _Ports:
    """
    Where the two programs listen.
    """

    acme: int
    management: int
    dns: int
    dns_management: int


# All that a program which is not up yet, or no more, does to a request.
_NO_ANSWER: Final = (ConnectError, ConnectionClosed, ResponseFailed, DeferredTimeout)


def available() -> bool:
    """
    Tell whether both programs are on PATH (Debian's package is "pebble").
    """
    return all(shutil.which(program) for program in (PEBBLE, DNS))


class DemoPebble:
    """
    The CA, from `start` to `stop`; its files are in *directory*.

    Validation connects to *https_port* (tls-alpn-01) and *http_port* (http-01) on this machine.
    """

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        wall_clock: WallClock,
        *,
        https_port: int,
        http_port: int,
        certificate_seconds: int = CERTIFICATE_SECONDS,
    ) -> None:
        self._reactor, self._directory, self._wall_clock = reactor, directory, wall_clock
        self._https_port, self._http_port, self._certificate_seconds = https_port, http_port, certificate_seconds
        self._children: list[Child] = []
        self._root_pem = b""

    async def start(self) -> DemoCa:
        """
        Start both programs; gives the CA as soon as it answers. Cancelling ends what was started.

        Raises:
            StartError: it does not answer; says what the programs said last.
        """
        self._write_certificate()
        trust = self._directory / CERTIFICATE_FILE
        agent = make_agent(self._reactor, client_trust(trust))
        try:
            for _ in range(START_TRIES - 1):
                with suppress(StartError):
                    return await self._start(agent, trust)
            return await self._start(agent, trust)
        finally:
            await agent.close()

    async def root_pem(self) -> bytes:
        """
        Give the root that the CA's certificates chain to: another one each time it starts; b"" before it did.
        """
        return self._root_pem

    async def stop(self) -> None:
        """
        End both programs, and wait until they have ended.
        """
        children, self._children = self._children, []
        for child in reversed(children):
            await child.end()

    def _write_certificate(self) -> None:
        """
        Make Pebble's own HTTPS certificate anew: it is not kept longer than the demo runs.
        """
        now = self._wall_clock()
        bundle = open_root(self._directory, now).issue(HOST, generate_key("ec-p256"), now)
        write_public(self._directory / CERTIFICATE, bundle.chain_pem())
        write_private(self._directory / KEY, bundle.key_pem())

    async def _start(self, agent: CaAgent, trust: Path) -> DemoCa:
        """
        Try once, on ports that are free now.
        """
        ports = _free_ports()
        directory_url = f"https://{HOST}:{ports.acme}/dir"
        write_public(self._directory / CONFIGURATION, json.dumps(self._configuration(ports)).encode())
        try:
            self._spawn(DNS, *_dns_arguments(ports))
            await self._answer(DNS, lambda: self._connect(ports.dns))
            self._spawn(PEBBLE, "-config", CONFIGURATION, "-strict", "-dnsserver", f"{ADDRESS}:{ports.dns}")
            await self._answer(PEBBLE, lambda: self._get(agent, directory_url))
            root_url = f"https://{HOST}:{ports.management}/roots/0"
            self._root_pem = await self._answer(PEBBLE, lambda: self._get(agent, root_url))
        except BaseException:
            await self.stop()
            raise
        return DemoCa(directory_url, trust)

    def _spawn(self, program: str, *arguments: str) -> None:
        try:
            child = Child.spawn(self._reactor, program, arguments, ENVIRONMENT, self._directory)
        except OSError as error:
            raise StartError(f"{program} can't be started: {error.strerror}") from None
        self._children.append(child)

    async def _answer(self, program: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Ask the program that was started last until it answers.
        """
        child = self._children[-1]
        until = self._reactor.seconds() + START_SECONDS
        while not child.has_ended and self._reactor.seconds() < until:
            with suppress(*_NO_ANSWER):
                return await ask()
            await deferLater(self._reactor, TRY_SECONDS)
        happened = "has ended" if child.has_ended else f"did not answer in {START_SECONDS:.0f} s"
        raise StartError(f"{program} {happened}; it said: {child.last_words}")

    async def _connect(self, port: int) -> None:
        endpoint = TCP4ClientEndpoint(self._reactor, ADDRESS, port, timeout=int(ANSWER_SECONDS))
        protocol = await connectProtocol(endpoint, Protocol())
        protocol.transport.abortConnection()

    async def _get(self, agent: CaAgent, url: str) -> bytes:
        """
        Give what *url* answers with 200.
        """
        asked = agent.request(b"GET", url.encode())
        asked.addTimeout(ANSWER_SECONDS, self._reactor)
        response = await asked
        content = _Content()
        read = treq.collect(response, content.add)
        read.addTimeout(ANSWER_SECONDS, self._reactor)
        await read
        if response.code != OK:
            raise ConnectError(string=f"{url} answers {response.code}")
        return bytes(content.data)

    def _configuration(self, ports: _Ports) -> dict[str, object]:
        return {
            "pebble": {
                "listenAddress": f"{ADDRESS}:{ports.acme}",
                "managementListenAddress": f"{ADDRESS}:{ports.management}",
                "certificate": CERTIFICATE,
                "privateKey": KEY,
                "httpPort": self._http_port,
                "tlsPort": self._https_port,
                "certificateValidityPeriod": self._certificate_seconds,
            }
        }


class _Content:
    """
    An answer's content, up to a limit.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, data: bytes) -> None:
        """
        Take a piece.
        """
        self.data += data
        if len(self.data) > MAX_ANSWER_BYTES:
            raise ConnectError(string=f"the answer is longer than {MAX_ANSWER_BYTES} bytes")


def _dns_arguments(ports: _Ports) -> list[str]:
    """
    Have all names resolve to this machine by IPv4, and nothing else be served.
    """
    return [
        *("-dns01", f"{ADDRESS}:{ports.dns}", "-management", f"{ADDRESS}:{ports.dns_management}"),
        *("-defaultIPv4", ADDRESS, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""),
    ]


def _free_ports() -> _Ports:
    """
    Give ports that are free now, all different.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in attrs.fields(_Ports)]
        for one in sockets:
            one.bind((ADDRESS, 0))
        return _Ports(*(one.getsockname()[1] for one in sockets))
