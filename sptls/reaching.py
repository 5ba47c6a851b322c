"""
Asks for our own challenge answers at the addresses that a name leads to, as a CA would: ports 80 and 443.

Each address is connected to by itself, with the name in Host and in the ClientHello; what its answer means is
`certs.reach_rules`' to say. The answer asked for is a probe's, which the responders give like any challenge's, so a
real one is neither needed nor touched. No redirect is followed: this proxy never redirects a challenge's path, so a
redirect tells that another server answers, and where it leads is its owner's choice. Everything ends with one deadline.
"""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

from cryptography.x509 import ExtensionNotFound
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from sptls.asking import all_of
from sptls.certs import reach_rules as rules
from sptls.connecting import connected
from sptls.errors import UpstreamError
from sptls.tls.alpn_challenge import ACME_IDENTIFIER, ACME_TLS_1
from sptls.tls.contexts import stranger_context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from OpenSSL.crypto import X509
    from twisted.python.failure import Failure

    from sptls.names import HostName

_log = Logger()

# Connections at a time, all names together.
PARALLEL: Final = 16
_USER_AGENT: Final = "sptls (self-check)"


class Reach:
    """
    Asks at *ports* by challenge type, at addresses that it *may_ask*; *responders* answer the probes.
    """

    def __init__(
        self,
        reactor: Any,
        responders: Iterable[Any] = (),
        *,
        ports: Mapping[str, int] = rules.PORTS,
        may_ask: Callable[[str, Collection[str]], bool] = rules.is_askable,
    ) -> None:
        self._reactor, self._ports, self._may_ask = reactor, ports, may_ask
        self._room = DeferredSemaphore(PARALLEL)
        self._responders: dict[str, Any] = {}
        self.answer_by(responders)

    def answer_by(self, responders: Iterable[Any]) -> None:
        """
        Have probes answered by *responders* (`txacme.interfaces.IResponder`) from now on.
        """
        self._responders = {responder.challenge_type: responder for responder in responders}

    async def ask(
        self,
        name: HostName,
        addresses: Sequence[str],
        challenges: Iterable[str],
        seconds: float,
        configured: Collection[str] = (),
    ) -> tuple[rules.Reached, ...]:
        """
        Give what each of *addresses* answers for *name* within *seconds*, for each of the types of *challenges*.

        *configured* are those that are said to be this proxy's. Cancelling withdraws the probe.
        """
        asked = rules.chosen(addresses, lambda address: self._may_ask(address, configured))
        kinds = [kind for kind in challenges if kind in self._responders and kind in self._ports]
        if not asked or not kinds or seconds <= 0:
            return ()
        probe = rules.Probe.of(secrets.token_bytes(rules.PROBE_BYTES))
        answers: list[rules.Reached] = []
        for told in await all_of(self._by_type(name, asked, kind, probe, seconds) for kind in kinds):
            answers += told
        skipped = [one for one in dict.fromkeys(addresses) if one not in asked]
        return (*answers, *(rules.Reached(one, kind, "unasked") for one in skipped for kind in kinds))

    async def _by_type(
        self, name: HostName, addresses: Sequence[str], kind: str, probe: rules.Probe, seconds: float
    ) -> Sequence[rules.Reached]:
        """
        Publish *probe* and ask for it; gives nothing where it can't be published, which an order will tell.
        """
        responder = self._responders[kind]
        try:
            await maybeDeferred(responder.start_responding, name.text, probe, probe).addTimeout(seconds, self._reactor)
            return await all_of(self._at(name, address, kind, probe, seconds) for address in addresses)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - a plugged-in responder's fault; the look tells nothing of this type then
            _log.failure("{name}: the {kind} responder failed for a self-check", name=name, kind=kind)
            return ()
        finally:
            maybeDeferred(responder.stop_responding, name.text, probe, probe).addErrback(
                lambda failure: _log.failure("{name}: a self-check's answer stays", failure, name=name)
            )

    async def _at(self, name: HostName, address: str, kind: str, probe: rules.Probe, seconds: float) -> rules.Reached:
        asking = Deferred.fromCoroutine(self._in_turn(name, address, kind, probe))
        try:
            return await asking.addTimeout(seconds, self._reactor)
        except CancelledError:
            raise
        except DeferredTimeoutError:
            return rules.Reached(address, kind, "unreached", f"no answer within {seconds:.0f} s")
        except UpstreamError as error:
            return rules.Reached(address, kind, "unreached", error.reason.rpartition(": ")[2])

    async def _in_turn(self, name: HostName, address: str, kind: str, probe: rules.Probe) -> rules.Reached:
        await self._room.acquire()
        try:
            if kind == rules.HTTP_01:
                return await self._fetch(name, address, probe)
            return await self._shake_hands(name, address, probe)
        finally:
            self._room.release()

    async def _fetch(self, name: HostName, address: str, probe: rules.Probe) -> rules.Reached:
        fetching = _Fetching(rules.request(name, probe, _USER_AGENT), probe)
        await self._connect(address, rules.HTTP_01, Factory.forProtocol(lambda: fetching))
        return rules.http_answer(address, await fetching.received, probe)

    async def _shake_hands(self, name: HostName, address: str, probe: rules.Probe) -> rules.Reached:
        shaking = _Shaking()
        factory = TLSMemoryBIOFactory(_AcmeTls(name), True, Factory.forProtocol(lambda: shaking), self._reactor)
        await self._connect(address, rules.TLS_ALPN_01, factory)
        try:
            shown = await shaking.certificate
        except SSL.Error:
            return rules.Reached(address, rules.TLS_ALPN_01, "wrong", "a refusal of acme-tls/1")
        if shown is None:
            reason = "the connection was closed in the TLS handshake"
            return rules.Reached(address, rules.TLS_ALPN_01, "unreached", reason)
        return rules.alpn_answer(address, *_read(shown), probe)

    async def _connect(self, address: str, kind: str, factory: Any) -> None:
        sock = await connected(self._reactor, address, self._ports[kind])
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            # What the reactor has is a duplicate.
            self._reactor.adoptStreamConnection(sock.fileno(), family, factory)
        finally:
            sock.close()


