from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, capturedLogs

from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import Deployment
from sptls.config import DeployConfig
from sptls.deploy.deployer import (
    NAMES_AT_ONCE,
    OVERDUE_SECONDS,
    PAUSE_SECONDS,
    STOP_SECONDS,
    Deployer,
)
from sptls.deploy.ledger import SAVE_AGAIN_SECONDS
from sptls.deploy.plan import LONGEST_COLLECTING_SECONDS, QUIET_SECONDS, DeployState
from sptls.names import HostName
from sptls.programs import KILLED_SECONDS
from tests.certs.authority import NOW
from tests.certs.stored import bundle_for
from tests.deploy.doubles import Disk, Program, Programs, Thread

A, B = HostName("a.example"), HostName("b.example")
MINUTE, HOUR = 60.0, 3600.0


@attrs.define
class Setting:
    """
    A directory, a store, time, a thread and programs; daemons that use them come and go.
    """

    directory: Path
    deployer: Deployer = attrs.field(init=False)
    config: DeployConfig = attrs.field(init=False)
    bundles: dict[HostName, CertificateBundle] = attrs.field(factory=dict)
    disk: Disk = attrs.field(factory=Disk)
    reactor: Programs = attrs.field(factory=Programs)
    thread: Thread = attrs.field(factory=Thread)
    set_by: timedelta = timedelta()
    log: Sequence[LogEvent] = ()

    def now(self) -> datetime:
        """
        Give the wall clock's moment.
        """
        return NOW + timedelta(seconds=self.reactor.seconds()) + self.set_by

    def start(self, **config: Any) -> None:
        """
        Start a daemon with what is stored and in `bundles`.
        """
        self.config = DeployConfig(**{"directory": self.directory, "command": ("/bin/true", "-x"), **config})
        self.deployer = Deployer(
            self.config, self.disk, reactor=self.reactor, wall_clock=self.now, in_thread=self.thread
        )
        self.deployer.start(self.bundles, dict(self.disk.stored))

    def stop(self) -> Deferred[None]:
        """
        Stop it.
        """
        return Deferred.fromCoroutine(self.deployer.stop())

    def kill(self) -> None:
        """
        Let the daemon be gone, with all that it had in memory.
        """
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        self.reactor.programs.clear()

    def renew(self, *names: HostName) -> None:
        """
        Have a new certificate come for each of *names*.
        """
        for name in names:
            self.bundles[name] = bundle_for(name)
            self.deployer.changed(name, self.bundles[name])

    def deployed(self, name: HostName) -> bool:
        """
        Tell whether a server finds the newest certificate of *name*.
        """
        fullchain = self.directory / name.text / "fullchain.pem"
        return fullchain.exists() and fullchain.read_bytes() == self.bundles[name].chain_pem()

    def program(self) -> Program:
        """
        Give the one program that was started since the last time of asking.
        """
        (program,) = self.reactor.programs
        self.reactor.programs.clear()
        return program

    def state(self, name: HostName = A) -> DeployState:
        """
        Tell what the status says.
        """
        state = self.deployer.state(name)
        assert state is not None
        return state

    def said(self, least: Any = LogLevel.warn) -> list[str]:
        """
        Give what was logged.
        """
        return [event["log_format"].format(**event) for event in self.log if event["log_level"] >= least]


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """
    Certificates for two names, nothing deployed yet; nothing is left running at the end.
    """
    setting = Setting(tmp_path / "deployed")
    setting.bundles = {name: bundle_for(name) for name in (A, B)}
    with capturedLogs() as setting.log:
        yield setting
        stopped = setting.stop()
        setting.reactor.pass_seconds(STOP_SECONDS + KILLED_SECONDS)
    assert (True, []) == (stopped.called, setting.reactor.getDelayedCalls())


@pytest.fixture
def settled(setting: Setting) -> Setting:
    """
    Both certificates are deployed and the command has been told.
    """
    setting.start()
    setting.program().end()
    return setting


