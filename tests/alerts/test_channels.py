from __future__ import annotations

import json

import attrs
import pytest
from twisted.internet.defer import Deferred

from sptls.alerts.channels import Channel, CommandChannel, make_channels, told
from sptls.alerts.webhook import WebhookChannel
from sptls.certs.warning_rules import payload
from sptls.config import NotifyConfig
from sptls.names import HostName
from tests.alerts.hook import WARNINGS, in_thread
from tests.deploy.doubles import Programs

COMMAND, WEBHOOK = ("/bin/true", "-x"), "https://hook.example/token"


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (NotifyConfig(), []),
        (NotifyConfig(COMMAND), [CommandChannel]),
        (NotifyConfig(webhook=WEBHOOK), [WebhookChannel]),
        (NotifyConfig(COMMAND, WEBHOOK), [CommandChannel, WebhookChannel]),
    ],
)
def test_channels_are_those_configured(config: NotifyConfig, kinds: list[type[Channel]]) -> None:
    """
    None by default.
    """
    assert kinds == [type(channel) for channel in make_channels(Programs(), config, None, in_thread)]


def test_a_command_reads_json() -> None:
    """
    Its environment names the first warning and counts them.
    """
    reactor, seen = Programs(), list[str]()
    another = attrs.evolve(WARNINGS[0], subject=attrs.evolve(WARNINGS[0].subject, name=HostName("b.example")))
    warnings = [*WARNINGS, another]
    delivering = Deferred.fromCoroutine(CommandChannel(reactor, COMMAND, 5.0).deliver(warnings))
    delivering.addCallback(seen.append)
    (program,) = reactor.programs
    assert payload(warnings) == json.loads(program.stdin)
    assert list(COMMAND) == list(program.words)[-2:]
    assert ("a.example", "failing", "2") == tuple(
        program.environment[key] for key in ("SPTLS_NAME", "SPTLS_KIND", "SPTLS_COUNT")
    )
    program.end()
    assert [""] == seen


def test_a_command_that_fails_says_so() -> None:
    """
    In its own words.
    """
    reactor, seen = Programs(), list[str]()
    Deferred.fromCoroutine(CommandChannel(reactor, COMMAND, 5.0).deliver(WARNINGS)).addCallback(seen.append)
    reactor.programs[0].end(1, b"no mailer\n")
    assert ["the notify command failed with exit status 1; its last words: no mailer"] == seen


def test_a_command_does_not_speak_for_the_daemon() -> None:
    """
    What systemd said to us is not for it.
    """
    given = told(WARNINGS, {"PATH": "/bin", "NOTIFY_SOCKET": "/run/systemd/notify", "SPTLS_NAME": "old"})
    assert {"PATH": "/bin", "SPTLS_NAME": "a.example", "SPTLS_KIND": "failing", "SPTLS_COUNT": "1"} == given
