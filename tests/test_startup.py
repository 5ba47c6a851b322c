"""
Tests for `sptls.startup`: what must be right before twistd forks.
"""

from __future__ import annotations

import io
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from sptls import startup
from sptls.config import (
    Address,
    Config,
    DomainConfig,
    LimitsConfig,
    ListenConfig,
    PassthroughConfig,
    UpstreamConfig,
)
from sptls.errors import StartError
from sptls.inherited_sockets import InheritedSocket, InheritedSockets
from sptls.names import HostName
from sptls.startup import Bound, ProcessSettings
from tests.proxy.wire import logged

TWISTD: dict[str, Any] = {"nodaemon": True, "uid": None, "gid": None}


def _config(tmp_path: Path, **more: Any) -> Config:
    return Config(domains=(DomainConfig(HostName("click.example.com")),), state_dir=tmp_path / "state", **more)


def test_state_directory_is_made_private_and_locked(tmp_path: Path) -> None:
    """
    The directory is its owner's alone, and a second lock is refused until the first is released.
    """
    config = _config(tmp_path)
    lock = startup.lock_state(config)
    assert 0o700 == config.state_dir.stat().st_mode & 0o777
    with pytest.raises(StartError, match=str(os.getpid())):
        startup.lock_state(config)
    lock.release()
    startup.lock_state(config).release()


def test_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """
    The message has the path and what to do.
    """
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartError, match="state_dir"):
        startup.lock_state(_config(tmp_path))


def test_all_addresses_are_bound_or_none(tmp_path: Path) -> None:
    """
    When one address is taken, those bound before it are free again.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
        probe.close()
        listen = ListenConfig(
            https=(Address("127.0.0.1", free),), http=(Address("127.0.0.1", taken.getsockname()[1]),), admin=None
        )
        with pytest.raises(StartError, match="in use"):
            startup.bind_all(_config(tmp_path, listen=listen))
        socket.create_server(("127.0.0.1", free)).close()


def test_bound_sockets_are_kept_by_their_use(tmp_path: Path) -> None:
    """
    Each kind of address has its sockets; an admin address of None has none.
    """
    listen = ListenConfig(https=(Address("127.0.0.1", 0),) * 2, http=(), admin=None)
    bound = startup.bind_all(_config(tmp_path, listen=listen))
    assert (2, 0, 0) == (len(bound.https), len(bound.http), len(bound.admin))
    bound.close()


def test_each_worker_has_a_socket_for_each_address_of_clients(tmp_path: Path) -> None:
    """
    The operator's address has one: the parent serves it.
    """
    address = Address("127.0.0.1", 0)
    listen = ListenConfig(https=(address,) * 2, http=(address,), admin=address)
    bound = startup.bind_all(_config(tmp_path, listen=listen), workers=3)
    assert (6, 3, 1) == (len(bound.https), len(bound.http), len(bound.admin))
    bound.close()


def test_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """
    A store that a newer sptls made is left alone, and the message says so.
    """
    path = tmp_path / "store.db"
    startup.check_store(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(StartError, match="newer"):
        startup.check_store(path)


def test_descriptor_limit_is_raised_as_far_as_allowed(tmp_path: Path) -> None:
    """
    The soft limit follows the configured connections, never beyond the hard one, and is never lowered.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        startup.raise_descriptor_limit(_config(tmp_path, limits=LimitsConfig(connections=300)))
        assert 1370 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        startup.raise_descriptor_limit(_config(tmp_path, limits=LimitsConfig(connections=10)))
        assert 1370 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


_PORT = Address("", 1)
_PASSED = DomainConfig(HostName("passed.example.com"), passthrough=PassthroughConfig("192.0.2.1", 443))
_OTHER_UPSTREAM = DomainConfig(HostName("other.example.com"), UpstreamConfig(host="192.0.2.2"))


@pytest.mark.parametrize(
    ("workers", "https", "http", "domains", "expected"),
    [
        pytest.param(1, 1, 0, (), 1 + 100 + 40, id="clients, and connections to an upstream"),
        pytest.param(1, 2, 1, (), 3 + 200 + 40, id="two ports, one of them at two addresses"),
        pytest.param(1, 1, 1, (_OTHER_UPSTREAM,), 2 + 200 + 80, id="two upstreams"),
        pytest.param(1, 1, 1, (_OTHER_UPSTREAM,) * 20, 2 + 200 + 80, id="the same ones again"),
        pytest.param(1, 1, 1, (_PASSED,), 2 + 200 + 200, id="passed through one by one"),
        pytest.param(3, 1, 1, (), 2 + 68 + 14, id="a third of all, rounded up"),
        pytest.param(50, 3, 2, (), 250 + 300, id="the parent has most: sockets and pipes of all"),
    ],
)
def test_open_files_are_planned_for(
    tmp_path: Path, workers: int, https: int, http: int, domains: tuple[DomainConfig, ...], expected: int
) -> None:
    """
    For whichever process needs most of them, and a few dozen more for what else there is.
    """
    config = _config(
        tmp_path,
        limits=LimitsConfig(connections=100, upstream_connections=40),
        listen=ListenConfig(https=(_PORT,) * https, http=(_PORT,) * http, admin=None),
    )
    config = attrs.evolve(config, domains=(*config.domains, *domains))
    assert expected + 256 == startup.descriptors_wanted(config, workers)


