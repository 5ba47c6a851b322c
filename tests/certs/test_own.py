from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import attrs
import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from sptls.certs.bundle import KEY_DOES_NOT_FIT, CertificateBundle
from sptls.certs.own import LOOK_SECONDS, OVERDUE_SECONDS, OwnCertificates, OwnStatus
from sptls.config import DomainConfig
from sptls.errors import Fault
from sptls.names import HostName
from tests.certs.authority import NOW, Entity, entity, pem, root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from twisted.logger import LogEvent

T = TypeVar("T")

A, B = HostName("a.example"), HostName("*.b.example")


def certificate(name: HostName, *, days: int = 80) -> Entity:
    """
    Make a certificate for *name* that is valid for so many days.
    """
    return entity("x", [name.text], root(), not_after=NOW + timedelta(days=days))


@attrs.define
class Setting:
    """
    Own certificates for two names in a directory, a third name without, time, and a thread that may hang.
    """

    directory: Path
    clock: Clock = attrs.field(factory=Clock)
    now: datetime = NOW
    hanging: list[Deferred[None]] | None = None
    changes: list[tuple[HostName, CertificateBundle]] = attrs.field(factory=list)
    log: Sequence[LogEvent] = ()
    logged: int = 0

    def domains(self) -> tuple[DomainConfig, ...]:
        """
        Give the configuration.
        """
        own = [DomainConfig(name, certificate=self.path(name, "pem"), key=self.path(name, "key")) for name in (A, B)]
        return (own[0], DomainConfig(HostName("ordered.example")), own[1])

    def path(self, name: HostName, ending: str) -> Path:
        """
        Give a file's path.
        """
        return self.directory / f"{name.text.replace('*', 'star')}.{ending}"

    def put(self, name: HostName, new: Entity) -> None:
        """
        Replace both files of *name*.
        """
        for ending, content in (("pem", pem(new.certificate)), ("key", new.key_pem)):
            temporary = self.directory / "new"
            temporary.write_bytes(content)
            os.replace(temporary, self.path(name, ending))

    def in_thread(self, work: Callable[[], T], /) -> Deferred[T]:
        """
        Do the work at once, or when the thread hangs no more.
        """
        if self.hanging is None:
            return execute(work)
        hang: Deferred[None] = Deferred()
        self.hanging.append(hang)
        return hang.addCallback(lambda _: work())

    def look(self) -> None:
        """
        Let the time of one look pass.
        """
        self.clock.advance(LOOK_SECONDS)

    def on_change(self, name: HostName, bundle: CertificateBundle) -> None:
        """
        Note a change.
        """
        self.changes.append((name, bundle))

    def said(self) -> list[str]:
        """
        Give, and forget, what was logged at warn and above, less the paths.
        """
        events = self.log[self.logged :]
        self.logged = len(self.log)
        levels = (LogLevel.warn, LogLevel.error, LogLevel.critical)
        return [str(event["log_format"]).format(**event) for event in events if event["log_level"] in levels]


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """
    Two good pairs of files, and what is logged.
    """
    setting = Setting(tmp_path)
    for name in (A, B):
        setting.put(name, certificate(name))

    with capturedLogs() as setting.log:
        yield setting


@pytest.fixture
def own(setting: Setting) -> OwnCertificates:
    """
    Own certificates, not loaded yet.
    """
    return OwnCertificates(
        setting.domains(), clock=setting.clock, wall_clock=lambda: setting.now, in_thread=setting.in_thread
    )


@pytest.fixture
def watched(own: OwnCertificates, setting: Setting) -> Iterator[OwnCertificates]:
    """
    Own certificates, loaded and looked at; stopped at the end, with no timer left.
    """
    assert own.load() == ()
    own.start(setting.on_change)
    yield own
    stopped = Deferred.fromCoroutine(own.stop())
    assert stopped.called
    assert setting.clock.getDelayedCalls() == []


def test_what_the_files_hold_is_in_force(own: OwnCertificates) -> None:
    """
    After loading there is a bundle for each name that brings one, and a status without faults.
    """
    assert own.load() == ()
    assert {name: bundle.names for name, bundle in own.bundles.items()} == {A: (A,), B: (B,)}
    assert own.statuses() == tuple(OwnStatus(name, own.bundles[name], (), "") for name in (A, B))


def test_all_faults_of_files_are_told_with_their_place(own: OwnCertificates, setting: Setting) -> None:
    """
    Files that can't be read, and keys that do not fit, are the operator's to mend before the start.
    """
    setting.path(A, "key").unlink()
    setting.path(B, "key").write_bytes(entity("other").key_pem)
    assert own.load() == (
        Fault("domains[0]", f"{setting.path(A, 'key')}: No such file or directory"),
        Fault("domains[2]", f"{setting.path(B, 'pem')} with the key {setting.path(B, 'key')}: {KEY_DOES_NOT_FIT}"),
    )
    assert own.bundles == {}


