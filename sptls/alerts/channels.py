"""
The ways in which warnings reach people, as the configuration names them.

Each takes several warnings at once, as JSON, and says whether it took them. None waits longer than its deadline.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from sptls import programs
from sptls.alerts.webhook import WebhookChannel
from sptls.certs.warning_rules import payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sptls.certs.warning_rules import CertificateWarning
    from sptls.config import NotifyConfig
    from sptls.threads import InThread

# So many warnings are one delivery: 200 KB of JSON, which every mailer and every service takes.
WARNINGS_AT_ONCE: Final = 500


class Channel(Protocol):
    """
    A way to people.
    """

    async def deliver(self, warnings: Sequence[CertificateWarning]) -> str:
        """
        Deliver *warnings*; gives "" when they were taken, or else what happened, in words.
        """


class CommandChannel:
    """
    Runs the operator's *command* for *seconds* at the most, the warnings on its standard input.
    """

    def __init__(self, reactor: Any, command: Sequence[str], seconds: float) -> None:
        self._reactor, self._command, self._seconds = reactor, command, seconds

    async def deliver(self, warnings: Sequence[CertificateWarning]) -> str:
        """
        Run it once.
        """
        environment = told(warnings, os.environ)
        what, content = "the notify command", json.dumps(payload(warnings)).encode() + b"\n"
        return await programs.run(self._reactor, what, self._command, environment, self._seconds, content)


def told(warnings: Sequence[CertificateWarning], inherited: Mapping[str, str]) -> dict[str, str]:
    """
    Give the environment of a command that is told of *warnings*: which the first is, and how many there are.
    """
    first = warnings[0]
    return {
        **programs.inherited(inherited),
        "SPTLS_NAME": first.subject.name.text,
        "SPTLS_KIND": first.kind.value,
        "SPTLS_COUNT": str(len(warnings)),
    }


def make_channels(reactor: Any, config: NotifyConfig, trust: Any, in_thread: InThread) -> list[Channel]:
    """
    Give the ways that *config* names; a webhook's host must be certified by *trust*.
    """
    channels: list[Channel] = []
    if config.command:
        channels.append(CommandChannel(reactor, config.command, config.command_seconds))
    if config.webhook:
        channels.append(WebhookChannel(reactor, config.webhook, trust, in_thread))
    return channels