def test_what_is_missing_is_deployed_at_the_start(setting: Setting) -> None:
    """
    Files first; then one run of the command for all names, with its words, its environment, and no shell.
    """
    setting.start()
    program = setting.program()
    assert [True, True] == [setting.deployed(name) for name in (A, B)]
    assert ["/bin/true", "-x"] == list(program.words)[-2:]
    assert ("a.example b.example", str(setting.directory)) == (
        program.environment["SPTLS_NAMES"],
        program.environment["SPTLS_DIRECTORY"],
    )
    assert Deployment(setting.bundles[A].serial, True) == setting.disk.stored[A]
    assert "pending" == setting.state().state
    program.end()
    assert Deployment(setting.bundles[A].serial) == setting.disk.stored[A]
    assert DeployState("deployed", setting.bundles[A].serial, "", None) == setting.state()


def test_what_is_in_place_is_left_alone_at_the_start(settled: Setting) -> None:
    """
    After a restart where nothing has changed nothing is written, stored or run.
    """
    settled.stop()
    before, writes = settled.directory.stat().st_mtime_ns, settled.disk.writes
    settled.start()
    settled.reactor.pass_seconds(2 * HOUR)
    assert (before, writes, []) == (
        settled.directory.stat().st_mtime_ns,
        settled.disk.writes,
        settled.reactor.programs,
    )
    assert "deployed" == settled.state().state


def test_files_of_which_the_store_knows_nothing_are_told_of(settled: Setting) -> None:
    """
    Between the files and the store a process may be killed: the command has not run then, as far as anybody knows.
    """
    settled.kill()
    del settled.disk.stored[A]
    settled.start()
    assert ["a.example"] == settled.program().names


def test_a_burst_of_changes_is_one_run(settled: Setting) -> None:
    """
    Certificates that come within a second of each other are told of together, in order.
    """
    settled.renew(B)
    settled.reactor.pass_seconds(QUIET_SECONDS * 0.9)
    settled.renew(A)
    assert not settled.deployed(A)
    settled.reactor.pass_seconds(QUIET_SECONDS * 0.9)
    assert [] == settled.reactor.programs
    settled.reactor.pass_seconds(QUIET_SECONDS * 0.2)
    program = settled.program()
    assert (["a.example", "b.example"], True) == (program.names, settled.deployed(A))
    program.end()
    settled.reactor.pass_seconds(2 * HOUR)
    assert [] == settled.reactor.programs


def test_a_stream_of_changes_is_told_of_now_and_then(settled: Setting) -> None:
    """
    While certificates keep coming the server is reloaded every ten seconds.
    """
    runs = 0
    for _ in range(40):
        settled.renew(A)
        settled.reactor.pass_seconds(QUIET_SECONDS / 2)
        if settled.reactor.programs:
            settled.program().end()
            runs += 1
    assert 20 * QUIET_SECONDS // LONGEST_COLLECTING_SECONDS == runs


def test_files_are_not_changed_while_the_command_runs(settled: Setting) -> None:
    """
    So no server reads an old chain and a new key; what comes meanwhile is for the next run.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    first = settled.program()
    settled.renew(A, B)
    settled.reactor.pass_seconds(5 * QUIET_SECONDS)
    assert (False, []) == (settled.deployed(A), settled.reactor.programs)
    first.end()
    settled.reactor.pass_seconds(0)
    assert (True, ["a.example", "b.example"]) == (settled.deployed(A), settled.program().names)


def test_a_command_that_fails_is_run_again(settled: Setting) -> None:
    """
    After 1, 5 and 15 minutes and then every hour; the status has the reason and the next moment, until it succeeds.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    for minutes in (1, 5, 15, 60, 60):
        settled.program().end(1, b"nginx: test failed\n")
        state = settled.state()
        assert ("failing", settled.now() + timedelta(minutes=minutes)) == (state.state, state.next_attempt_at)
        assert "the deploy command failed with exit status 1; its last words: nginx: test failed" == state.last_error
        settled.reactor.pass_seconds(minutes * MINUTE - 1)
        assert [] == settled.reactor.programs
        settled.reactor.pass_seconds(1)
    settled.program().end()
    assert ("deployed", "") == (settled.state().state, settled.state().last_error)
    assert 5 == len(settled.said())


