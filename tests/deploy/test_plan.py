from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.records import NOT_DEPLOYED, Deployment
from sptls.deploy import plan
from sptls.errors import DeployError
from sptls.names import HostName
from tests.certs.authority import NOW, click, intermediate, pem
from tests.certs.stored import CLICK, stored

MINUTE = timedelta(minutes=1)
moments = st.timedeltas(timedelta(days=-9999), timedelta(days=9999)).map(lambda distance: NOW + distance)
serials = st.sampled_from(["", "0a", "0b"])
deployments = st.builds(
    Deployment,
    serial=serials,
    is_command_owed=st.booleans(),
    consecutive_failures=st.integers(0, 100),
    next_attempt_at=st.none() | moments,
    last_error=st.text(max_size=5),
)
names = st.integers(0, 50).map(lambda number: HostName(f"{number}.example"))


@pytest.mark.parametrize(
    ("deployment", "step"),
    [
        (NOT_DEPLOYED, plan.Put()),
        (Deployment("0b"), plan.Put()),
        (Deployment("0b", True), plan.Put()),
        (Deployment("0a"), plan.Done()),
        (Deployment("0a", True), plan.Run()),
        (Deployment("0b", False, 1, NOW + MINUTE), plan.Wait(NOW + MINUTE)),
        (Deployment("0a", True, 1, NOW + MINUTE), plan.Wait(NOW + MINUTE)),
        (Deployment("0b", False, 1, NOW), plan.Put()),
        (Deployment("0a", True, 1, NOW - MINUTE), plan.Run()),
    ],
)
def test_what_comes_next(deployment: Deployment, step: plan.Step) -> None:
    """
    Files first, then the command; after a failure not before its moment; and nothing when all is done.
    """
    assert step == plan.next_step("0a", deployment, NOW)


@given(serials, deployments, moments)
def test_a_wait_is_for_the_future_and_ends(serial: str, deployment: Deployment, now: datetime) -> None:
    """
    Whatever a clock that was set has stored, no wait is over already, and none is much longer than an hour.
    """
    step = plan.next_step(serial, deployment, now)
    if isinstance(step, plan.Wait):
        assert now < step.until <= now + timedelta(hours=2)


def test_new_files_are_told_to_the_command() -> None:
    """
    What an earlier certificate has left does not count for a new one.
    """
    failing = Deployment("0b", True, 7, NOW, "exit status 1")
    assert Deployment("0a", True) == plan.after_put(failing, "0a", is_changed=True, has_command=True)
    assert Deployment("0a") == plan.after_put(failing, "0a", is_changed=True, has_command=False)


def test_files_that_nobody_told_of_are_told_to_the_command() -> None:
    """
    A process that was killed between the files and the store leaves files that the command has not heard of.
    """
    assert Deployment("0a", True) == plan.after_put(NOT_DEPLOYED, "0a", is_changed=False, has_command=True)


def test_files_that_have_not_changed_change_nothing() -> None:
    """
    What was owed still is, at the same moment, and what was told is not told again; without a command nothing is owed.
    """
    owed, told = Deployment("0a", True, 3, NOW, "exit status 1"), Deployment("0a")
    assert owed == plan.after_put(owed, "0a", is_changed=False, has_command=True)
    assert told == plan.after_put(told, "0a", is_changed=False, has_command=True)
    assert told == plan.after_put(owed, "0a", is_changed=False, has_command=False)


def test_success_is_the_end_of_the_failures() -> None:
    """
    After the command has succeeded nothing is left to do.
    """
    assert Deployment("0a") == plan.after_command(Deployment("0a", True, 3, NOW, "exit status 1"))


def test_failures_are_tried_again_after_1_5_and_15_minutes_and_then_hourly() -> None:
    """
    The delays grow to an hour and stay there.
    """
    deployment, delays = Deployment("0a", True), []
    for _ in range(6):
        deployment = plan.after_failure(deployment, "exit status 1", NOW)
        assert deployment.next_attempt_at is not None
        delays.append((deployment.next_attempt_at - NOW) / MINUTE)
    assert [1, 5, 15, 60, 60, 60] == delays
    assert (6, True, "exit status 1") == (
        deployment.consecutive_failures,
        deployment.is_command_owed,
        deployment.last_error,
    )
    assert plan.Run() == plan.next_step("0a", plan.without_delay(deployment), NOW)


def test_a_long_error_is_cut() -> None:
    """
    The store keeps 2,000 characters.
    """
    assert 2000 == len(plan.after_failure(NOT_DEPLOYED, "x" * 5000, NOW).last_error)


