"""
A message of each kind.
"""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from sptls.config import Config, DomainConfig
from sptls.names import HostName
from sptls.ops.traffic import Traffic
from sptls.workers.messages import (
    Alive,
    Answer,
    Answers,
    Begin,
    CannotServe,
    Challenge,
    Change,
    Close,
    Counted,
    Damaged,
    Done,
    Drain,
    Leaving,
    Message,
    Open,
    ReopenLogs,
    Roots,
    Said,
    Serve,
    Serving,
    Wanted,
)
from tests.certs.stored import bundle_for

NAME = HostName("click.example.com")
CONFIG = Config((DomainConfig(NAME),))
CHALLENGE = Challenge("http-01", NAME, "token", "token.thumbprint")
ALPN_CHALLENGE = Challenge("tls-alpn-01", NAME, "", "token.thumbprint")
FAILING = Answer(NAME, None, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))

EXAMPLES: tuple[Message, ...] = (
    Begin(CONFIG, (Roots("/etc/roots.pem", (b"\x00\xff",)),)),
    Serve(),
    Change(1, CONFIG),
    Answers((Answer(NAME, bundle_for(NAME)), FAILING, Answer(NAME))),
    Open(2, CHALLENGE),
    Close(CHALLENGE),
    ReopenLogs(),
    Drain((0, 1)),
    Serving(),
    CannotServe("the disk is full"),
    Done(2, "a problem"),
    Wanted((NAME,)),
    Damaged(NAME, "0a", "odd"),
    Said("{}"),
    Alive(),
    Counted(Traffic(1, {"open": 1}, {"answers": {"2xx": 3}}, ({"url": "https://u", "addresses": []},), 2)),
    Leaving(),
)


@attrs.frozen
class Posed:
    """
    A challenge and its response, as an ACME client has them.
    """

    key_authorization: str = "token.thumbprint"

    def encode(self, name: str) -> str:
        """
        Give the token.
        """
        return name