def test_many_upstreams_are_no_more_than_clients(tmp_path: Path) -> None:
    """
    Not all of them are busy at once; but one may be, with clients that have several requests on a connection.
    """
    domains = tuple(DomainConfig(HostName(f"{at}.example"), UpstreamConfig(host=f"192.0.2.{at}")) for at in range(99))
    limits = LimitsConfig(connections=100, upstream_connections=40)
    config = attrs.evolve(_config(tmp_path, limits=limits), domains=domains)
    assert 2 + 400 + 256 == startup.descriptors_wanted(config, 1)
    limits = LimitsConfig(connections=10, upstream_connections=40)
    assert 2 + 20 + 40 + 256 == startup.descriptors_wanted(attrs.evolve(config, limits=limits), 1)


def test_limit_that_can_not_be_raised_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What needs it, how much, and what to do.
    """
    monkeypatch.setattr(startup, "_allow_descriptors", lambda _: 512)
    with logged() as events:
        startup.raise_descriptor_limit(_config(tmp_path, limits=LimitsConfig(connections=300)))
    ((level, text),) = events
    assert ("warn", True, True) == (level, "need 1370 open files, but a process may have 512" in text, "ulimit" in text)


def test_address_that_is_left_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Workers of a process that was killed have it for a moment still. Another program has it for good, and that is said.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ListenConfig(https=(Address(*taken.getsockname()),), http=(), admin=None)
        config = _config(tmp_path, listen=listen)
        monkeypatch.setattr(startup, "_LEFT_SECONDS", 0.1)
        with pytest.raises(StartError, match="already in use"):
            startup.bind_all(config, is_patient=True)
        monkeypatch.setattr(startup, "_LEFT_SECONDS", 60.0)
        monkeypatch.setattr("sptls.startup.time.sleep", lambda _: taken.close())
        startup.bind_all(config, is_patient=True).close()


def test_address_that_can_not_be_had_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No time brings it.
    """
    monkeypatch.setattr("sptls.startup.time.sleep", None)
    listen = ListenConfig(https=(Address("192.0.2.1", 0),), http=(), admin=None)
    with pytest.raises(StartError, match="no such address"):
        startup.bind_all(_config(tmp_path, listen=listen), is_patient=True)


