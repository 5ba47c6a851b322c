"""
Tests for `sptls.parts`: who meets whom. What the parts do together is in tests/e2e.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from sptls.certs.own import OwnCertificates
from sptls.certs.records import NO_HISTORY
from sptls.certs.store import InlineWorker
from sptls.certs.store_file import StoreFile
from sptls.clock import wall_time
from sptls.config import AcmeConfig, Config, DomainConfig, UpstreamConfig
from sptls.errors import StoreError
from sptls.keeping import trust_roots
from sptls.names import HostName
from sptls.parts import Parts
from sptls.serving import Serving, upstreams_of
from sptls.startup import Bound
from sptls.workers.crew import Crew
from tests.certs.stored import outcome, stored
from tests.doubles import InlineReactor

NAME = HostName("click.example.com")


def _config(tmp_path: Path, **more: Any) -> Config:
    more.setdefault("domains", (DomainConfig(NAME),))
    return Config(state_dir=tmp_path, acme=AcmeConfig(directory="internal"), **more)


def _made(config: Config, reactor: InlineReactor | None = None) -> Parts:
    reactor = reactor or InlineReactor()
    in_thread: Any = None  # nothing is looked at before the start
    own = OwnCertificates(config.domains, clock=reactor, wall_clock=wall_time, in_thread=in_thread)
    return Parts.make(reactor, config, own, trust_roots(config))


def test_status_tells_of_every_domain(tmp_path: Path) -> None:
    """
    Before the start a name is not taken care of; then it is listed with its state.
    """
    from sptls.certs.records import Loaded

    parts = _made(_config(tmp_path))
    assert [] == json.loads("".join(parts.report.status()))["domains"]
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start([NAME], Loaded())
    (domain,) = json.loads("".join(parts.report.status()))["domains"]
    assert ("click.example.com", "internal", None) == (domain["name"], domain["source"], domain["not_after"])


def test_roots_that_changed_in_their_file_are_gone_by(tmp_path: Path) -> None:
    """
    The tracking service and the CA get new connections; a reload with the same roots leaves both alone.
    """
    from sptls.certs.records import Loaded

    roots = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(roots))
    config = Config(
        state_dir=tmp_path,
        domains=(DomainConfig(NAME, UpstreamConfig(host="192.0.2.1", trust=roots)),),
        acme=AcmeConfig(directory="https://ca.example/", trust=roots),
    )
    parts = _made(config)
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start([NAME], Loaded())
    _serving(parts).upstreams.serve(upstreams_of(config))
    in_use = [_change(parts, config)]
    trustme.CA().cert_pem.write_to_path(str(roots))
    in_use += [_change(parts, config), _change(parts, config)]
    assert in_use[0] != in_use[1] == in_use[2]
    assert all(before is not after for before, after in zip(in_use[0], in_use[1], strict=True))


def _change(parts: Parts, config: Config) -> list[object]:
    """
    Read *config*'s files again, and give the origin and the CA's issuer that are in use then.
    """
    in_thread: Any = None  # no domain brings its certificate
    own = OwnCertificates(config.domains, clock=InlineReactor(), wall_clock=wall_time, in_thread=in_thread)
    outcome(parts.change(config, own, trust_roots(config)))
    return [*_serving(parts).upstreams._origins.values(), parts.keeping.authorities[0].issuer]


def _serving(parts: Parts) -> Serving:
    assert isinstance(parts.front, Serving)
    return parts.front


def test_several_workers_are_processes_and_one_is_not(tmp_path: Path) -> None:
    """
    What keeps certificates is the same; challenges are answered where clients are served.
    """
    config = _config(tmp_path)
    reactor = InlineReactor()
    in_thread: Any = None
    own = OwnCertificates(config.domains, clock=reactor, wall_clock=wall_time, in_thread=in_thread)
    parts = Parts.make(reactor, config, own, trust_roots(config), 2)
    assert isinstance(parts.front, Crew)
    assert parts.front.responders == parts.responders
    status = json.loads("".join(parts.report.status()))
    assert (False, ["ended", "ended"]) == (status["serving"], [row["state"] for row in status["workers"]])


def test_what_is_stored_is_served_before_certificates_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing is planned until then: another process may do that still.
    """
    monkeypatch.setattr("sptls.keeping.WorkerThread", lambda _: InlineWorker())
    monkeypatch.setattr("sptls.certs.renewer.Renewer._turn", lambda _: None)  # it plans, and begins no order
    monkeypatch.setattr("sptls.certs.store_file.check", lambda *_: None)  # its time is over, or has not come
    with closing(StoreFile(tmp_path / "store.db", wall_time)) as store:
        store.put_certificate(stored(), NO_HISTORY)
    config = _config(tmp_path, domains=(DomainConfig(stored().name),))
    parts = _made(config)
    loaded = outcome(parts.keeping.open(config, parts._keeping_ending))
    served, renewer = parts.keeping.served, parts.keeping.renewer
    assert (stored().bundle, False) == (served.bundle_for(stored().name), renewer.takes_care_of(stored().name))
    parts._loaded = loaded
    parts.keep()
    assert stored() == renewer.certificate(stored().name)
    outcome(parts.pause())


