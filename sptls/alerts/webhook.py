"""
A webhook: warnings are POSTed as JSON to a URL of the operator's, and again a few times where that may help.

The URL may hold a token, so no message has more of it than its host. The HTTP client's libraries are imported when the
first warning is due, in a thread: most daemons never need them.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater

from sptls import asking
from sptls.certs.warning_rules import payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.certs.warning_rules import CertificateWarning
    from sptls.threads import InThread

# Chat services and pagers answer in a second.
ANSWER_SECONDS: Final = 10.0
# Between tries; after the last one, the next look of the watch is the next try.
PAUSES_SECONDS: Final = (1.0, 5.0, 25.0)
# What may be another thing a moment later: time-outs, too many requests, faults of the service's own.
_WORTH_ANOTHER: Final = frozenset({408, 425, 429})


class WebhookChannel:
    """
    POSTs to *url*, whose host must be certified by *trust*.
    """

    def __init__(self, reactor: Any, url: str, trust: Any, in_thread: InThread) -> None:
        self._reactor, self._url, self._trust, self._in_thread = reactor, url, trust, in_thread
        self._what = f"the webhook at {urlsplit(url).netloc}"

    async def deliver(self, warnings: Sequence[CertificateWarning]) -> str:
        """
        POST *warnings*, up to four times.
        """
        content = json.dumps(payload(warnings)).encode()
        await self._in_thread(_import_client)
        for pause in (*PAUSES_SECONDS, None):
            failed, is_worth_another = await self._try(content)
            if pause is None or not is_worth_another:
                break
            await deferLater(self._reactor, pause)
        return f"{self._what} {failed}" if failed else ""

    async def _try(self, content: bytes) -> tuple[str, bool]:
        """
        POST once; gives "" or what happened, and whether another try may help.
        """
        posting = Deferred.fromCoroutine(self._post(content))
        try:
            status = await asking.abandonable(posting).addTimeout(ANSWER_SECONDS, self._reactor)
        except DeferredTimeoutError:
            return f"did not answer within {ANSWER_SECONDS:.0f} s", True
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - sockets, TLS, DNS and HTTP parsing each fail in their own ways
            return f"can't be reached: {asking.reason(error)}", True
        if 200 <= status < 300:
            return "", False
        return f"answered {status}", status in _WORTH_ANOTHER or status >= 500

    async def _post(self, content: bytes) -> int:
        from sptls.alerts import posting

        return await posting.post(self._reactor, self._url, self._trust, content)


def _import_client() -> None:
    importlib.import_module("sptls.alerts.posting")