def test_lock_that_is_there_was_left(tmp_path: Path) -> None:
    """
    Who ends by itself removes it.
    """
    config = _config(tmp_path)
    assert not startup.was_killed(config)
    lock = startup.lock_state(config)
    assert startup.was_killed(config)
    lock.release()
    assert not startup.was_killed(config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_state_is_given_to_the_user_that_will_serve(tmp_path: Path) -> None:
    """
    The directory and its files change owner; what a link in it points to does not.
    """
    state, outside = tmp_path / "state", tmp_path / "outside"
    state.mkdir()
    (state / "store.db").touch()
    outside.touch()
    (state / "link").symlink_to(outside)
    (state / "hard").hardlink_to(outside)
    startup.give_away(state, ProcessSettings(uid=65534, gid=65534))
    assert (65534, 65534, 0) == (state.stat().st_uid, (state / "store.db").stat().st_uid, outside.stat().st_uid)


def test_nothing_is_given_away_without_a_user(tmp_path: Path) -> None:
    """
    Without --uid the owner stays.
    """
    startup.give_away(tmp_path, ProcessSettings())
    assert os.geteuid() == tmp_path.stat().st_uid


def test_foreground_log_goes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With -n and nothing else, lines are written to standard error.
    """
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    observer = ProcessSettings.from_twistd(TWISTD, log_json=False).observer
    assert observer is not None
    observer({"log_format": "hello", "log_time": 0.0})
    assert stream.getvalue().endswith("hello\n")


@pytest.mark.parametrize("chosen", [{"logger": object()}, {"syslog": True}, {"logfile": "x.log"}, {"nodaemon": False}])
def test_twistds_own_choice_of_a_log_stands(chosen: dict[str, Any]) -> None:
    """
    --logger, --syslog, --logfile and the daemon's twistd.log are left to twistd.
    """
    assert ProcessSettings.from_twistd({**TWISTD, **chosen}, log_json=False).observer is None


def test_json_log_goes_to_the_log_file(tmp_path: Path) -> None:
    """
    --log-json with a file writes JSON lines there, and the file can be rotated.
    """
    path = tmp_path / "sptls.log"
    settings = ProcessSettings.from_twistd({**TWISTD, "logfile": str(path)}, log_json=True)
    assert settings.observer is not None
    assert settings.log_file is not None
    settings.observer({"log_format": "hello", "log_time": 0.0})
    settings.log_file.close()
    assert '"message": "hello"' in path.read_text()


def test_late_modules_are_imported_ahead_for_another_user() -> None:
    """
    Where the user changes, everything is in memory before.
    """
    startup.import_ahead(ProcessSettings(uid=65534))
    assert set(startup._IMPORTED_LATE) <= set(sys.modules)


# As for a user who can't read the folder of Python: from then on nothing is imported, and no file read.
_WITHOUT_PYTHON = """
import builtins, sys
from sptls import service, startup
from twisted.internet import reactor
startup.import_ahead(startup.ProcessSettings(uid=65534))
sys.meta_path.clear()
builtins.open = None
"""


@pytest.mark.parametrize(
    "use",
    [
        "from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key\n"
        "from cryptography.hazmat.primitives.hashes import SHA256\n"
        "generate_private_key(SECP256R1()).sign(b'content', ECDSA(SHA256()))",
        "from sptls.certs.registered_domain import registered_domain\n"
        "assert 'example.co.uk' == registered_domain('click.example.co.uk')",
        "from sptls.dns_questions import Dns\nDns(reactor, [('127.0.0.1', 53)])",
        "from sptls.alerts import posting",
        "from sptls.acme.agent import make_agent\nfrom sptls.acme.issue import AcmeIssuer",
    ],
    ids=["a signature", "the registered domain", "a DNS question", "an alert", "the CA's client"],
)
def test_another_user_need_not_read_where_python_lies(use: str) -> None:
    """
    What is needed only after the user has changed works without a file of Python's.
    """
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PYTHON + use], check=False, capture_output=True, text=True, timeout=60
    )
    assert (0, "") == (ended.returncode, ended.stderr)


class _Listening:
    """
    A listening socket, as far as its port is concerned.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        """
        Give its address.
        """
        return "::", self._port


@pytest.mark.parametrize(("ports", "expected"), [((8443, 443), 443), ((8443, 9443), 8443), ((), 443)])
def test_https_port_is_443_where_it_can_be(ports: tuple[int, ...], expected: int) -> None:
    """
    It is what a URL without a port means.
    """
    listening: Any = tuple(_Listening(port) for port in ports)
    assert expected == Bound(listening, (), ()).https_port


def _inherited(*sockets: socket.socket, **more: Any) -> InheritedSockets:
    return InheritedSockets(InheritedSocket(one, **more) for one in sockets)


def test_inherited_socket_is_used_and_the_rest_is_bound(tmp_path: Path) -> None:
    """
    What a supervisor holds is kept, and so shared always; what is bound here is ours alone.
    """
    one = socket.create_server(("127.0.0.1", 0))
    listen = ListenConfig(https=(Address(*one.getsockname()),), http=(Address("127.0.0.1", 0),), admin=None)
    bound = startup.bind_all(_config(tmp_path, listen=listen), _inherited(one, is_kept=True))
    try:
        assert (one,) == bound.https
        assert (1, [one], [one]) == (len(bound.http), list(bound.kept), list(bound.shared))
        bound.share(frozenset(bound.http))
        assert set(bound.sockets) == bound.shared
        bound.share(frozenset())
        assert {one} == bound.shared
    finally:
        bound.close()


@pytest.mark.parametrize("unit_name", ["", "sptls.socket"])
def test_inherited_socket_without_a_use(tmp_path: Path, unit_name: str) -> None:
    """
    What systemd passes ends the start, with everything closed; a predecessor's is its own.
    """
    one = socket.create_server(("127.0.0.1", 0))
    listen = ListenConfig(https=(Address("127.0.0.1", 0),), http=(), admin=None)
    inherited = _inherited(one, unit_name=unit_name)
    if unit_name:
        with pytest.raises(StartError, match="no use for"):
            startup.bind_all(_config(tmp_path, listen=listen), inherited)
    else:
        startup.bind_all(_config(tmp_path, listen=listen), inherited).close()
    assert -1 == one.fileno()


def test_inherited_sockets_are_closed_when_an_address_is_taken(tmp_path: Path) -> None:
    """
    Those that were used already, and those that were not.
    """
    one, two = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = (Address(*one.getsockname()), Address(*taken.getsockname()))
        with pytest.raises(StartError, match="in use"):
            startup.bind_all(
                _config(tmp_path, listen=ListenConfig(https=addresses, http=(), admin=None)), _inherited(one, two)
            )
    assert (-1, -1) == (one.fileno(), two.fileno())
