"""
Tests for `sptls.cli.status`, against the real calls on a real socket, and real stores.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest

from sptls.certs.records import History
from sptls.clock import wall_time
from sptls.names import HostName
from sptls.ops.status import DomainStatus
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering, listening, saying
from tests.ops.web import FakeControls, bundle, failing, issuing, valid

A = HostName("a.example")


def test_running_daemon_is_asked(sptls: Command, site: Site) -> None:
    """
    The first line sums it up, and what needs a look stands first.
    """
    with answering(site.state, FakeControls(valid("a.example"), failing("b.example"))):
        ran = sptls("status", "--config", site.write("a.example", "b.example"))
    assert 1 == ran.status
    headline, titles, *lines = ran.out.splitlines()
    assert ("the daemon (sptls 1.2.3) is running since 2026-11-24T00:00:00Z; 2 domains: 1 valid, 1 failing") == headline
    assert titles.startswith("DOMAIN     STATE    ISSUER")
    assert ["b.example  failing", "a.example  valid"] == [line[:18].rstrip() for line in lines]
    assert "the CA refused" in lines[0]
    assert "(89 days left)  renewal" in lines[1]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (valid("a.example"), 0),
        (issuing("a.example"), 0),
        (failing("a.example"), 1),
        (valid("a.example", state="failing"), 1),
        (valid("a.example", bundle=bundle(A, timedelta(seconds=-1))), 1),
        (DomainStatus("a.example", "faulty", "own", bundle(A), problem="other name"), 1),
    ],
)
def test_exit_status_tells_a_monitor(sptls: Command, site: Site, domain: DomainStatus, expected: int) -> None:
    """
    1 when somebody has to look, also where a certificate is still valid.
    """
    with answering(site.state, FakeControls(domain)):
        assert expected == sptls("status", "--state-dir", site.state).status


def test_names_narrow_what_is_shown_and_judged(sptls: Command, site: Site) -> None:
    """
    A monitor of one domain is not woken by another's.
    """
    with answering(site.state, FakeControls(valid("a.example"), failing("b.example"))):
        ran = sptls("status", "--state-dir", site.state, "A.example")
    assert (0, True, False) == (ran.status, "a.example" in ran.out, "b.example" in ran.out)


@pytest.mark.parametrize("is_running", [True, False])
def test_name_that_is_not_served_is_a_usage_error(sptls: Command, site: Site, is_running: bool) -> None:
    """
    With the daemon up or down, with a configuration or without.
    """
    config = site.write("a.example")
    if is_running:
        with answering(site.state, FakeControls(valid("a.example"))):
            runs = [sptls("status", "--config", config, "x.example")]
    else:
        runs = [
            sptls("status", "--config", config, "x.example"),
            sptls("status", "--state-dir", site.state, "x.example"),
        ]
    assert {(2, "")} == {(ran.status, ran.out) for ran in runs}
    assert all("x.example" in ran.err for ran in runs)


def test_json_is_the_daemons(sptls: Command, site: Site) -> None:
    """
    One line, for programs; with names, these alone.
    """
    with answering(site.state, FakeControls(valid("a.example"), issuing("b.example"))):
        whole = json.loads(sptls("status", "--state-dir", site.state, "--json").out)
        one = json.loads(sptls("status", "--state-dir", site.state, "--json", "b.example").out)
    assert ("1.2.3", {"valid": 1, "issuing": 1}) == (whole["version"], whole["states"])
    assert ["b.example"] == [domain["name"] for domain in one["domains"]]


def test_refused_configuration_is_told_and_not_fine(sptls: Command, site: Site) -> None:
    """
    The daemon goes on with the old one, and would not start with the new one.
    """
    controls = FakeControls(valid("a.example"))
    controls.configuration = {"faults": ["domains[1]: is wrong"], "needs_restart": ["listen.https", "log"]}
    with answering(site.state, controls):
        ran = sptls("status", "--state-dir", site.state)
    assert 1 == ran.status
    assert "the old one is in force: domains[1]: is wrong\n" in ran.out
    assert "waiting for a restart: listen.https, log\n" in ran.out


def test_workers_that_do_not_serve_are_told(sptls: Command, site: Site) -> None:
    """
    The others do; nothing is said where all serve.
    """
    controls = FakeControls(valid("a.example"))
    controls.workers = [{"state": "serving"}, {"state": "ended"}]
    with answering(site.state, controls):
        told = sptls("status", "--state-dir", site.state)
        controls.workers = [{"state": "serving"}] * 2
        silent = sptls("status", "--state-dir", site.state)
    assert "1 of 2 worker processes do not serve; the daemon's log says why\n" in told.out
    assert "worker" not in silent.out
    assert (1, 0) == (told.status, silent.status)


@pytest.mark.parametrize(
    "more",
    [
        {"version": "9.9"},
        {"version": None, "configuration": None, "workers": None, "serving": None},
        {"configuration": {"faults": None, "needs_restart": 3}, "workers": {"1": "serving"}, "started_at": 5},
        {"configuration": ["fine"], "workers": [None, "serving"], "version": ["9.9"]},
    ],
)
def test_another_versions_shape_is_shown_as_far_as_it_is_understood(
    sptls: Command, site: Site, more: dict[str, object]
) -> None:
    """
    The domains are, whatever else is odd; and it is said that the daemon is another one.
    """
    answers = {"/status": {**more, "domains": [{"name": "a.example", "state": "valid", "issuer": None}]}}
    with saying(site.state, answers):
        ran = sptls("status", "--state-dir", site.state)
    assert (1, True) == (ran.status, "\na.example  valid" in ran.out)
    assert ran.err.startswith("sptls: the daemon is of another version")
    assert not any(word in ran.out + ran.err for word in ("None", "[", "fault"))


def test_version_is_the_first_thing_to_look_at(sptls: Command, site: Site) -> None:
    """
    After an upgrade without a restart; all is well otherwise, and programs that read JSON are not disturbed.
    """
    with answering(site.state, FakeControls(valid("a.example"))):
        told = sptls("status", "--state-dir", site.state)
        silent = sptls("status", "--json", "--state-dir", site.state)
    assert (0, True, "") == (told.status, "another version (sptls 1.2.3; this command:" in told.err, silent.err)


def test_daemon_that_tells_of_no_domains_is_told_beside_the_store(sptls: Command, site: Site) -> None:
    """
    What is stored is true all the same.
    """
    site.put("a.example")
    with saying(site.state, {"/status": {"version": "9.9"}}):
        ran = sptls("status", "--state-dir", site.state)
    assert (1, True, True) == (ran.status, "another version" in ran.out, "a.example  valid" in ran.out)


def test_daemon_that_is_ending_says_so(sptls: Command, site: Site) -> None:
    """
    It drains.
    """
    controls = FakeControls(valid("a.example"))
    controls.serving = False
    with answering(site.state, controls):
        assert "is ending since" in sptls("status", "--state-dir", site.state).out


def test_without_a_daemon_the_store_is_told_and_nothing_changed(sptls: Command, site: Site) -> None:
    """
    The first line says that none runs; nothing is renewed then, which is not fine.
    """
    site.put("a.example")
    site.put_history("b.example", History(1, wall_time() + timedelta(minutes=9), (), "refused", None, "internal"))
    before = {path.name: path.read_bytes() for path in site.state.iterdir()}
    ran = sptls("status", "--config", site.write("a.example", "b.example", site.bring("own.example")))
    assert 1 == ran.status
    headline, _, *lines = ran.out.splitlines()
    assert f"no sptls daemon is running with the state directory {site.state}; this is what is stored" in headline
    assert ["b.example    failing", "a.example    valid", "own.example  valid"] == [line[:20].strip() for line in lines]
    assert before == {path.name: path.read_bytes() for path in site.state.iterdir()}


def test_json_without_a_daemon_has_the_same_shape(sptls: Command, site: Site) -> None:
    """
    Nothing serves, and it began at no time.
    """
    site.put("a.example")
    told = json.loads(sptls("status", "--state-dir", site.state, "--json").out)
    assert (False, None, {"valid": 1}) == (told["serving"], told["started_at"], told["states"])


def test_nothing_at_all_is_told_as_that(sptls: Command, site: Site) -> None:
    """
    A directory in which no daemon has ever been.
    """
    ran = sptls("status", "--state-dir", site.directory / "nowhere")
    assert (1, True) == (ran.status, ran.out.endswith("; 0 domains\n"))


def test_process_that_holds_the_directory_is_named(sptls: Command, site: Site) -> None:
    """
    A daemon that is starting has no socket yet.
    """
    (site.state / "lock").write_text(f"{os.getpid()}\n")
    assert f"process {os.getpid()} uses" in sptls("status", "--state-dir", site.state).out


def test_daemon_that_does_not_answer_is_told_beside_the_store(
    sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What is stored is true all the same.
    """
    site.put("a.example")
    with listening(site.state, lambda connection: connection.recv(65536)):
        ran = sptls("status", "--state-dir", site.state)
    assert 1 == ran.status
    assert "the daemon can't be asked" in ran.out
    assert "a.example  valid" in ran.out


def test_faulty_configuration_ends_with_its_faults(sptls: Command, site: Site) -> None:
    """
    A daemon that runs is still reached by its state directory.
    """
    config = site.write("not one")
    with answering(site.state, FakeControls(valid("a.example"))):
        ran = sptls("status", "--config", config)
        assert (2, True) == (ran.status, "domains[0]" in ran.err)
        assert 0 == sptls("status", "--config", config, "--state-dir", site.state).status


def test_damaged_certificates_are_named(sptls: Command, site: Site) -> None:
    """
    Beside the answer.
    """
    site.put("a.example")
    path = site.state / "store.db"
    path.write_bytes(path.read_bytes().replace(b"internal", b"infernal"))
    ran = sptls("status", "--state-dir", site.state)
    assert "a.example: the stored certificate is damaged" in ran.err
