"""
Requests to the CA, signed and with a nonce, tried again where that helps, refusals turned into errors (RFC 8555 §6).

Carries out what `retry` decides and says what `messages` makes of an answer. Every wait ends at the caller's *until*,
in seconds of the given clock.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import deferLater

from sptls.acme import jws, messages, retry
from sptls.acme.turns import Turns
from sptls.errors import AcmeError, AcmeProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from sptls.acme.exchange import Answer, Exchanges

# Parallel orders (32) each give back the nonce that they used; CAs forget old ones, so the newest goes first.
MAX_NONCES = 64
# RFC 8555 §6.5.1: a Replay-Nonce that isn't base64url is ignored.
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,512}\Z")


class NoncePool:
    """
    Nonces that the CA gave and nobody used yet, the newest first.
    """

    def __init__(self) -> None:
        self._nonces: deque[str] = deque(maxlen=MAX_NONCES)

    def put(self, nonce: str | None) -> None:
        """
        Keep *nonce*, if it is one.
        """
        if nonce is not None and _NONCE.match(nonce):
            self._nonces.append(nonce)

    def take(self) -> str | None:
        """
        Give a nonce, which is ours alone, or None.
        """
        return self._nonces.pop() if self._nonces else None


@attrs.define(eq=False)
class AcmeTransport:
    """
    Asks one CA, *max_failures* times more where it fails; *draw* gives uniform numbers in [0, 1).
    """

    exchanges: Exchanges
    draw: Callable[[], float]
    max_failures: int = retry.MAX_FAILURES
    _nonces: NoncePool = attrs.field(init=False, factory=NoncePool)
    _new_nonce_turns: Turns = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.turns("newNonce"), takes_self=True)
    )

    @property
    def clock(self) -> IReactorTime:
        """
        Give the clock that deadlines are told in.
        """
        return self.exchanges.clock

    def turns(self, operation: str) -> Turns:
        """
        Make a queue for an *operation* that parallel orders must not all do.
        """
        return Turns(operation, self.clock)

    def left_seconds(self, until: float) -> float:
        """
        Give how long it is to the deadline *until*.
        """
        return until - self.clock.seconds()

    async def sleep(self, seconds: float) -> None:
        """
        Let *seconds* pass.
        """
        if seconds > 0:
            await deferLater(self.clock, seconds)

    async def get(self, operation: str, url: str, until: float) -> Answer:
        """
        Fetch *url* without a signature: the directory (RFC 8555 §6.3) and renewal information (RFC 9773 §4.1).

        Raises:
            AcmeError: as `post` does.
        """
        return await self._persistently(lambda: self._ask("GET", operation, url, None, until), until)

    async def post(
        self,
        operation: str,
        url: str,
        signer: jws.Signer,
        new_nonce: str,
        payload: messages.Payload | None,
        until: float,
    ) -> Answer:
        """
        Send *payload* to *url*, signed by *signer*; None is POST-as-GET (§6.3). *new_nonce* is the nonces' URL.

        Tries again what `retry` says is worth it.

        Raises:
            AcmeProblem: the CA refused.
            AcmeUnreachable: it could not be asked, or failed, or took too long.
            AcmeProtocolError: its answer is none.
        """
        content = messages.serialize(payload)

        async def once() -> Answer:
            nonce = await self._nonce(new_nonce, until)
            signed = jws.sign(signer, url=url, nonce=nonce, payload=content)
            return await self._ask("POST", operation, url, signed, until)

        return await self._persistently(once, until)

    async def _persistently(self, once: Callable[[], Awaitable[Answer]], until: float) -> Answer:
        tries = retry.Tries()
        while True:
            try:
                return await once()
            except AcmeError as error:
                match retry.decide(error, tries, self.left_seconds(until), self.draw(), self.max_failures):
                    case retry.Again(seconds, tries):
                        pass
                    case _:
                        raise
            await self.sleep(seconds)

    async def _nonce(self, new_nonce: str, until: float) -> str:
        """
        Give a nonce: from the pool, or a new one (§7.2), one HEAD at a time: CAs limit them (20 a second).
        """
        nonce = self._nonces.take()
        if nonce is not None:
            return nonce
        async with self._new_nonce_turns.turn(until):
            nonce = self._nonces.take()
            if nonce is None:
                await self._ask("HEAD", "newNonce", new_nonce, None, until)
                nonce = self._nonces.take()
        if nonce is None:
            raise AcmeProtocolError("newNonce", "it has no Replay-Nonce")
        return nonce

    async def _ask(self, method: str, operation: str, url: str, content: bytes | None, until: float) -> Answer:
        """
        Make one request and give its answer if the CA accepted it; keep the nonce in any case (§6.5).
        """
        answer = await self.exchanges.exchange(method, operation, url, content, until)
        self._nonces.put(answer.nonce)
        if not 200 <= answer.status < 300:
            raise messages.refusal(operation, answer, self.exchanges.wall_clock())
        return answer
