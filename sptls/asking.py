"""
Asking others, over HTTP above all: what is sent, asking several at once, giving up on an answer for good, and saying in
one line why none came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from twisted.internet.interfaces import IConsumer
    from twisted.python.failure import Failure

T = TypeVar("T")


@implementer(IBodyProducer)
class Content:
    """
    A request's content, small enough to be sent in one piece; Twisted's own takes its time from the global reactor.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self.length = content, len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """
        Send it.
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


async def all_of(questions: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """
    Ask all *questions* at once and give their answers; where some fail, fail as the first of them, when all have ended.

    Cancelled it cancels all of them, and fails with CancelledError; gatherResults would make another error of that.
    """
    results: Any = await DeferredList([Deferred.fromCoroutine(one) for one in questions], consumeErrors=True)
    for is_answered, result in results:
        if not is_answered:
            result.raiseException()
    return [result for _, result in results]


def abandonable(work: Deferred[T]) -> Deferred[T]:
    """
    Give *work*'s result; when cancelled, cancel *work* and fail with CancelledError whatever becomes of it.

    Twisted's agent answers a cancel with errors of its own, which would look like a CA that can't be reached.
    """
    abandoned = False

    def abandon(_: Deferred[T]) -> None:
        nonlocal abandoned
        abandoned = True
        work.cancel()

    def settle(result: T | Failure) -> None:
        if not abandoned:
            outcome.callback(result)

    outcome: Deferred[T] = Deferred(abandon)
    work.addBoth(settle)
    return outcome


def reason(error: BaseException) -> str:
    """
    Say in one line why a request failed: the innermost cause, since the agent wraps it in lists of failures.
    """
    causes = getattr(error, "reasons", None)
    while causes:
        error = causes[0].value
        causes = getattr(error, "reasons", None)
    if isinstance(error, SSL.Error) and error.args:
        # A list of (library, function, reason), one for each fault that OpenSSL queued.
        return f"TLS: {', '.join(str(fault[-1]) for fault in error.args[0])}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