def test_a_new_change_tells_of_what_has_failed_before(settled: Setting) -> None:
    """
    It need not wait for another name's next attempt, and one success is enough for both.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1)
    settled.renew(B)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    program = settled.program()
    assert ["a.example", "b.example"] == program.names
    program.end()
    settled.reactor.pass_seconds(2 * HOUR)
    assert ([], "deployed") == (settled.reactor.programs, settled.state().state)


def test_what_is_owed_survives_a_restart(settled: Setting) -> None:
    """
    The failures, the reason and the next moment too, when the process was killed.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1, b"down\n")
    before = settled.state()
    settled.kill()
    settled.start()
    assert (before, []) == (settled.state(), settled.reactor.programs)
    settled.reactor.pass_seconds(MINUTE)
    settled.program().end(1)
    assert settled.now() + timedelta(minutes=5) == settled.state().next_attempt_at


def test_a_command_that_was_cut_off_runs_again_after_a_restart(settled: Setting) -> None:
    """
    A process that was killed while the command ran does not know how it ended.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.kill()
    settled.start()
    assert ["a.example"] == settled.program().names


def test_a_command_that_hangs_is_ended(settled: Setting) -> None:
    """
    After its deadline it is a failure like any other.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    program = settled.program()
    settled.reactor.pass_seconds(settled.config.command_seconds)
    program.end(143)
    assert (
        "the deploy command did not end within 60 s and was ended; its last words: none" == settled.state().last_error
    )
    settled.reactor.pass_seconds(MINUTE)
    settled.program().end()
    assert "deployed" == settled.state().state


def test_a_command_that_cannot_be_ended_holds_nothing_up(settled: Setting) -> None:
    """
    One that runs as another user goes on as it likes.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.reactor.pass_seconds(settled.config.command_seconds + KILLED_SECONDS)
    assert "can't be ended: it runs as another user" in settled.state().last_error
    settled.program().end()


def test_a_program_that_is_not_there_is_said(setting: Setting) -> None:
    """
    The files are in place all the same, and the program may come.
    """
    setting.start(command=("/no/such/program",))
    assert setting.deployed(A)
    assert "there is no program '/no/such/program' that this user may execute" in setting.state().last_error


def test_files_that_cannot_be_put_are_tried_again(setting: Setting) -> None:
    """
    The other name is deployed and told of; what stands in the way is said, and the next attempt finds it gone.
    """
    (setting.directory / A.text).mkdir(parents=True)
    setting.start()
    program = setting.program()
    assert (["b.example"], "failing", "") == (program.names, setting.state().state, setting.state().serial)
    assert "something that sptls did not make has that name; move it away" in setting.state().last_error
    program.end()
    assert 1 == len(setting.said())
    (setting.directory / A.text).rmdir()
    setting.reactor.pass_seconds(MINUTE)
    assert ["a.example"] == setting.program().names


def test_many_names_that_cannot_be_put_are_one_line_in_the_log(setting: Setting) -> None:
    """
    A full disk is one fault, not one of every name.
    """
    setting.directory.touch()
    setting.start()
    (said,) = setting.said()
    assert said.startswith("a.example and 1 more: not deployed: ")
    assert said.endswith("next attempt at 2026-08-01 12:01:00 UTC")


def test_files_that_were_damaged_are_mended_at_the_start(settled: Setting) -> None:
    """
    What the store says of them is not believed.
    """
    settled.stop()
    (settled.directory / A.text / "fullchain.pem").write_bytes(b"")
    settled.start()
    assert (["a.example"], True) == (settled.program().names, settled.deployed(A))


def test_more_names_than_are_put_at_once(setting: Setting) -> None:
    """
    All of them are told of in one run.
    """
    bundle = setting.bundles[A]
    names = [HostName(f"{number}.example") for number in range(NAMES_AT_ONCE + 1)]
    setting.bundles = dict.fromkeys(names, bundle)
    setting.start()
    assert (2, len(names)) == (setting.thread.works, len(setting.program().names))


def test_without_a_command_the_files_are_all(setting: Setting) -> None:
    """
    A server that looks at its files by itself needs no command.
    """
    setting.start(command=())
    assert ([], "deployed", True) == (setting.reactor.programs, setting.state().state, setting.deployed(A))


def test_without_a_directory_nothing_is_done(setting: Setting) -> None:
    """
    A daemon that only proxies deploys nothing.
    """
    setting.start(directory=None)
    setting.renew(A)
    setting.deployer.set_names([A])
    setting.reactor.pass_seconds(2 * HOUR)
    assert (None, 0, []) == (setting.deployer.state(A), setting.thread.works, setting.reactor.programs)


def test_names_that_go_keep_their_files(settled: Setting) -> None:
    """
    Another server may still use them, and the log says where they are; what was left to do for them is not done.
    """
    settled.renew(A, B)
    settled.deployer.set_names([B])
    assert None is settled.deployer.state(A)
    assert (settled.directory / A.text / "privkey.pem").exists()
    assert f"a.example is deployed no more; its files stay in {settled.directory}/a.example" in settled.said(
        LogLevel.info
    )
    settled.reactor.pass_seconds(QUIET_SECONDS)
    assert ["b.example"] == settled.program().names


def test_a_name_that_goes_while_its_files_are_put_is_forgotten(settled: Setting) -> None:
    """
    Nothing breaks off, and the other name goes on.
    """
    settled.thread.hanging = []
    settled.renew(A, B)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.deployer.set_names([B])
    settled.thread.go_on()
    assert (["b.example"], []) == (settled.program().names, settled.said())


def test_a_change_while_files_are_put_is_not_lost(settled: Setting) -> None:
    """
    The newest certificate wins, whatever was on its way.
    """
    settled.thread.hanging = []
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.renew(A)
    settled.thread.go_on()
    assert settled.deployed(A)
    settled.program().end()
    settled.reactor.pass_seconds(QUIET_SECONDS)
    assert ([], "deployed") == (settled.reactor.programs, settled.state().state)


def test_another_directory_gets_all_files(settled: Setting, tmp_path: Path) -> None:
    """
    The old one stays as it is, and the command is told of all names.
    """
    settled.deployer.configure(attrs.evolve(settled.config, directory=tmp_path / "other"))
    program = settled.program()
    assert (["a.example", "b.example"], str(tmp_path / "other")) == (
        program.names,
        program.environment["SPTLS_DIRECTORY"],
    )
    assert settled.deployed(A)
    assert (tmp_path / "other" / A.text / "privkey.pem").exists()


def test_another_directory_while_the_command_runs(settled: Setting, tmp_path: Path) -> None:
    """
    It is told of files in the new directory only once they are there.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.deployer.configure(attrs.evolve(settled.config, directory=tmp_path / "other"))
    settled.program().end(1)
    settled.reactor.pass_seconds(0)
    assert ["a.example", "b.example"] == settled.program().names
    assert (tmp_path / "other" / A.text / "privkey.pem").exists()