def test_who_waits_is_told_again_when_certificates_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that takes over serves before that: nothing knew the names of clients that came meanwhile.
    """
    monkeypatch.setattr("sptls.keeping.WorkerThread", lambda _: InlineWorker())
    monkeypatch.setattr("sptls.certs.renewer.Renewer._turn", lambda _: None)  # it plans, and begins no order
    parts, known = _made(_config(tmp_path)), []
    monkeypatch.setattr(Serving, "want_again", lambda _: known.append(parts.keeping.renewer.takes_care_of(NAME)))
    outcome(parts.keeping.open(parts.config, parts._keeping_ending))
    parts.keep()
    assert [True] == known
    outcome(parts.pause())


class _AdminPort:
    """
    A port that Twisted listens at, until it is stopped.
    """

    is_open = True

    def stopListening(self) -> None:  # noqa: N802 - Twisted's name
        """
        Listen no more; fine when it does not listen any more.
        """
        self.is_open = False


def test_admin_listener_of_a_process_that_gives_way_answers_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Who asks whether clients are served is told so by the one that took over, at the same socket.
    """
    port, ending = _AdminPort(), AsyncExitStack()
    monkeypatch.setattr("sptls.parts.adopt", lambda *_: port)
    parts = _made(_config(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as admin:
        outcome(parts.listen(Bound((), (), (admin,)), ending))
        assert port.is_open
        parts.leave_admin()
        assert not port.is_open
        outcome(ending.aclose())


def test_what_was_paused_begins_anew_with_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is served goes on being served; afterwards, what another process stored meanwhile and what is brought along.
    """
    monkeypatch.setattr("sptls.keeping.WorkerThread", lambda _: InlineWorker())
    monkeypatch.setattr("sptls.certs.renewer.Renewer._turn", lambda _: None)  # it plans, and begins no order
    config = _config(tmp_path, domains=(DomainConfig(stored().name),))
    parts = _made(config)
    outcome(parts.keeping.start(config, parts._keeping_ending, None))
    outcome(parts.pause())
    before = parts.keeping
    assert (True, None) == (parts.is_paused, before.served.bundle_for(stored().name))
    with closing(StoreFile(tmp_path / "store.db", wall_time)) as store:
        monkeypatch.setattr("sptls.certs.store_file.check", lambda *_: None)  # its time is over, or has not come
        store.put_certificate(stored(), NO_HISTORY)
    told: list[HostName] = []
    monkeypatch.setattr(_serving(parts).tls, "_settled", told.append)
    outcome(parts.go_on())
    assert parts.keeping.served is _serving(parts).tls._contexts
    assert (False, stored().bundle) == (parts.is_paused, parts.keeping.served.bundle_for(stored().name))
    assert (True, [stored().name]) == (before is not parts.keeping, told)
    outcome(parts.pause())


def test_what_can_not_begin_anew_stays_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A store that a newer sptls has brought up to date can't be opened; what was begun until then is ended.
    """
    monkeypatch.setattr("sptls.keeping.WorkerThread", lambda _: InlineWorker())
    parts = _made(_config(tmp_path))
    outcome(parts.pause())
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("PRAGMA user_version = 9999")
    before = parts.keeping
    with pytest.raises(StoreError, match="newer"):
        outcome(parts.go_on())
    assert (True, True) == (parts.is_paused, before is parts.keeping)
