"""
Tests for `sptls.cli.issue`, against the real calls on a real socket. What this process does itself is `issue_here`'s.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import NoReturn

import pytest

from sptls.certs.records import NO_HISTORY
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering, listening
from tests.ops.web import FakeControls, failing, issuing, valid


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Look again at once.
    """
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def test_daemon_is_asked_and_waited_for(sptls: Command, site: Site) -> None:
    """
    A line for each name once it has come to an end.
    """
    controls = FakeControls(issuing("a.example"), valid("b.example"))

    def look(looks: int) -> None:
        if looks == 4:
            controls.known["a.example"] = valid("a.example")

    controls.on_look = look
    with answering(site.state, controls):
        ran = sptls("issue", "--state-dir", site.state, "a.example", "B.example")
    assert (0, "", ["a.example"]) == (ran.status, ran.err, controls.asked)
    already, issued = ran.out.splitlines()
    assert already.startswith("b.example: has a certificate already, nothing is ordered; valid until ")
    assert issued.startswith("a.example: issued by R11; valid until ")


def test_failure_is_told_with_its_reason(sptls: Command, site: Site) -> None:
    """
    A failure of before is not one: it is asked for again.
    """
    controls = FakeControls(failing("a.example", "old"), failing("b.example", "old"))
    controls.on_issue = lambda name: controls.known.update({name: issuing(name)})

    def look(looks: int) -> None:
        if looks == 2:
            controls.known |= {"a.example": failing("a.example", "refused"), "b.example": valid("b.example")}

    controls.on_look = look
    with answering(site.state, controls):
        ran = sptls("issue", "--state-dir", site.state, "a.example", "b.example")
    assert (1, ["a.example", "b.example"]) == (ran.status, controls.asked)
    assert "a.example: failed: refused; next: attempt " in ran.out
    assert "b.example: issued" in ran.out


def test_all_means_all_that_the_daemon_serves(sptls: Command, site: Site) -> None:
    """
    Also what only its flags name.
    """
    controls = FakeControls(issuing("a.example"), issuing("b.example"))
    controls.on_issue = lambda name: controls.known.update({name: valid(name)})
    with answering(site.state, controls):
        ran = sptls("issue", "--state-dir", site.state, "--all")
    assert (0, 2, ["a.example", "b.example"]) == (ran.status, len(ran.out.splitlines()), controls.asked)


def test_name_that_is_not_served_stops_it_before_anything_is_asked(sptls: Command, site: Site) -> None:
    """
    With the daemon up or down: a slip of the pen orders nothing.
    """
    controls = FakeControls(issuing("a.example"))
    with answering(site.state, controls):
        ran = sptls("issue", "--state-dir", site.state, "a.example", "x.example")
    assert (2, "", []) == (ran.status, ran.out, controls.asked)
    ran = sptls("issue", "--config", site.write("a.example"), "a.example", "x.example")
    assert (2, "") == (ran.status, ran.out)
    assert "x.example is none of the configuration's domains" in ran.err


@pytest.mark.parametrize("arguments", [[], ["--all", "a.example"]])
def test_either_names_or_all_are_wanted(sptls: Command, arguments: list[str]) -> None:
    """
    Neither and both are slips of the pen.
    """
    assert 2 == sptls("issue", *arguments).status


def test_daemon_that_goes_away_is_said(sptls: Command, site: Site) -> None:
    """
    Nobody waits for it, and what was settled stands.
    """
    controls = FakeControls(issuing("a.example"), valid("b.example"))
    with ExitStack() as running:
        running.enter_context(answering(site.state, controls))

        def look(looks: int) -> None:
            if looks == 2:
                (site.state / "control.sock").unlink()

        controls.on_look = look
        ran = sptls("issue", "--state-dir", site.state, "a.example", "b.example")
    assert 1 == ran.status
    assert "b.example: has a certificate already" in ran.out
    assert "a.example: not known: no sptls daemon is running" in ran.out


def test_name_that_is_removed_meanwhile_is_said(sptls: Command, site: Site) -> None:
    """
    The configuration was read again; the others go on.
    """
    controls = FakeControls(issuing("a.example"), issuing("b.example"))

    def look(looks: int) -> None:
        if looks == 2:
            del controls.known["a.example"]
        if looks == 3:
            controls.known["b.example"] = valid("b.example")

    controls.on_look = look
    with answering(site.state, controls):
        ran = sptls("issue", "--state-dir", site.state, "a.example", "b.example")
    assert 1 == ran.status
    assert "a.example: the daemon no longer serves it" in ran.out
    assert "b.example: issued" in ran.out


def test_wait_has_an_end(sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The daemon goes on, and it is said where to look.
    """
    moments = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    with answering(site.state, FakeControls(issuing("a.example"))):
        ran = sptls("issue", "--state-dir", site.state, "--timeout", "5", "a.example")
    assert 1 == ran.status
    assert "a.example: no outcome in 5 s; the daemon goes on, sptls status shows" in ran.out


def test_interrupted_wait_says_that_the_daemon_goes_on(
    sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Control-C ends the waiting, not the orders.
    """

    def interrupt(_seconds: float) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with answering(site.state, FakeControls(issuing("a.example"))):
        ran = sptls("issue", "--state-dir", site.state, "a.example")
    assert (130, "sptls: interrupted; the daemon goes on with 1 names\n") == (ran.status, ran.err)


def test_daemon_that_does_not_answer_is_not_replaced(sptls: Command, site: Site) -> None:
    """
    Its place can not be had by the process that asks.
    """

    def hang_up(connection: socket.socket) -> None:
        connection.recv(65536)

    with listening(site.state, hang_up):
        ran = sptls("issue", "--state-dir", site.state, "a.example")
    assert (1, True) == (ran.status, "the daemon can't be asked" in ran.err)


def test_without_a_daemon_a_valid_certificate_starts_nothing(sptls: Command, site: Site) -> None:
    """
    No port is bound and no CA asked.
    """
    site.put("a.example", NO_HISTORY)
    ran = sptls("issue", "--config", site.write("a.example", site.bring("own.example")), "--all")
    assert (0, "") == (ran.status, ran.err)
    assert ["a.example: has a certificate already", "own.example: brings its own certificate"] == [
        line.partition(",")[0] for line in ran.out.splitlines()
    ]
    assert ["store.db", "store.db-journal"] == sorted(path.name for path in site.state.iterdir())


def test_without_a_daemon_a_configuration_is_needed(sptls: Command, site: Site) -> None:
    """
    A state directory says nothing of ports and CAs.
    """
    ran = sptls("issue", "--state-dir", site.state, "--all")
    assert (2, True) == (ran.status, "SPTLS_CONFIG" in ran.err)
