"""
Tests for `sptls.keeping`: who meets whom. What the parts do together is in tests/e2e.
"""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet.defer import Deferred, succeed

from sptls.alerts.channels import CommandChannel
from sptls.certs.store import InlineWorker, Store
from sptls.clock import wall_time
from sptls.config import (
    AcmeConfig,
    Config,
    DeployConfig,
    DomainConfig,
    ListenConfig,
    NotifyConfig,
    TlsConfig,
    UpstreamConfig,
)
from sptls.deploy.webroot import WebrootResponder
from sptls.errors import StartError
from sptls.interfaces import Hold, Refuse
from sptls.issuing import LateAcmeIssuer
from sptls.keeping import Keeping, ordered_names, trust_roots
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from tests.certs.stored import outcome
from tests.doubles import InlineReactor

NAME, OWN = HostName("click.example.com"), HostName("own.example.com")


def _config(tmp_path: Path, **more: Any) -> Config:
    more.setdefault("domains", (DomainConfig(NAME),))
    more.setdefault("acme", AcmeConfig(directory="internal"))
    return Config(state_dir=tmp_path, **more)


def _made(config: Config) -> Keeping:
    responders = (Http01Responder(), TlsAlpn01Responder(wall_time))
    return Keeping.make(InlineReactor(), config, trust_roots(config), responders)


def test_configured_name_is_held_and_wanted(tmp_path: Path) -> None:
    """
    A hello for a configured name without certificate waits; another name is refused.
    """
    keeping = _made(_config(tmp_path))
    assert Hold(NAME) == keeping.served.answer(b"Click.Example.COM")
    assert isinstance(keeping.served.answer(b"stranger.example"), Refuse)


def test_default_name_answers_clients_without_a_server_name(tmp_path: Path) -> None:
    """
    `listen.default_name` is what no server name gets.
    """
    assert isinstance(_made(_config(tmp_path)).served.answer(None), Refuse)
    named = _made(_config(tmp_path, listen=ListenConfig(default_name=NAME)))
    assert Hold(NAME) == named.served.answer(None)


def test_trust_files_are_read_once_each(tmp_path: Path) -> None:
    """
    Every file that is named has its roots; none is the system's alone.
    """
    path = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    config = _config(tmp_path, domains=(DomainConfig(NAME, UpstreamConfig(trust=path)),))
    assert {None, path} == set(trust_roots(config))


def test_trust_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """
    The message has the file.
    """
    config = _config(tmp_path, domains=(DomainConfig(NAME, UpstreamConfig(trust=tmp_path / "gone.pem")),))
    with pytest.raises(StartError, match=r"gone\.pem"):
        trust_roots(config)


def test_own_certificates_are_not_obtained(tmp_path: Path) -> None:
    """
    A domain that brings its certificate is nobody's to order.
    """
    own = DomainConfig(OWN, certificate=tmp_path / "own.pem", key=tmp_path / "own.key")
    assert [NAME] == ordered_names(_config(tmp_path, domains=(own, DomainConfig(NAME))))


def test_every_ca_is_asked_in_its_order(tmp_path: Path) -> None:
    """
    Each has its own client, roots and challenge types; the internal one validates nothing.
    """
    first = AcmeConfig(directory="https://one.example/", challenges=("http-01",))
    config = _config(tmp_path, acme=first, more_cas=(AcmeConfig(directory="internal"),))
    assert [("https://one.example/", 1), ("internal", 0)] == [
        (authority.directory, authority.challenge_types) for authority in _made(config).authorities
    ]


def test_webroot_answers_instead_of_port_80(tmp_path: Path) -> None:
    """
    Where another server owns port 80, tokens are files.
    """
    acme = AcmeConfig(directory="https://one.example/")
    config = _config(tmp_path, acme=acme, deploy=DeployConfig(webroot=tmp_path))
    (authority,) = _made(config).authorities
    assert isinstance(authority.issuer, LateAcmeIssuer)
    assert isinstance(authority.issuer._responders[1], WebrootResponder)


