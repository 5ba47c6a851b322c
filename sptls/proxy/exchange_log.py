"""
What is noted of an exchange with a client when it is over, whatever it spoke: one log line, and the counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.proxy.log_line import LogEntry

if TYPE_CHECKING:
    from sptls.proxy.client_connection import ClientConnection
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead

# nginx's status for a client that closed before its answer; only ever in the log.
CLIENT_LEFT: Final = 499
_USER_AGENT_LENGTH: Final = len(b"user-agent")
_REFERER_LENGTH: Final = len(b"referer")


def note(
    connection: ClientConnection,
    request: RequestHead | None,
    request_line: bytes,
    status: int,
    body_bytes: int,
    began_seconds: float,
) -> None:
    """
    Log and count an exchange on *connection* that ended just now, and began at *began_seconds* (monotonic).
    """
    gateway = connection.gateway
    gateway.counters.answers[status // 100] += 1
    client = connection.peer
    if connection.proxies is not None and request is not None:
        client = connection.client_of(request)[0]
    referer, user_agent = (None, None) if request is None else _logged_fields(request.fields)
    gateway.access_log.write(
        LogEntry(
            gateway.now(),
            client,
            None if request is None else request.host,
            request_line,
            status,
            body_bytes,
            referer,
            user_agent,
            gateway.seconds() - began_seconds,
            connection.tls,
        )
    )


def _logged_fields(fields: Fields) -> tuple[bytes | None, bytes | None]:
    """
    Give Referer and User-Agent, the first of each.
    """
    referer = user_agent = None
    for name, value in fields:
        # The length first: it tells nearly all other fields apart, at a tenth of the price.
        length = len(name)
        if length == _USER_AGENT_LENGTH and user_agent is None and name.lower() == b"user-agent":
            user_agent = value
        elif length == _REFERER_LENGTH and referer is None and name.lower() == b"referer":
            referer = value
    return referer, user_agent