class _Fetching(Protocol):
    """
    One request; *received* is what came until it was enough, or the end.
    """

    def __init__(self, request: bytes, probe: rules.Probe) -> None:
        self._request, self._probe, self._pieces = request, probe, bytearray()
        self.received: Deferred[bytes] = Deferred(lambda _: self._end())

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """
        Ask.
        """
        _transport(self).write(self._request)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Read on, or end it.
        """
        self._pieces += data
        if rules.is_enough(bytes(self._pieces), self._probe):
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """
        Give what came.
        """
        if not self.received.called:
            self.received.callback(bytes(self._pieces))

    def _end(self) -> None:
        _transport(self).abortConnection()


@implementer(IHandshakeListener)
class _Shaking(Protocol):
    """
    One handshake; *certificate* is what came in it, None where the connection ended before.
    """

    def __init__(self) -> None:
        self.certificate: Deferred[X509 | None] = Deferred(lambda _: _transport(self).abortConnection())

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """
        Take the certificate, and end it.
        """
        shown = _transport(self).getPeerCertificate()
        self.certificate.callback(shown)
        _transport(self).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """
        Say that nothing came, and whether that was TLS's doing.
        """
        if self.certificate.called:
            return
        if reason.check(SSL.Error) and not reason.check(SSL.SysCallError):
            self.certificate.errback(reason)
        else:
            self.certificate.callback(None)


@implementer(IOpenSSLClientConnectionCreator)
class _AcmeTls:
    """
    What a CA says hello with (RFC 8737 §3). Nothing is verified but what `reach_rules` looks at.
    """

    def __init__(self, name: HostName) -> None:
        self._name = name
        self._context = stranger_context((ACME_TLS_1,))

    def clientConnectionForTLS(self, _: object) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """
        Give a new connection.
        """
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._name.wire)
        return connection


def _transport(protocol: Protocol) -> Any:
    return protocol.transport


def _read(shown: X509) -> tuple[bytes | None, str]:
    """
    Give the value of a certificate's acmeIdentifier (RFC 8737 §3), or None, and its subject.
    """
    try:
        certificate = shown.to_cryptography()
        subject = certificate.subject.rfc4514_string()
        extension: Any = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except ExtensionNotFound:
        return None, subject
    except Exception:  # noqa: BLE001 - a stranger's certificate may be malformed in any way
        return None, ""
    return extension.value.value, subject