def test_self_checks_are_answered_where_challenges_are(tmp_path: Path) -> None:
    """
    In another server's webroot, from the change of the configuration on.
    """
    old, new = _config(tmp_path), _config(tmp_path, deploy=DeployConfig(webroot=tmp_path))
    keeping = _made(old)
    keeping.renewer._is_stopping = True
    assert isinstance(keeping.self_check._reach._responders["http-01"], Http01Responder)
    _change(keeping, old, new)()
    assert isinstance(keeping.self_check._reach._responders["http-01"], WebrootResponder)


def test_change_goes_over_to_the_new_names_at_once(tmp_path: Path) -> None:
    """
    Until then nothing is changed; afterwards the new name is held and the old one unknown.
    """
    old, new = _config(tmp_path), _config(tmp_path, domains=(DomainConfig(OWN),), tls=TlsConfig("modern"))
    keeping = _made(old)
    keeping.renewer._is_stopping = True  # it plans, and begins no order
    go_over = _change(keeping, old, new)
    assert Hold(NAME) == keeping.served.answer(NAME.wire)
    go_over()
    assert isinstance(keeping.served.answer(NAME.wire), Refuse)
    assert (Hold(OWN), True) == (keeping.served.answer(OWN.wire), keeping.renewer.takes_care_of(OWN))


def test_change_of_the_ca_keeps_the_old_one_for_its_last_orders(tmp_path: Path) -> None:
    """
    The new one is asked from now on; a configuration with the same CAs makes none anew.
    """
    old, new = (_config(tmp_path, acme=AcmeConfig(directory=f"https://{name}.example/")) for name in ("zero", "one"))
    keeping = _made(old)
    keeping.renewer._is_stopping = True
    before = keeping.authorities
    for config in (old, new):
        _change(keeping, old, config)()
    assert ([one.issuer for one in before], ["https://one.example/"]) == (
        [*keeping.former],
        [one.directory for one in keeping.authorities],
    )
    closed: list[str] = []
    for authority in (*before, *keeping.authorities):
        issuer: Any = authority.issuer
        issuer._agent = _Agent(closed, authority.directory)
    outcome(keeping._close_issuers())
    assert ["https://zero.example/", "https://one.example/"] == closed


def test_former_ca_that_nobody_uses_any_more_is_let_go(tmp_path: Path) -> None:
    """
    However often the CA changes, no clients pile up; the internal one has none.
    """
    configs = [
        _config(tmp_path, acme=AcmeConfig(directory=directory))
        for directory in ("https://zero.example/", "https://one.example/", "internal")
    ]
    keeping = _made(configs[-1])
    keeping.renewer._is_stopping = True
    for old, new in pairwise([*configs * 2, configs[0]]):
        _change(keeping, old, new)()
    gc.collect()
    assert (set(), ["https://zero.example/"]) == (
        set(keeping.former),
        [one.directory for one in keeping.authorities],
    )


class _Agent:
    """
    Connections to a CA; it is noted when they are closed.
    """

    def __init__(self, closed: list[str], directory: str) -> None:
        self._closed, self._directory = closed, directory

    def close(self) -> Deferred[None]:
        """
        Close them at once.
        """
        self._closed.append(self._directory)
        return succeed(None)


def _change(keeping: Keeping, old: Config, new: Config) -> Any:
    """
    Give what goes over from *old* to *new*, with a store that works in this thread.
    """
    keeping.store = Store(new.state_dir / "store.db", InlineWorker())
    outcome(keeping.store.open())
    go_over = outcome(keeping.changed(old, new))
    outcome(keeping.store.close())
    return go_over


def test_change_has_other_people_warned_and_other_names_watched(tmp_path: Path) -> None:
    """
    Own certificates' names too; what CAs are asked about is what is ordered from them.
    """
    own = DomainConfig(OWN, certificate=tmp_path / "own.pem", key=tmp_path / "own.key")
    old = _config(tmp_path)
    new = _config(tmp_path, domains=(DomainConfig(NAME), own), notify=NotifyConfig(("/bin/true",)))
    keeping = _made(old)
    keeping.renewer._is_stopping = True
    _change(keeping, old, new)()
    assert ((NAME, OWN), {NAME}) == (keeping.watch._names, keeping.questions._names)
    assert (NAME, OWN) == keeping.pruning._names
    assert [CommandChannel] == [type(outbox.channel) for outbox in keeping.watch._outboxes]
