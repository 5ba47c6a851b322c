"""
From epoll straight to what waits: the turn of Twisted's loop that every byte of a client's takes.

Twisted enters a logging context around each call of `doRead` and `doWrite`, which costs nine calls and two dicts, so
that messages of its old logging (`twisted.python.log.msg`) say what connection they are about. Nothing here uses that:
`twisted.logger` has its own name for where a message comes from. All else is as in `EPollReactor.doPoll`, and what is
neither plainly readable nor plainly writable is still Twisted's own to handle. Nor is its loop gone back to after each
wait, but when it has something to do: a timed call that is due or new, a call from a thread, the end.
"""
# ruff: noqa: SLF001 - it stands in for the reactor's own methods, on what they stand on

from __future__ import annotations

from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

_log = Logger()

# As many as nginx takes at a time; those left over are the first of the next turn.
_EVENTS_PER_TURN: Final = 512
# What epoll_wait(2) takes at most, about; as in `ReactorBase.timeout`.
_LONGEST_SECONDS: Final = 2_147_483


def wake_directly(reactor: Any) -> None:
    """
    Have *reactor* do so from now on, if it is the one of Twisted's that this is written for; else leave it alone.
    """
    if type(reactor) is EPollReactor:
        reactor.doIteration = _turn_of(reactor)  # type: ignore[method-assign]  # of this one object
        reactor.addReader, reactor.removeReader = _reading_of(reactor)  # type: ignore[method-assign]  # likewise


def _turn_of(reactor: Any) -> Callable[[float | None], None]:
    poll, wake_all = reactor._poller.poll, _wakes_of(reactor)

    def turn(timeout: float | None) -> None:
        wake_all(poll(-1 if timeout is None else timeout, _EVENTS_PER_TURN))
        # What Twisted's loop looks at between two turns costs a dozen calls, and mostly there is nothing for it to do.
        while seconds := _idle_seconds(reactor):
            wake_all(poll(seconds, _EVENTS_PER_TURN))

    return turn


def _idle_seconds(reactor: Any) -> float:
    """
    Tell for how many seconds Twisted's loop has nothing to do but wait: 0 where there is something, -1 for ever.
    """
    if reactor.threadCallQueue or reactor._newTimedCalls or reactor._justStopped or not reactor.running:
        return 0
    timed = reactor._pendingTimedCalls
    return max(0, min(timed[0].time - reactor.seconds(), _LONGEST_SECONDS)) if timed else -1


def _wakes_of(reactor: Any) -> Callable[[list[tuple[int, int]]], None]:
    watched = reactor._selectables
    wake_carefully = reactor._doReadOrWrite

    def wake_all(events: list[tuple[int, int]]) -> None:
        for waiting, number, event in [(watched.get(number), number, event) for number, event in events]:
            # Closed by one that was woken before it; whoever has its number now would be told of another's end.
            if waiting is None or watched.get(number) is not waiting:
                continue
            try:
                if event == EPOLLIN:
                    why = waiting.doRead()
                elif event == EPOLLOUT:
                    why = waiting.doWrite()
                else:
                    why = wake_carefully(waiting, number, event)
            except Exception as error:  # noqa: BLE001 - as Twisted does: it costs this connection and nothing else
                _log.failure("{waiting} failed", waiting=type(waiting).__name__)
                why = error
            if why:
                reactor._disconnectSelectable(waiting, why, event == EPOLLIN)

    return wake_all


def _reading_of(reactor: Any) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """
    Give `addReader` and `removeReader` for what is not to be written to as well; the rest is left to Twisted's.
    """
    add_carefully, remove_carefully = reactor.addReader, reactor.removeReader
    register, unregister = reactor._poller.register, reactor._poller.unregister
    watched, reads, writes = reactor._selectables, reactor._reads, reactor._writes

    def add(reader: Any) -> None:
        number = reader.fileno()
        if number in watched:
            add_carefully(reader)
            return
        try:
            register(number, EPOLLIN)
        except OSError:  # epoll can't watch it (a file), or it is broken
            add_carefully(reader)
            return
        reads.add(number)
        watched[number] = reader

    def remove(reader: Any) -> None:
        number = reader.fileno()
        if watched.get(number) is reader and number not in writes:
            del watched[number]
            reads.remove(number)
            unregister(number)
        else:
            remove_carefully(reader)

    return add, remove
