"""
What a worker process does: serves clients by what its parent tells, and tells what clients want.

It is the worker's end of the two pipes. When the parent is gone it finishes what runs, briefly, and ends too: nobody
would renew what it serves, and its successor needs the addresses.
"""

from __future__ import annotations

import gc
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger

from sptls.clock import wall_time
from sptls.errors import MalformedMessage, StartError
from sptls.proxy.http01 import Http01Responder
from sptls.serving import DRAIN_SECONDS, Serving
from sptls.threads import daemon_thread
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from sptls.tls.contexts import CONTEXTS_KEPT, ContextCache, trust_in
from sptls.tls.served import ServedCertificates
from sptls.workers import messages
from sptls.workers.frames import Frames, framed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from twisted.python.failure import Failure

    from sptls.errors import BadCertificate
    from sptls.names import HostName
    from sptls.shared_counts import SharedCounts
    from sptls.startup import Bound
    from sptls.threads import InThread
    from sptls.workers.messages import Answer, Challenge, Message, Roots

_log = Logger()

# The status is as old as this, and a parent that hears nothing for longer looks whether we hang (`silence`).
TELL_SECONDS: Final = 1.0
# Thousands of upstreams make a long report: it is told less often, so that it never costs more than this.
_TOLD_BYTES_PER_SECOND: Final = 65536
# Without a parent: enough for clicks that are being answered, and the operator waits for the addresses.
ORPHAN_SECONDS: Final = 2.0
# A configuration of some thousand domains: what is longer is read in a thread, so that no client waits for it.
_LONG_BYTES: Final = 262144
# The last words are in the pipe by then, or nobody takes them.
_LAST_WORDS_SECONDS: Final = 1.0


@attrs.frozen
class _Token:
    """
    A challenge, as responders take it.
    """

    challenge: Challenge

    @property
    def key_authorization(self) -> str:
        """
        Give the key authorization (RFC 8555 §8.1).
        """
        return self.challenge.key_authorization

    def encode(self, _: str) -> str:
        """
        Give the token.
        """
        return self.challenge.token


@attrs.frozen(eq=False)
class _Begun:
    """
    What there is from `Begin` on.
    """

    contexts: ContextCache
    served: ServedCertificates
    serving: Serving


