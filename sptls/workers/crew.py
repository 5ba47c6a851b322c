"""
All worker processes, as the parts that keep certificates see them: what faces the clients (`parts.Front`).

Tells each what is served and which challenges are open, and adds up what they count; `place` starts them, again and
again. A worker that ends costs its own connections and nothing else: its sockets stay open here, and who is in their
queue is served by its successor.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sptls.errors import StartError
from sptls.ops.status import http_json
from sptls.ops.traffic import Traffic, left_behind, total
from sptls.proxy.counters import Counters
from sptls.serving import DRAIN_SECONDS
from sptls.tls.contexts import extra_certificates
from sptls.tls.counts import TlsCounts
from sptls.workers.counts_memory import CountsMemory
from sptls.workers.everywhere import EverywhereResponder, OpenChallenges
from sptls.workers.messages import (
    Answer,
    Begin,
    Change,
    Close,
    Damaged,
    Drain,
    Open,
    ReopenLogs,
    Roots,
    Said,
    Serve,
    Wanted,
    encode,
    in_batches,
)
from sptls.workers.place import Place
from sptls.workers.relay import relay
from sptls.workers.sharing import for_worker, share
from sptls.workers.silence import LOOK_SECONDS
from sptls.workers.turn import descriptor_for_turns

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Sequence
    from contextlib import AsyncExitStack
    from pathlib import Path

    from sptls.certs.renewer import Renewer
    from sptls.config import Config
    from sptls.keeping import TrustRoots
    from sptls.names import HostName
    from sptls.startup import Bound
    from sptls.tls.served import ServedCertificates
    from sptls.workers.messages import Challenge, Message
    from sptls.workers.process import WorkerProcess

_log = Logger()

# A worker answers in a millisecond; one that does not in this has a fault, and no order or reload must hang by it.
ANSWER_SECONDS: Final = 10.0
# Before anything was counted the status has its keys, too.
_NOTHING: Final = Traffic(tls=attrs.asdict(TlsCounts()), http=http_json(Counters()))
# Beyond the drain, for the access log's last lines.
END_SECONDS: Final = DRAIN_SECONDS + 8.0
# The system ends at once what is killed, unless that waits for a disk.
_KILLED_SECONDS: Final = 1.0


class Crew:
    """
    *count* worker processes that serve *config* with *trust* roots, which may grow later.
    """

    def __init__(self, reactor: Any, config: Config, trust: TrustRoots, count: int) -> None:
        self._reactor, self._config, self._trust = reactor, config, trust
        self._places = [Place(reactor, number, self._started, self._take) for number in range(1, count + 1)]
        self._processes: set[WorkerProcess] = set()
        self._past = _NOTHING
        self._challenges = OpenChallenges(self._open_in_all, self._close_in_all)
        self.responders: tuple[Any, Any] = (
            EverywhereResponder("http-01", self._challenges),
            EverywhereResponder("tls-alpn-01", self._challenges),
        )
        # Set by `serve`, since both are made with what is here already.
        self._served: ServedCertificates
        self._renewer: Renewer
        self._is_served = False
        self._other_answers: dict[HostName, None] = {}
        # What clients wait for, until its answer changes: another renewer is told as well.
        self._wanted: dict[HostName, None] = {}
        self._changes: list[Deferred[Any]] = []
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor
        self._bound: Bound | None = None
        self._log_turn = -1
        self._counts: CountsMemory | None = None
        self._is_ending = False

    def serve(self, served: ServedCertificates, renewer: Renewer) -> None:
        """
        Serve what *served* has from now on, in the place of what was served, and tell *renewer* who waits.
        """
        changed = (*self._served.settled_names(), *served.settled_names()) if self._is_served else ()
        self._served, self._renewer, self._is_served = served, renewer, True
        served.watch(self._answer_changed)
        self.want_again()
        for name in changed:
            self._answer_changed(name)

    def want_again(self) -> None:
        """
        Tell the renewer once more for which names clients wait.
        """
        for name in tuple(self._wanted):
            self._renewer.want(name)

    @property
    def is_serving(self) -> bool:
        """
        Tell whether any worker accepts clients.
        """
        return not self._is_ending and any(process.is_serving for process in self._processes)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """
        Give what the status says of each worker.
        """
        return [place.row for place in self._places]

    def start(self, ending: AsyncExitStack) -> None:
        """
        Have what is left of the workers end with *ending*; none is started yet.
        """
        self._log_turn = descriptor_for_turns()
        ending.callback(os.close, self._log_turn)
        self._counts = CountsMemory.some(self._config.limits, len(self._places))
        if self._counts is not None:
            ending.callback(self._counts.close)
        ending.push_async_callback(self._end)

    async def listen(self, bound: Bound) -> None:
        """
        Start the workers, and return when each serves, or has failed once and another one serves.

        Raises:
            StartError: none can serve.
        """
        self._bound = bound
        for index, place in enumerate(self._places):
            https, http = self._shared(bound.https, index), self._shared(bound.http, index)
            place.keep(https, http, self._log_turn, self._counts)
        self._looks.start(LOOK_SECONDS, now=False)
        await DeferredList([place.tried for place in self._places], consumeErrors=True)
        if not self.is_serving:
            reasons = dict.fromkeys(place.trouble for place in self._places)
            raise StartError(f"no worker process could serve: {'; '.join(filter(None, reasons)) or 'they were ended'}")

    def go_over(self, config: Config, other_roots: Collection[Path | None] = ()) -> None:
        """
        Have all go on with *config*; one that can't is replaced.
        """
        self._config = config
        roots = self._told_roots()
        self._changes = [
            Deferred.fromCoroutine(self._answered(process, self._asked_to_change(process, roots)))
            for process in self._told_processes
        ]

    async def settled(self) -> None:
        """
        Return when all have gone over, or are being replaced.
        """
        changes, self._changes = self._changes, []
        await DeferredList(changes, consumeErrors=True)

    def reopen_logs(self) -> None:
        """
        Have all go on in a new access log.
        """
        self._tell_all(ReopenLogs())

    def traffic(self) -> Traffic:
        """
        Give what all have counted, as of a second ago, those that have ended too.
        """
        return total((self._past, *(process.traffic for process in self._processes)))

    async def drain(self) -> None:
        """
        Have all finish what runs and end; those that have not in time are killed.
        """
        self._is_ending = True
        self._stop_keeping()
        shared = frozenset() if self._bound is None else self._bound.shared
        for process in self._told_processes:
            place = self._places[process.number - 1]
            if not process.is_serving:  # it has no client
                process.kill()
            process.send(Drain(tuple(at for at, sock in enumerate(place.sockets) if sock in shared)))
        for place in self._places:
            for listening in place.sockets:
                listening.close()
        await self._all_ended(END_SECONDS)

    # The workers' lives

    def _started(self, process: WorkerProcess) -> None:
        """
        Know *process*, and tell it all there is.
        """
        self._processes.add(process)
        process.ended.addCallback(self._ended, process)
        telling = Deferred.fromCoroutine(self._tell_everything(process))
        telling.addErrback(self._telling_failed, process)

    async def _tell_everything(self, process: WorkerProcess) -> None:
        """
        Tell a new worker all there is, as fast as it takes it.
        """
        process.send(Begin(self._told_config(process), self._told_roots()))
        for message in in_batches([*filter(None, map(self._answer, self._served.settled_names()))]):
            await process.room()
            process.send(message)
        for challenge in self._challenges.all:
            process.send(Open(0, challenge))
        process.send(Serve())

    def _ended(self, _: object, process: WorkerProcess) -> None:
        self._processes.discard(process)
        self._past = total((self._past, left_behind(process.traffic)))

    def _telling_failed(self, failure: Any, process: WorkerProcess) -> None:
        _log.failure("worker {worker} could not be told what to serve", failure, worker=process.number)
        process.give_up("it could not be told what to serve")

    def _look(self) -> None:
        for process in tuple(self._processes):
            process.look()

    def _stop_keeping(self) -> None:
        if self._looks.running:
            self._looks.stop()
        for place in self._places:
            place.leave()

    async def _end(self) -> None:
        """
        Kill what a drain has left, or all, where the start has failed.
        """
        self._is_ending = True
        self._stop_keeping()
        for process in tuple(self._processes):
            process.kill()
        await self._all_ended(END_SECONDS)

    async def _all_ended(self, seconds: float) -> None:
        """
        Wait for the end of every worker; after *seconds* they are killed, and soon waited for no more.
        """
        is_over: Deferred[object] = Deferred()
        DeferredList([process.ended for process in self._processes]).addCallback(is_over.callback)
        kill = self._reactor.callLater(seconds, self._kill_all)
        try:
            with suppress(DeferredTimeoutError):
                await is_over.addTimeout(seconds + _KILLED_SECONDS, self._reactor)
        finally:
            if kill.active():
                kill.cancel()

    def _kill_all(self) -> None:
        for process in tuple(self._processes):
            process.give_up("it does not end")

    # What they are told

    @property
    def _told_processes(self) -> list[WorkerProcess]:
        return [process for process in self._processes if not process.is_gone]

    def _tell_all(self, message: Message) -> None:
        encoded = encode(message)
        for process in self._told_processes:
            process.send_encoded(encoded)

    def _told_config(self, process: WorkerProcess) -> Config:
        return for_worker(self._config, process.number - 1, len(self._places))

    def _told_roots(self) -> tuple[Roots, ...]:
        files = dict.fromkeys(domain.upstream.trust for domain in self._config.domains)
        return tuple(Roots(str(file), extra_certificates(self._trust[file])) for file in files if file is not None)

    def _asked_to_change(self, process: WorkerProcess, roots: tuple[Roots, ...]) -> Deferred[str]:
        config = self._told_config(process)
        return process.ask(lambda turn: Change(turn, config, roots))

    def _answer(self, name: HostName) -> Answer | None:
        settled = self._served.settled(name)
        return None if settled is None else Answer(name, *settled)

    def _answer_changed(self, name: HostName) -> None:
        """
        Have *name*'s answer told at the end of this turn, with what else it changes: after a `Change` of the same turn.
        """
        if not self._other_answers:
            self._reactor.callLater(0, self._tell_answers)
        self._other_answers[name] = None
        self._wanted.pop(name, None)

    def _tell_answers(self) -> None:
        names, self._other_answers = self._other_answers, {}
        for message in in_batches([*filter(None, map(self._answer, names))]):
            encoded = encode(message)
            for process in self._processes:  # those that drain too: clients of theirs may wait for it
                process.send_encoded(encoded)

    async def _open_in_all(self, challenge: Challenge) -> None:
        asked = [(process, process.ask(lambda turn: Open(turn, challenge))) for process in self._told_processes]
        await DeferredList([Deferred.fromCoroutine(self._answered(*each)) for each in asked])

    def _close_in_all(self, challenge: Challenge) -> None:
        self._tell_all(Close(challenge))

    async def _answered(self, process: WorkerProcess, done: Deferred[str]) -> None:
        """
        Wait until *process* has done what it was asked; one that has not, or can't, is replaced.

        One that does not serve yet may take longer: it does that first. Whether one that says nothing at all is hung,
        `silence` judges.
        """
        with suppress(CancelledError):
            try:
                problem = await done.addTimeout(ANSWER_SECONDS, self._reactor)
            except DeferredTimeoutError:
                is_at_fault = process.is_serving and not process.is_silent
                problem = f"it did not answer within {ANSWER_SECONDS:.0f} s" if is_at_fault else ""
            if problem:
                process.give_up(problem)

    # What they tell

    def _take(self, process: WorkerProcess, message: Message) -> None:
        match message:
            case Wanted(names=names):
                for name in names:
                    self._wanted[name] = None
                    self._renewer.want(name)
            case Damaged(name=name, serial=serial, reason=reason):
                self._damaged(name, serial, reason)
            case Said(line=line):
                relay(process.number, line)

    def _damaged(self, name: HostName, serial: str, reason: str) -> None:
        """
        Have *name*'s certificate set aside, once, though several workers find it.
        """
        bundle = self._served.bundle_for(name)
        if bundle is not None and bundle.serial == serial:
            self._served.withdraw(name)
            self._renewer.damaged(name, reason)

    def _shared(self, sockets: Sequence[socket.socket], index: int) -> list[socket.socket]:
        addresses = [sock.getsockname() for sock in sockets]
        return [sockets[at] for at in share(addresses, index, len(self._places))]