def test_another_directory_while_files_are_put(setting: Setting, tmp_path: Path) -> None:
    """
    What is not yet in the old directory comes to the new one only.
    """
    bundle = setting.bundles[A]
    setting.bundles = {HostName(f"{number}.example"): bundle for number in range(NAMES_AT_ONCE + 1)}
    setting.thread.hanging = []
    setting.start(command=())
    setting.deployer.configure(DeployConfig(tmp_path / "other"))
    setting.thread.go_on()
    setting.reactor.pass_seconds(0)
    assert [NAMES_AT_ONCE, NAMES_AT_ONCE + 1] == [
        len(list(directory.glob("*.example"))) for directory in (setting.directory, tmp_path / "other")
    ]


def test_another_command_is_run_at_once_for_what_has_failed(settled: Setting) -> None:
    """
    The operator has mended it and waits for the effect; the same configuration again changes nothing.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1)
    settled.deployer.configure(settled.config)
    assert [] == settled.reactor.programs
    settled.deployer.configure(attrs.evolve(settled.config, command=("/bin/echo",)))
    program = settled.program()
    assert ("/bin/echo", ["a.example"]) == (program.words[-1], program.names)


def test_a_command_that_is_taken_off_is_owed_nothing(settled: Setting) -> None:
    """
    Also where the last run failed; and one that is set again later is told of changes from then on.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1)
    settled.deployer.configure(attrs.evolve(settled.config, command=()))
    assert ("deployed", Deployment(settled.bundles[A].serial)) == (settled.state().state, settled.disk.stored[A])
    settled.deployer.configure(settled.config)
    settled.reactor.pass_seconds(2 * HOUR)
    assert [] == settled.reactor.programs