def test_faulty_certificates_are_served_and_said_at_start(own: OwnCertificates, setting: Setting) -> None:
    """
    An expired certificate and one for another name are in force, named in the log and in the status.
    """
    setting.put(A, certificate(A, days=-1))
    setting.put(B, certificate(A))
    assert own.load() == ()
    own.start(setting.on_change)
    assert setting.said() == [
        "a.example: its own certificate is served all the same: the certificate expired at 2026-07-31 12:00 UTC",
        "*.b.example: its own certificate is served all the same: "
        "the certificate is for a.example, not for *.b.example",
    ]
    assert [bool(status.faults) for status in own.statuses()] == [True, True]
    Deferred.fromCoroutine(own.stop())


def test_nothing_is_looked_at_when_nobody_brings_any(setting: Setting) -> None:
    """
    Without own certificates there is no timer.
    """
    own = OwnCertificates((), clock=setting.clock, wall_clock=lambda: NOW, in_thread=setting.in_thread)
    assert own.load() == ()
    own.start(setting.on_change)
    assert setting.clock.getDelayedCalls() == []
    assert Deferred.fromCoroutine(own.stop()).called


def test_new_files_are_told_of_once(watched: OwnCertificates, setting: Setting) -> None:
    """
    The bundle from new files is given to whoever serves it, at the next look, once.
    """
    setting.look()
    assert setting.changes == []
    setting.put(B, certificate(B))
    setting.look()
    setting.look()
    assert setting.changes == [(B, watched.bundles[B])]
    assert setting.said() == []


def test_lasting_trouble_is_said_once_and_so_is_its_end(watched: OwnCertificates, setting: Setting) -> None:
    """
    New files that can't be used leave the old ones in force; the log says so once, when it was no passing state.
    """
    before = watched.bundles[A]
    setting.path(A, "pem").write_bytes(b"no certificate")
    setting.look()
    assert setting.said() == []
    for _ in range(3):
        setting.look()
    (said,) = setting.said()
    assert said.startswith("a.example: new files are not taken, the old certificate stays: ")
    assert watched.statuses()[0].bundle is before
    assert watched.statuses()[0].trouble in said
    setting.path(A, "pem").write_bytes(before.chain_pem())
    setting.look()
    assert setting.log[-1]["log_format"] == "{name}: the files of its own certificate are in order again"
    assert setting.changes == []


@pytest.mark.usefixtures("watched")
def test_expiry_is_said_when_it_happens(setting: Setting) -> None:
    """
    A certificate that expires while it is served is said once.
    """
    setting.now = NOW + timedelta(days=80, seconds=1)
    setting.look()
    setting.look()
    assert [said.partition(":")[0] for said in setting.said()] == ["a.example", "*.b.example"]


def test_a_file_system_that_hangs_is_said_and_waited_for(watched: OwnCertificates, setting: Setting) -> None:
    """
    While a look hangs there is no other one, the certificates stay, the log and the status say it.
    """
    setting.hanging = []
    setting.look()
    setting.clock.advance(OVERDUE_SECONDS)
    setting.clock.advance(OVERDUE_SECONDS)
    (hang,) = setting.hanging
    assert len(setting.said()) == 1
    assert watched.statuses()[0].trouble == "its files can't be read: no answer in 60 s"
    hang.callback(None)
    assert watched.statuses()[0].trouble == ""
    assert setting.log[-1]["log_format"] == "the files of own certificates can be read again"


def test_a_look_that_hangs_does_not_delay_the_end(own: OwnCertificates, setting: Setting) -> None:
    """
    Stopping leaves a hanging look behind, and what it finds afterwards has no effect.
    """
    own.load()
    own.start(setting.on_change)
    setting.hanging = []
    setting.put(A, certificate(A))
    setting.look()
    assert Deferred.fromCoroutine(own.stop()).called
    setting.hanging[0].callback(None)
    assert setting.changes == []
    assert setting.clock.getDelayedCalls() == []


def test_one_names_failure_does_not_concern_the_next(own: OwnCertificates, setting: Setting) -> None:
    """
    When one new certificate can't be put in force, the other one is, and the looks go on.
    """

    def on_change(name: HostName, bundle: CertificateBundle) -> None:
        if name == A:
            raise ValueError("a context can't be made")
        setting.on_change(name, bundle)

    own.load()
    own.start(on_change)
    for name in (A, B):
        setting.put(name, certificate(name))
    setting.look()
    assert [name for name, _ in setting.changes] == [B]
    assert setting.said() == ["a.example: its new certificate could not be put in force"]
    setting.put(B, certificate(B))
    setting.look()
    assert len(setting.changes) == 2
    Deferred.fromCoroutine(own.stop())


def test_a_look_that_fails_is_not_the_last(watched: OwnCertificates, setting: Setting) -> None:
    """
    An unexpected failure of a whole look is logged, and the next look is made.
    """
    setting.hanging = []
    setting.look()
    setting.hanging[0].errback(RuntimeError("can't start new thread"))
    assert setting.said() == ["own certificates could not be looked at"]
    setting.hanging = None
    setting.put(A, certificate(A))
    setting.look()
    assert setting.changes == [(A, watched.bundles[A])]