def test_files_that_cannot_be_put_are_not_relied_on() -> None:
    """
    The old serial stays known where a new one's files could not be put; one that was thought to be there is not.
    """
    old = plan.after_put_failure(Deployment("0b"), "0a", "disk full", NOW)
    assert Deployment("0b", False, 1, NOW + MINUTE, "disk full") == old
    gone = plan.after_put_failure(Deployment("0a", True), "0a", "disk full", NOW)
    assert Deployment("", False, 1, NOW + MINUTE, "disk full") == gone


@given(st.sets(names, max_size=20), st.sets(names, max_size=20))
def test_one_run_tells_all_that_wait(due: set[HostName], waiting: set[HostName]) -> None:
    """
    Where one is due, all that are owed are told, each once, in order; where none is, nobody is.
    """
    assert (tuple(sorted(due | waiting)) if due else ()) == plan.in_one_run(due, due | waiting)


def test_one_run_tells_no_more_than_the_system_takes() -> None:
    """
    So many names that the environment can't hold them take several runs, and each brings the end nearer.
    """
    due = {HostName(f"{number:06}.{'x' * 60}.example") for number in range(4000)}
    runs = []
    while due:
        chosen = plan.in_one_run(due, due)
        assert len(" ".join(name.text for name in chosen)) <= plan.MAX_NAMES_CHARACTERS
        due -= set(chosen)
        runs.append(len(chosen))
    assert 4 == len(runs)
    waiting = {HostName(f"{number:06}.{'x' * 60}.example") for number in range(4000)}
    assert HostName("z.example") in plan.in_one_run([HostName("z.example")], waiting | {HostName("z.example")})


def test_a_burst_is_over_after_a_quiet_second_and_never_lasts_long() -> None:
    """
    Changes are collected until none has come for a second, but no longer than ten.
    """
    assert [101, 105, 110, 110] == [plan.collected_at(100, last) for last in (100, 104, 109.5, 300)]


@pytest.mark.parametrize(
    ("deployment", "state"),
    [
        (NOT_DEPLOYED, plan.DeployState("pending", "", "", None)),
        (Deployment("0b"), plan.DeployState("pending", "0b", "", None)),
        (Deployment("0a", True), plan.DeployState("pending", "0a", "", None)),
        (Deployment("0a"), plan.DeployState("deployed", "0a", "", None)),
        (Deployment("0a", True, 1, NOW, "x"), plan.DeployState("failing", "0a", "x", NOW)),
        (Deployment("0b", False, 1, NOW, "x"), plan.DeployState("failing", "0b", "x", NOW)),
    ],
)
def test_states_in_words(deployment: Deployment, state: plan.DeployState) -> None:
    """
    People are told whether the newest certificate is deployed, what is in place, and what comes next.
    """
    assert state == plan.state("0a", deployment)


@pytest.mark.parametrize("text", ["a.example", "xn--nxasmq6b.example", "*.a.example", "1-2.a", f"{'a.' * 126}a"])
def test_host_names_are_file_names(text: str) -> None:
    """
    A host name is used as it is; a file system takes the longest.
    """
    assert text == plan.link_name(HostName(text))
    assert len(text) <= 255


@pytest.mark.parametrize("text", ["", ".", "..", "../a", "a/b", "/a", ".versions", "a\0b", "A.example", "a..b", "a\n"])
def test_no_path_escapes(text: str) -> None:
    """
    What is no plain host name is refused, wherever it came from.
    """
    with pytest.raises(DeployError, match="no plain host name"):
        plan.link_name(HostName(text))


def test_versions_of_a_name_sort_by_age() -> None:
    """
    The name of a version begins with the moment from which the certificate is valid.
    """
    bundle = attrs.evolve(stored().bundle, serial="0a", not_before=datetime(2026, 8, 1, 9, 5, 7, tzinfo=UTC))
    assert "20260801T090507Z-0a" == plan.version_name(bundle)


def test_files_have_certbots_content() -> None:
    """
    The whole chain, the chain without the certificate itself, and the key; together they make the bundle again.
    """
    bundle = attrs.evolve(stored().bundle, chain=stored().bundle.chain)
    files = plan.files(bundle)
    assert {"fullchain.pem", "chain.pem", "privkey.pem"} == set(files)
    assert pem(intermediate().certificate) == files["chain.pem"]
    assert bundle == bundle.from_pem(files["privkey.pem"], files["fullchain.pem"])
    assert files["fullchain.pem"].endswith(files["chain.pem"])


def test_a_certificate_without_a_chain_has_an_empty_one() -> None:
    """
    A CA whose root signs itself gives one certificate; ``chain.pem`` is there all the same.
    """
    bundle = stored().bundle.from_der(click().key_der, (stored().bundle.chain[0],))
    assert b"" == plan.files(bundle)["chain.pem"]
    assert CLICK in bundle.names