def test_a_directory_that_is_taken_off_is_left_alone(settled: Setting) -> None:
    """
    Nothing is written into it any more.
    """
    settled.deployer.configure(DeployConfig())
    settled.renew(A)
    settled.reactor.pass_seconds(2 * HOUR)
    assert (None, False, []) == (settled.deployer.state(A), settled.deployed(A), settled.reactor.programs)


def test_a_store_that_is_full_holds_nothing_up(settled: Setting) -> None:
    """
    Files and command go on; what was not stored is stored a minute later, and the log says it once.
    """
    settled.disk.is_full = True
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end()
    assert ("deployed", 1) == (settled.state().state, len(settled.said()))
    settled.disk.is_full = False
    settled.reactor.pass_seconds(SAVE_AGAIN_SECONDS)
    assert Deployment(settled.bundles[A].serial) == settled.disk.stored[A]


def test_what_was_not_stored_is_stored_at_the_end(settled: Setting) -> None:
    """
    A disk that has space again gets it before the process ends.
    """
    settled.disk.is_full = True
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1)
    settled.disk.is_full = False
    settled.stop()
    assert 1 == settled.disk.stored[A].consecutive_failures


def test_a_file_system_that_hangs_is_said_and_waited_for(settled: Setting) -> None:
    """
    The log and the status say it after a minute, once; and when it answers, the work goes on.
    """
    settled.thread.hanging = []
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS + 3 * OVERDUE_SECONDS)
    assert 1 == len(settled.said())
    assert ("failing", f"{settled.directory} does not answer (for over 60 s)") == (
        settled.state().state,
        settled.state().last_error,
    )
    settled.thread.go_on()
    settled.program().end()
    assert "deployed" == settled.state().state


def test_a_file_system_that_hangs_does_not_hold_up_the_end(settled: Setting) -> None:
    """
    The thread is left behind.
    """
    settled.thread.hanging = []
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    stopped = settled.stop()
    assert not stopped.called
    settled.reactor.pass_seconds(STOP_SECONDS)
    assert stopped.called


def test_a_running_command_may_end_before_the_process_does(settled: Setting) -> None:
    """
    A reload takes a moment; when it succeeds, nothing is owed at the next start.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    stopped = settled.stop()
    settled.reactor.pass_seconds(STOP_SECONDS / 2)
    settled.program().end()
    assert (True, Deployment(settled.bundles[A].serial)) == (stopped.called, settled.disk.stored[A])


def test_a_command_that_outlasts_the_end_is_ended_and_owed(settled: Setting) -> None:
    """
    That is no failure of its own: it runs at the next start.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    stopped, program = settled.stop(), settled.program()
    settled.reactor.pass_seconds(STOP_SECONDS)
    program.end(143)
    assert (True, Deployment(settled.bundles[A].serial, True)) == (stopped.called, settled.disk.stored[A])
    settled.start()
    assert ["a.example"] == settled.program().names


def test_an_unforeseen_fault_is_not_the_end(settled: Setting) -> None:
    """
    A thread that can't be started is logged, and a minute later the work goes on where it was.
    """
    settled.thread.error = RuntimeError("can't start new thread")
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    assert ["deploying broke off; it goes on in 60 s"] == settled.said()
    settled.thread.error = None
    settled.reactor.pass_seconds(PAUSE_SECONDS)
    assert (["a.example"], True) == (settled.program().names, settled.deployed(A))


def test_a_clock_that_is_set_back_does_not_stop_the_attempts(settled: Setting) -> None:
    """
    A next attempt that has moved years away is made when it was meant to be.
    """
    settled.renew(A)
    settled.reactor.pass_seconds(QUIET_SECONDS)
    settled.program().end(1)
    settled.set_by = timedelta(days=-700)
    settled.reactor.pass_seconds(MINUTE)
    settled.program().end()
    assert "deployed" == settled.state().state


def test_the_commands_environment_is_the_daemons(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What a script needs, as DOCKER_HOST, is set where the daemon is started.
    """
    monkeypatch.setenv("DOCKER_HOST", "unix:///x")
    setting.start()
    assert ("unix:///x", os.environ["PATH"]) == (
        setting.reactor.programs[0].environment["DOCKER_HOST"],
        setting.program().environment["PATH"],
    )
