"""
Tests for `sptls.reloading`: when a configuration comes into force. What it changes then is in tests/e2e/test_reload.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from sptls.certs.own import OwnCertificates
from sptls.config import AcmeConfig, Config, DomainConfig, ExternalAccountBinding, LimitsConfig
from sptls.errors import ConfigError, Fault, SptlsError, StoreError
from sptls.names import HostName
from sptls.ops.status import Reading
from sptls.reloading import Reloading
from tests.doubles import InlineReactor
from tests.proxy.wire import logged

OLD = Config(domains=(DomainConfig(HostName("old.example")),))
NEW = Config(domains=(DomainConfig(HostName("new.example")),))


@attrs.define
class Parts:
    """
    Parts that go over to a configuration, or can't.
    """

    config: Config = OLD
    error: Exception | None = None

    async def change(self, config: Config, _own: OwnCertificates, _trust: object) -> None:
        """
        Go over to *config*.
        """
        if self.error is not None:
            raise self.error
        self.config = config


@attrs.define
class Source:
    """
    A file that holds what the test says, and counts how often it is read.
    """

    outcome: Config | SptlsError = NEW
    readings: int = 0
    remembered: list[Config] = attrs.field(factory=list)

    def remember(self, config: Config) -> None:
        """
        Keep it for the next start.
        """
        self.remembered.append(config)

    def load(self) -> Config:
        """
        Give the configuration.
        """
        self.readings += 1
        if isinstance(self.outcome, SptlsError):
            raise self.outcome
        return self.outcome


@attrs.define
class Scene:
    """
    A reloading whose readings wait for the test where *is_slow*.
    """

    parts: Parts = attrs.field(factory=Parts)
    source: Source = attrs.field(factory=Source)
    told: list[Reading] = attrs.field(factory=list)
    is_slow: bool = False
    waiting: list[tuple[Deferred[Any], Any]] = attrs.field(factory=list)
    reloading: Reloading = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        parts: Any = self.parts
        source: Any = self.source
        self.reloading = Reloading(InlineReactor(), parts, source, self._in_thread, self.told.append)

    def _in_thread(self, work: Any) -> Deferred[Any]:
        if not self.is_slow:
            try:
                return succeed(work())
            except Exception:  # noqa: BLE001 - as a thread does
                failed: Deferred[Any] = Deferred()
                failed.errback()
                return failed
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((waiting, work))
        return waiting

    def read(self) -> None:
        """
        Let the reading that waits go on.
        """
        waiting, work = self.waiting.pop(0)
        waiting.callback(work())


def test_new_configuration_comes_into_force() -> None:
    """
    The parts go over to it, and whoever shows the status hears that nothing is wrong.
    """
    scene = Scene()
    with logged() as events:
        scene.reloading.ask()
    assert (NEW, [((), ())]) == (scene.parts.config, [(one.faults, one.needs_restart) for one in scene.told])
    (said,) = [text for _, text in events]
    assert said.endswith("domains: 1 added (new.example), 1 removed (old.example); other changes: none")


def test_many_names_are_counted_not_listed() -> None:
    """
    A log line has ten names at the most.
    """
    scene = Scene()
    scene.source.outcome = Config(domains=tuple(DomainConfig(HostName(f"n{at}.example")) for at in range(500)))
    with logged() as events:
        scene.reloading.ask()
    (said,) = [text for _, text in events]
    assert ("500 added (n0.example, " in said, "n9.example, …)" in said, "n10" in said) == (True, True, False)


def test_faults_leave_the_old_one_in_force() -> None:
    """
    All of them are in the log and in the status.
    """
    scene = Scene()
    scene.source.outcome = ConfigError((Fault("domains[0]", "odd"), Fault("tls", "odder")))
    with logged() as events:
        scene.reloading.ask()
    assert (OLD, [("domains[0]: odd", "tls: odder")]) == (scene.parts.config, [one.faults for one in scene.told])
    first, *others = [text for _, text in events]
    assert "the old one stays in force" in first
    assert ["can't be used: domains[0]: odd", "can't be used: tls: odder"] == others


def test_own_certificate_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """
    The files that a configuration names are read before it comes into force.
    """
    scene, gone = Scene(), tmp_path / "gone.pem"
    scene.source.outcome = Config(domains=(DomainConfig(HostName("own.example"), certificate=gone, key=gone),))
    scene.reloading.ask()
    assert OLD == scene.parts.config
    assert "gone.pem" in scene.told[0].faults[0]


def test_external_account_whose_key_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """
    It is said now, not at the first order.
    """
    scene = Scene()
    acme = AcmeConfig("https://ca.example/dir", eab=ExternalAccountBinding("kid", tmp_path / "gone.key"))
    for place, config in (
        ("acme.eab", attrs.evolve(NEW, acme=acme)),
        ("acme[1].eab", attrs.evolve(NEW, more_cas=(acme,))),
    ):
        scene.source.outcome = config
        scene.reloading.ask()
        (fault,) = scene.told[-1].faults
        assert (OLD, True) == (scene.parts.config, fault.startswith(f"{place}.hmac_key_file: {tmp_path}/gone.key"))


def test_store_that_fails_leaves_the_old_one_in_force() -> None:
    """
    A change for which something can't be read is no change.
    """
    scene = Scene()
    scene.parts.error = StoreError("store.db", "the disk is gone")
    scene.reloading.ask()
    assert ["the disk is gone" in fault for one in scene.told for fault in one.faults] == [True]


def test_unexpected_fault_ends_nothing() -> None:
    """
    It is logged with its traceback, and the next reading may succeed.
    """
    scene = Scene()
    scene.parts.error = ZeroDivisionError()
    with logged() as events:
        scene.reloading.ask()
    scene.parts.error = None
    scene.reloading.ask()
    assert NEW == scene.parts.config
    assert any("could not be read again" in text for _, text in events)


def test_what_needs_a_restart_is_said() -> None:
    """
    The places are in the log and in the status.
    """
    scene = Scene()
    scene.source.outcome = attrs.evolve(NEW, limits=LimitsConfig(idle_seconds=5))
    with logged() as events:
        scene.reloading.ask()
    assert [("limits.idle_seconds",)] == [one.needs_restart for one in scene.told]
    assert "need a restart, the old values stay in force: limits.idle_seconds" in events[-1][1]


def test_wish_that_comes_while_reading_is_read_afterwards_once() -> None:
    """
    Ten signals during a reading are one more reading.
    """
    scene = Scene(is_slow=True)
    for _ in range(10):
        scene.reloading.ask()
    scene.read()
    scene.read()
    assert (2, [], NEW) == (scene.source.readings, scene.waiting, scene.parts.config)


def test_stop_gives_a_reading_up() -> None:
    """
    What has not come into force does not.
    """
    scene = Scene(is_slow=True)
    scene.reloading.ask()
    stopping = Deferred.fromCoroutine(scene.reloading.stop())
    assert (True, OLD, []) == (stopping.called, scene.parts.config, scene.told)


@pytest.mark.parametrize("times", [1, 3])
def test_same_file_changes_nothing(times: int) -> None:
    """
    It can be asked again and again.
    """
    scene = Scene()
    scene.source.outcome = OLD
    with logged() as events:
        for _ in range(times):
            scene.reloading.ask()
    assert ["the configuration was read again; domains: unchanged; other changes: none"] * times == [
        text for _, text in events
    ]


def test_pause_puts_off_what_is_asked_for() -> None:
    """
    Nothing is read meanwhile; then it is, once.
    """
    scene = Scene()
    scene.reloading.pause()
    scene.reloading.ask()
    scene.reloading.ask()
    assert 0 == scene.source.readings
    scene.reloading.go_on()
    assert (1, NEW) == (scene.source.readings, scene.parts.config)


def test_pause_gives_up_a_reading_and_has_it_made_again() -> None:
    """
    What it read has not come into force.
    """
    scene = Scene(is_slow=True)
    scene.reloading.ask()
    scene.reloading.pause()
    assert [] == scene.told
    scene.waiting.clear()
    scene.reloading.go_on()
    scene.read()
    assert (NEW, 1) == (scene.parts.config, len(scene.told))


def test_pause_without_a_reading_reads_nothing_afterwards() -> None:
    """
    Nobody asked.
    """
    scene = Scene()
    scene.reloading.pause()
    scene.reloading.go_on()
    assert 0 == scene.source.readings