class Worker(Protocol):
    """
    Serves on the sockets *bound*, from the parent's `Serve` on, until it is told to drain.
    """

    def __init__(
        self,
        reactor: Any,
        bound: Bound,
        log_turn: AbstractContextManager[object] | None = None,
        in_thread: InThread | None = None,
        counts: SharedCounts | None = None,
    ) -> None:
        self.reactor, self._bound, self._log_turn, self._counts = reactor, bound, log_turn, counts
        self._in_thread = in_thread or daemon_thread(reactor, "messages")
        self._heard: deque[bytes] = deque()
        self._is_reading = False
        self.lost_lines = 0
        self._frames = Frames()
        self._ending = AsyncExitStack()
        self._serials: dict[HostName, str] = {}
        self._wanted: dict[HostName, None] = {}
        self._trust: dict[Path | None, Any] = {None: trust_in(())}
        self._http01 = Http01Responder()
        self._alpn01 = TlsAlpn01Responder(wall_time)
        self._begun: _Begun | None = None
        self._next_report = 0.0
        self._is_full = self._is_orphan = False
        self._leaving: Deferred[None] | None = None

    # What Twisted tells

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """
        Hear when the parent does not take what we say.
        """
        self.transport.registerProducer(self, True)  # type: ignore[union-attr] # set by now
        self.reactor.callLater(TELL_SECONDS, self._tell)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Do what the parent says.
        """
        try:
            self._heard.extend(self._frames.feed(data))
            self._take_heard()
        except MalformedMessage as error:
            self._refuse(str(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """
        Finish and end: the parent is gone, or we have said all.
        """
        self._is_orphan = True
        if self._leaving is not None and self._leaving.called:
            self.reactor.stop()
        else:
            self.leave(ORPHAN_SECONDS)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Say only what must be said.
        """
        self._is_full = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Say everything again.
        """
        self._is_full = False

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Nobody listens any more.
        """
        self._is_full = True

    # What is said

    def say(self, line: str) -> None:
        """
        Have *line*, an event for the log, in the parent's log; lost, and counted, where the parent takes nothing.
        """
        if self._is_full or self._is_orphan:
            self.lost_lines += 1
        else:
            self._send(messages.Said(line))

    def leave(self, seconds: float = DRAIN_SECONDS) -> None:
        """
        Accept no more, finish what runs within *seconds*, and end.
        """
        if self._leaving is None:
            self._send(messages.Leaving())
            self._leaving = Deferred.fromCoroutine(self._leave(seconds))
            self._leaving.addBoth(self._last_words)

    def _send(self, message: Message) -> None:
        self._write(framed(messages.encode(message)))

    def _write(self, message: bytes) -> None:
        if self.transport is not None and not self._is_orphan:
            self.transport.write(message)

    def _tell(self) -> None:
        """
        Say what is new, so that the parent sees that we live.
        """
        self.reactor.callLater(TELL_SECONDS, self._tell)
        if self._is_full:
            return
        if self.lost_lines:
            _log.warn(
                "{lines} lines of this log were lost: the parent process did not take them", lines=self.lost_lines
            )
            self.lost_lines = 0
        if not self._report():
            self._send(messages.Alive())

    def _report(self, *, is_last: bool = False) -> bool:
        now = self.reactor.seconds()
        if self._begun is None or (now < self._next_report and not is_last):
            return False
        message = framed(messages.encode(messages.Counted(self._begun.serving.traffic())))
        self._next_report = now + len(message) / _TOLD_BYTES_PER_SECOND
        self._write(message)
        return True

    def _want(self, name: HostName) -> None:
        """
        Tell the parent at the end of this turn, once however many wait.
        """
        if not self._wanted:
            self.reactor.callLater(0, self._tell_wanted)
        self._wanted[name] = None

    def _tell_wanted(self) -> None:
        names, self._wanted = tuple(self._wanted), {}
        self._send(messages.Wanted(names))

    def _damaged(self, name: HostName, error: BadCertificate) -> None:
        self._send(messages.Damaged(name, self._serials.get(name, ""), str(error)))

    # What is heard

    @property
    def _parts(self) -> _Begun:
        if self._begun is None:
            raise MalformedMessage("it came before Begin")
        return self._begun

    def _take_heard(self) -> None:
        """
        Do what was said, in its order; what comes behind a long message waits until that is read.
        """
        while self._heard and not self._is_reading:
            text = self._heard.popleft()
            if len(text) <= _LONG_BYTES:
                self._take(messages.decode(text))
            else:
                self._is_reading = True
                reading = Deferred.fromCoroutine(self._take_long(text))
                reading.addErrback(lambda failure: self._refuse(failure.getErrorMessage()))

    async def _take_long(self, text: bytes) -> None:
        message = await self._in_thread(lambda: messages.decode(text))
        self._is_reading = False
        self._take(message)
        self._take_heard()

    def _take(self, message: Message) -> None:
        match message:
            case messages.Begin(config=config, roots=roots):
                self._begin(config, roots)
            case messages.Answers(answers=answers):
                for answer in answers:
                    self._answer(answer)
            case messages.Open(turn=turn, challenge=challenge):
                self._do(turn, lambda: self._open(challenge))
            case messages.Close(challenge=challenge):
                self._close(challenge)
            case messages.Change(turn=turn, config=config, roots=roots):
                self._do(turn, lambda: self._go_over(config, roots))
            case messages.Serve():
                starting = Deferred.fromCoroutine(self._serve())
                starting.addErrback(lambda failure: self._refuse(failure.getErrorMessage()))
            case messages.ReopenLogs():
                self._parts.serving.reopen_logs()
            case messages.Drain(shared=shared):
                sockets = self._bound.sockets
                self._bound.share(frozenset(sockets[at] for at in shared))
                self.leave()

    def _do(self, turn: int, work: Any) -> None:
        """
        Do *work*, and say what came of it.
        """
        problem = ""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the parent replaces us: serving goes on until then
            _log.failure("what the parent process asked for could not be done")
            problem = f"it could not do what it was asked ({type(error).__name__})"
        self._send(messages.Done(turn, problem))

    def _begin(self, config: Any, roots: Iterable[Roots]) -> None:
        self._trust_in(roots)
        contexts = ContextCache(config.tls.policy, CONTEXTS_KEPT, self.reactor.seconds)
        served = ServedCertificates(
            config.domains, config.listen.default_name, contexts, wall_time, self._want, self._damaged
        )
        serving = Serving.make(
            self.reactor,
            config,
            self._trust,
            served,
            self._alpn01,
            self._http01.tokens,
            self._log_turn,
            self._counts,
        )
        self._begun = _Begun(contexts, served, serving)

    async def _serve(self) -> None:
        serving = self._parts.serving
        try:
            serving.start(self._ending)
        except StartError as error:
            self._refuse(str(error))
            return
        await serving.listen(self._bound)
        # What lives now lives for ever: the garbage collector, which `child` disabled, need not look at it again.
        gc.freeze()
        gc.enable()
        self._send(messages.Serving())
        self._report()

    def _refuse(self, reason: str) -> None:
        """
        End without serving any longer, because of *reason*.
        """
        self._send(messages.CannotServe(reason))
        self.leave(0.0)

    def _go_over(self, config: Any, roots: Iterable[Roots]) -> None:
        other_roots = self._trust_in(roots)
        self._parts.contexts.set_policy(config.tls.policy)
        self._parts.served.set_domains(config.domains, config.listen.default_name)
        self._parts.serving.go_over(config, other_roots)

    def _trust_in(self, roots: Iterable[Roots]) -> set[Path | None]:
        """
        Go by *roots* from now on; give the files whose roots are others than before.
        """
        new: dict[Path | None, Any] = {Path(one.file): trust_in(one.certificates) for one in roots}
        other = {file for file, trust in new.items() if self._trust.get(file, trust) != trust}
        self._trust.update(new)
        return other

    def _answer(self, answer: Answer) -> None:
        name, bundle, served = answer.name, answer.bundle, self._parts.served
        if bundle is None:
            self._serials.pop(name, None)
            served.withdraw(name)
        elif bundle != served.bundle_for(name):
            self._serials[name] = bundle.serial
            served.replace(name, bundle)
        if answer.failing_until is not None:
            served.fail(name, answer.failing_until)

    def _open(self, challenge: Challenge) -> None:
        token = _Token(challenge)
        responder: Any = self._http01 if challenge.kind == "http-01" else self._alpn01
        responder.start_responding(challenge.name.text, token, token)

    def _close(self, challenge: Challenge) -> None:
        token = _Token(challenge)
        responder: Any = self._http01 if challenge.kind == "http-01" else self._alpn01
        responder.stop_responding(challenge.name.text, token, token)

    async def _leave(self, seconds: float) -> None:
        try:
            if self._begun is not None:
                await self._begun.serving.drain(seconds)
        finally:
            await self._ending.aclose()
            self._report(is_last=True)

    def _last_words(self, result: Any) -> None:
        """
        Close the pipe behind what is still in it, and end when it is empty.
        """
        if result is not None:
            _log.failure("this worker did not end well", result)
        if self._is_orphan or self.transport is None:
            self.reactor.stop()
        else:
            self.reactor.callLater(_LAST_WORDS_SECONDS, self.reactor.stop)
            self.transport.loseConnection()
