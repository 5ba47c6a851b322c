"""
The TLS server: what every arriving connection gets, and all connections there are.

One for the process, with a listener for each socket. Decides nothing about certificates (`IServerContexts` does) nor
about challenges (`IAlpnChallenges`); it puts the two in order, keeps who is held, counts, and ends all of it.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sptls.addresses import plain_host
from sptls.admission import Admission
from sptls.config import PassthroughConfig
from sptls.interfaces import Hold, IAlpnChallenges, IServerContexts, Refuse
from sptls.tls.arrival import Arrival, first_look, say_no
from sptls.tls.client_hello import INTERNAL_ERROR, NO_APPLICATION_PROTOCOL, ClientHello
from sptls.tls.contexts import ServerContext
from sptls.tls.counts import TlsCounts
from sptls.tls.lingering import Lingering, SocketReactor
from sptls.tls.listener import TlsListener
from sptls.tls.openssl import AcceptedConnection
from sptls.tls.transport import TlsTransport, TransportSurroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from socket import SocketType, socket

    from twisted.internet.interfaces import IProtocol

    from sptls.addresses import Networks
    from sptls.config import LimitsConfig
    from sptls.deadlines import Deadlines
    from sptls.names import HostName
    from sptls.shared_counts import SharedCounts
    from sptls.tls.sockets import AcceptedSocket

_log = Logger()

ACME_TLS: Final = b"acme-tls/1"  # RFC 8737 §6.2
# Of the connections that may be open, the share that may be held: names whose certificates are there must find room
# while a name without one is in a newsletter. Of that, a name may have as many places as are still free after it: half
# when it is alone, a third each when there are two, so that there is always room for another name.
_HELD_SHARE: Final = 0.5
# Handshakes made in a row when a certificate arrives for which many wait: under 1 ms with ECDSA, 10 with RSA-4096,
# before the other connections get their turn.
_RELEASES_PER_TURN: Final = 4
_DROPPED: Final = "a connection was dropped before its handshake"


class PassesOn(Protocol):
    """
    Who passes connections on to another server (`proxy.passthrough`).
    """

    def begin(
        self,
        sock: SocketType,
        peer: tuple[Any, ...],
        destination: tuple[str, int] | None,
        server: PassthroughConfig,
        *,
        refused: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """
        Connect *sock* with *server*, and call *ended* when it is closed; or *refused*, and it is the caller's again.
        """

    def abort_all(self) -> None:
        """
        End all of them now.
        """


def answer(
    hello: ClientHello, contexts: IServerContexts, challenges: IAlpnChallenges
) -> ServerContext | Hold | Refuse | PassthroughConfig:
    """
    Tell what *hello* gets: a CA's validation goes first, and is never held (RFC 8737 §3).

    A name that is another server's has its validations too.
    """
    if ACME_TLS not in hello.alpn:
        return contexts.answer(hello.server_name)
    challenge = challenges.alpn_context(hello.server_name)
    if challenge is None:
        passthrough = contexts.answer(hello.server_name)
        return passthrough if isinstance(passthrough, PassthroughConfig) else Refuse(NO_APPLICATION_PROTOCOL)
    return challenge


class TlsServer:
    """
    Serves TLS on any number of listening sockets, with *protocol_for* the ALPN name that was agreed.

    Not more than `limits.connections` are open at once, all sockets together; the others stay in the backlog. Peers in
    *proxy_protocol*, which may be replaced at any time (reload), must send a PROXY header first. *passages* takes the
    connections that are another server's. Addresses are counted in *counts*, where other processes serve too.
    """

    def __init__(
        self,
        reactor: SocketReactor,
        contexts: IServerContexts,
        challenges: IAlpnChallenges,
        protocol_for: Callable[[bytes], IProtocol | None],
        deadlines: Deadlines,
        limits: LimitsConfig,
        hold_seconds: float,
        passages: PassesOn | None = None,
        counts: SharedCounts | None = None,
    ) -> None:
        self.reactor = reactor
        self.proxy_protocol: Networks | None = None
        self._passages = passages
        self.counts = TlsCounts()
        self.lingering = Lingering(reactor, deadlines, self._closed)
        self.hello_deadline = deadlines.queue(limits.hello_seconds)
        self.hold_deadline = deadlines.queue(hold_seconds)
        self.waiting: set[Arrival] = set()
        self.transports: set[TlsTransport] = set()
        self._contexts, self._challenges, self._protocol_for = contexts, challenges, protocol_for
        self._admission = Admission.for_tls(limits, reactor.seconds, counts)
        self._max_open, self._max_held = limits.connections, max(1, int(limits.connections * _HELD_SHARE))
        self._surroundings = TransportSurroundings.make(reactor, deadlines, self.lingering, limits.hello_seconds)
        self._listeners: list[TlsListener] = []
        self._held: dict[HostName, dict[Arrival, None]] = {}
        self._to_ask_again: deque[Arrival] = deque()
        self._empty: list[Deferred[None]] = []
        contexts.watch(self._settled)

    def listen(self, sock: socket) -> TlsListener:
        """
        Accept on *sock*, which listens and does not block, from now on.
        """
        listener = TlsListener(self.reactor, sock, self.arrived, self._has_room)
        self._listeners.append(listener)
        listener.start()
        return listener

    def set_hold_seconds(self, seconds: float) -> None:
        """
        Hold clients *seconds* at the longest from now on; those who wait already keep their time.
        """
        self.hold_deadline.seconds = seconds

    def serve_from(self, contexts: IServerContexts, challenges: IAlpnChallenges) -> None:
        """
        Ask *contexts* and *challenges* from now on, also for who is held.
        """
        self._contexts, self._challenges = contexts, challenges
        contexts.watch(self._settled)
        for name in self.held_names:
            self._settled(name)

    @property
    def held_names(self) -> tuple[HostName, ...]:
        """
        Give the names for whose certificates clients wait.
        """
        return tuple(self._held)

    def want_again(self) -> None:
        """
        Say once more for which names clients wait: who was told before may not have been able to do anything.
        """
        for name in self.held_names:
            self._contexts.want(name)

    def stop_accepting(self, shared: Container[socket] = ()) -> None:
        """
        Close the listening sockets; who is connected stays so. Who waits at one of the *shared* is left to another.
        """
        for listener in self._listeners:
            listener.stop(shared)

    def finish_soon(self) -> None:
        """
        Ask every protocol to come to an end: by its ``finish_soon`` method, or where it has none by closing.
        """
        for transport in list(self.transports):
            if transport.protocol is not None:
                finish = getattr(transport.protocol, "finish_soon", transport.loseConnection)
                try:
                    finish()
                except Exception:  # noqa: BLE001 - the others must be asked too
                    _log.failure("a connection could not be asked to finish")

    def abort_all(self) -> None:
        """
        Close everything that is open, now; every protocol is told before this returns.
        """
        for arrival in list(self.waiting):
            arrival.drop()
        for transport in list(self.transports):
            transport.deadline_passed()
        if self._passages is not None:
            self._passages.abort_all()
        self.lingering.reset_all()

    def when_empty(self) -> Deferred[None]:
        """
        Fire when no connection is open.
        """
        waiting: Deferred[None] = Deferred()
        if self.counts.open:
            self._empty.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def arrived(self, sock: AcceptedSocket, peer: tuple[Any, ...]) -> None:
        """
        Take an accepted connection; nothing that goes wrong with it reaches the listener.
        """
        self.counts.accepted += 1
        self.counts.open += 1
        if self.proxy_protocol is not None and plain_host(peer[0]) in self.proxy_protocol:
            announced = Arrival(self, sock, peer, awaits_header=True)
            self._try(announced, announced.look)
            return
        try:
            if self._admission is not None and not self._is_let_in(self._admission, sock, peer[0]):
                self.lingering.reset(sock)
                return
            hello = first_look(sock)
            certificate = None if hello is None else answer(hello, self._contexts, self._challenges)
            if isinstance(certificate, ServerContext):  # nearly always
                self._hand_over(sock, peer, certificate)
                return
        except Exception:  # noqa: BLE001 - said and ended here
            _log.failure(_DROPPED)
            if sock.fileno() != -1:
                self.lingering.reset(sock)
            return
        arrival = Arrival(self, sock, peer)
        self._try(arrival, arrival.look)

    # What arrivals ask (`arrival.Reception`)

    def greet(self, arrival: Arrival, hello: ClientHello) -> None:
        """
        Decide about *arrival*, new or held, whose *hello* is there.
        """
        match answer(hello, self._contexts, self._challenges):
            case ServerContext() as certificate:
                self._hand_over(arrival.hand_over(), arrival.peer, certificate)
            case Hold(name=name):
                self._hold(arrival, name)
            case Refuse(alert=alert):
                self.counts.refused += 1
                arrival.refuse(alert)
            case PassthroughConfig() as server:
                self._pass_on(arrival, server)

    def may_stay(self, arrival: Arrival) -> bool:
        """
        Tell whether *arrival*, whose client was just announced, may stay; it counts from now on.
        """
        return self._admission is None or self._is_let_in(self._admission, arrival.socket, arrival.peer[0])

    def not_tls(self, arrival: Arrival) -> None:
        """
        Count it; no log line, since anyone can send anything.
        """
        self.counts.not_tls += 1

    def no_header(self, arrival: Arrival) -> None:
        """
        Count it; no log line, since a load balancer that is set up wrongly would write thousands.
        """
        self.counts.proxy_header_failures += 1

    def too_late(self, arrival: Arrival) -> None:
        """
        Close *arrival*, whose hello did not come; ask a last time for one that was held.
        """
        if arrival.awaits_header:
            self.counts.proxy_header_failures += 1
            arrival.drop()
        elif arrival.hello is None:
            self.counts.hello_timeouts += 1
            arrival.drop()
        else:
            self._try(arrival, self._last_answer, arrival, arrival.hello)

    def left(self, arrival: Arrival) -> None:
        """
        Free the place of *arrival*, which was held.
        """
        self.counts.holding -= 1
        if arrival.held_for is not None:
            self._forget(arrival, arrival.held_for)

    # What transports tell (`transport.TransportObserver`)

    def handshake_completed(self, transport: TlsTransport) -> None:
        """
        Count it.
        """
        self.counts.handshakes += 1

    def handshake_failed(self, transport: TlsTransport) -> None:
        """
        Count it.
        """
        self.counts.handshake_failures += 1

    def transport_ended(self, transport: TlsTransport) -> None:
        """
        Know it no more.
        """
        self.transports.discard(transport)

    def _is_let_in(self, admission: Admission, sock: AcceptedSocket, host: str) -> bool:
        """
        Tell whether *sock* may stay; it counts for *host* then until it is closed.
        """
        leave = sock.leave = admission.enter(host)
        if leave is None:
            self.counts.over_address_limit += 1
            return False
        return True

    def _has_room(self) -> bool:
        return self.counts.open < self._max_open

    def _closed(self) -> None:
        """
        A socket is closed: there is room for another.
        """
        self.counts.open -= 1
        if self.counts.open == self._max_open - 1:
            for listener in self._listeners:
                listener.start()
        if self.counts.open == 0 and self._empty:
            empty, self._empty = self._empty, []
            for waiting in empty:
                waiting.callback(None)

    def _hand_over(self, sock: SocketType, peer: tuple[Any, ...], certificate: ServerContext) -> None:
        connection = AcceptedConnection(certificate.context, sock.fileno())
        transport = TlsTransport(
            self._surroundings,
            sock,
            connection,
            self._protocol_for,
            peer=peer,
            certificate=certificate,
            observer=self,
        )
        self.transports.add(transport)
        transport.start()

    def _pass_on(self, arrival: Arrival, server: PassthroughConfig) -> None:
        if self._passages is None:
            raise AssertionError("a domain is another server's, and nobody passes its connections on")
        sock = arrival.hand_over()
        self.counts.passed_through += 1
        self.counts.passing_through += 1
        leave = sock.hand_on()
        refused, ended = partial(self._not_passed_on, sock, leave), partial(self._passage_ended, leave)
        self._passages.begin(sock, arrival.peer, arrival.destination, server, refused=refused, ended=ended)

    def _not_passed_on(self, sock: SocketType, leave: Callable[[], None] | None) -> None:
        self.counts.passthrough_failures += 1
        self._passage_over(leave)
        say_no(sock, INTERNAL_ERROR, self.lingering)

    def _passage_ended(self, leave: Callable[[], None] | None) -> None:
        self._passage_over(leave)
        self._closed()

    def _passage_over(self, leave: Callable[[], None] | None) -> None:
        self.counts.passing_through -= 1
        if leave is not None:  # it counted for its address
            leave()

    def _hold(self, arrival: Arrival, name: HostName) -> None:
        if arrival.held_for is not None:  # asked again, and again told to wait: its deadline stays
            self._forget(arrival, arrival.held_for)
            arrival.held_for = name
        elif len(self._held.get(name, ())) >= self._max_held - self.counts.holding:
            self.counts.refused += 1
            arrival.refuse(INTERNAL_ERROR)
            return
        else:
            self.counts.held += 1
            self.counts.holding += 1
            arrival.hold(name)
        if arrival.held_for is not None:  # it may have left just now
            self._held.setdefault(name, {})[arrival] = None
            self._contexts.want(name)

    def _forget(self, arrival: Arrival, name: HostName) -> None:
        held = self._held.get(name)
        if held is not None:
            held.pop(arrival, None)
            if not held:
                del self._held[name]

    def _settled(self, name: HostName) -> None:
        """
        *name*'s answer may have changed: ask again for all that wait for it, a few at a time.
        """
        if not self._to_ask_again and name in self._held:
            self.reactor.callLater(0, self._ask_some_again)
        self._to_ask_again.extend(self._held.pop(name, ()))

    def _ask_some_again(self) -> None:
        for _ in range(min(_RELEASES_PER_TURN, len(self._to_ask_again))):
            arrival = self._to_ask_again.popleft()
            if arrival.held_for is not None and arrival.hello is not None:  # else it left meanwhile
                self._try(arrival, self.greet, arrival, arrival.hello)
        if self._to_ask_again:
            self.reactor.callLater(0, self._ask_some_again)

    def _last_answer(self, arrival: Arrival, hello: ClientHello) -> None:
        if isinstance(answer(hello, self._contexts, self._challenges), Hold):
            self.counts.hold_timeouts += 1
            arrival.refuse(INTERNAL_ERROR)
        else:
            self.greet(arrival, hello)

    def _try(self, arrival: Arrival, call: Callable[..., None], *args: Any) -> None:
        """
        Call what decides about *arrival*; a fault there costs that connection and nothing else.
        """
        try:
            call(*args)
        except Exception:  # noqa: BLE001 - said and ended here
            _log.failure(_DROPPED)
            arrival.drop()
