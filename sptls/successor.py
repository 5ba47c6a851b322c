"""
The process that takes over from this one: it is asked for at the control socket, and what belongs to us is handed over.

In the order of `handover`: what keeps certificates ends first, so that nobody orders twice; then the sockets and the
lock cross. Clients are served all the time. Unless the successor says in time that it took over, everything goes on
here as if nothing had been. What is handed over, and what going on takes, is the `Estate`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.errors import SptlsError
from sptls.handover import MAX_SOCKETS, VERSION, GivesWay, HandedOver, Ready, Refused, TookOver
from sptls.handover_channel import Channel, Ended, pair

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Sequence

    from twisted.internet.interfaces import IDelayedCall

_log = Logger()

# The answer to its request is on its way to it.
READY_SECONDS: Final = 10.0
# The renewer's 5 s for its orders (`certs.renewer.STOP_SECONDS`), a deploy command's end, the store's last writes.
PAUSE_SECONDS: Final = 20.0
# From the sockets to serving at them: under two seconds, and four with 100,000 domains.
TAKE_OVER_SECONDS: Final = 45.0
# For both when this process is to end meanwhile: whoever asked it to waits. Orders end in 5 s (`certs.renewer`).
ENDING_SECONDS: Final = 6.0
# When what keeps certificates can't begin again (the store can't be opened): until the next try.
AGAIN_SECONDS: Final = 60.0


class HandoverRefusedError(SptlsError):
    """
    Nothing is handed over now; the sentence says why and what to do.
    """


class Estate(Protocol):
    """
    What a running process has to hand over.
    """

    def why_not(self) -> str:
        """
        Tell why it can't be handed over, or "".
        """

    async def pause(self) -> None:
        """
        End what keeps certificates; what is served goes on being served.
        """

    def hand_over(self) -> Sequence[tuple[int, bool]]:
        """
        Give the descriptors of the listening sockets, and whether a supervisor holds each; they are shared from now on.
        """

    def lock_descriptor(self) -> int:
        """
        Give the descriptor of the state lock, which is shared from now on.
        """

    async def go_on(self) -> None:
        """
        Begin what `pause` ended; nothing is shared any more.

        Raises:
            SptlsError: it can't be begun; it is paused still, and may be asked again.
        """

    def give_way(self, taken: frozenset[int]) -> None:
        """
        Accept no more at those of the sockets whose numbers are in *taken*, drain, and end the process.
        """


class Succession:
    """
    Hands over *estate*, to one successor at a time.
    """

    def __init__(self, reactor: Any, estate: Estate) -> None:
        self._reactor, self._estate = reactor, estate
        self._running: Deferred[None] | None = None
        self._is_owing = self._is_ending = False
        self._again: IDelayedCall | None = None

    def begin(self, version: int) -> socket.socket:
        """
        Begin, and give the successor's end of the channel, which has to be sent to it and is closed here.

        Raises:
            HandoverRefusedError: nothing is handed over now.
        """
        refusal = self._refusal(version)
        if refusal:
            raise HandoverRefusedError(refusal)
        is_paused = self._try_no_more()
        ours, theirs = pair()
        self._is_owing = True
        self._run(self._hand_over(Channel(self._reactor, ours), theirs, is_paused=is_paused))
        return theirs

    async def stop(self) -> None:
        """
        Break off what runs, since the process ends; return when it has. A successor that has the sockets may go on.

        One that has asked for them gets them first: nobody else will listen there.
        """
        self._is_ending = True
        self._try_no_more()
        if self._running is not None:
            if self._is_owing:
                self._running.addTimeout(ENDING_SECONDS, self._reactor)
            else:
                self._running.cancel()
        if self._running is not None:
            await self._running

    def _refusal(self, version: int) -> str:
        if version != VERSION:
            return (
                f"it hands over in another way (version {VERSION}, asked for {version}); "
                "stop it and start the new one without --take-over"
            )
        if self._is_ending:
            return "it is ending; start this one without --take-over when it has ended"
        if self._running is not None:
            return "another process is taking over already; see what becomes of that"
        return self._estate.why_not()

    def _run(self, doing: Coroutine[Deferred[Any], Any, None]) -> None:
        self._running = Deferred.fromCoroutine(doing)
        self._running.addBoth(self._ended)

    def _ended(self, result: object) -> None:
        self._running = None
        if isinstance(result, Failure) and result.check(CancelledError) is None:
            _log.failure("a handover broke off", result)

    def _try_no_more(self) -> bool:
        """
        Tell whether going on was to be tried again.
        """
        again, self._again = self._again, None
        if again is None or not again.active():
            return False
        again.cancel()
        return True

    async def _hand_over(self, channel: Channel, theirs: socket.socket, *, is_paused: bool) -> None:
        try:
            is_ready = isinstance(await channel.receive(READY_SECONDS), Ready)
            theirs.close()  # the successor has it; when that process ends, so does the channel
            if await self._pass_on(channel) if is_ready else not is_paused:
                return
        finally:
            self._is_owing = False
            theirs.close()
            channel.close()
        if not self._is_ending:
            await self._go_on()

    async def _pass_on(self, channel: Channel) -> bool:
        """
        Tell whether the successor took over, or will find nobody any more who could give way.
        """
        _log.info("another process takes over; what keeps certificates ends here")
        problem = await self._send_estate(channel)
        if problem:
            _log.error("nothing is handed over: {problem}; this process goes on", problem=problem)
            channel.send(Refused(problem))
            return False
        self._is_owing = False
        if self._is_ending:
            _log.info("this process is ending; the other one has its sockets")
            return True
        match await channel.receive(TAKE_OVER_SECONDS):
            case TookOver(process=process, taken=taken):
                _log.info("process {process} took over", process=process)
                self._estate.give_way(taken)
                channel.send(GivesWay())
                return True
            case Ended(why=why):
                problem = why
            case _:
                problem = "says what it must not say"
        _log.error("the other process did not take over: it {problem}; this one goes on", problem=problem)
        channel.send(Refused(f"it had to wait for too long, or did not understand: this process {problem}"))
        return False

    async def _send_estate(self, channel: Channel) -> str:
        """
        Have what keeps certificates end, and send all; give what is wrong, or "".
        """
        try:
            await Deferred.fromCoroutine(self._estate.pause()).addTimeout(PAUSE_SECONDS, self._reactor)
            self._send(channel)
        except CancelledError:
            channel.send(Refused("it is being stopped"))
            raise
        except DeferredTimeoutError:
            return f"what keeps certificates did not end in {PAUSE_SECONDS:.0f} s"
        except Exception:  # noqa: BLE001 - whatever it is, what was ended begins again
            _log.failure("what keeps certificates did not end")
            return "what keeps certificates did not end; its log has the traceback"
        return ""

    def _send(self, channel: Channel) -> None:
        sockets, lock = list(self._estate.hand_over()), self._estate.lock_descriptor()
        batches = [sockets[at : at + MAX_SOCKETS] for at in range(0, len(sockets), MAX_SOCKETS)] or [[]]
        for number, batch in enumerate(batches, 1):
            is_last = number == len(batches)
            descriptors = [descriptor for descriptor, _ in batch] + ([lock] if is_last else [])
            channel.send(HandedOver(tuple(is_kept for _, is_kept in batch), is_last), descriptors)

    async def _go_on(self) -> None:
        try:
            await self._estate.go_on()
        except CancelledError:
            raise
        except SptlsError as error:
            self._try_again(str(error))
        except Exception:  # noqa: BLE001 - clients are served, and the next try may succeed
            _log.failure("what keeps certificates could not begin again")
            self._try_again("an unexpected fault; the traceback is above")
        else:
            _log.info("this process keeps certificates again")

    def _try_again(self, problem: str) -> None:
        _log.error(
            "clients are served, but certificates are not renewed: {problem}; trying again in {seconds:.0f} s; "
            "another process may take over, or restart this one",
            problem=problem,
            seconds=AGAIN_SECONDS,
        )
        self._again = self._reactor.callLater(AGAIN_SECONDS, lambda: self._run(self._go_on()))
