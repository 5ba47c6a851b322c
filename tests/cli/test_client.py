"""
Tests for `sptls.cli.client`, against the real calls on a real socket.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sptls.certs.intake import Offer, Outcome
from sptls.cli import client
from sptls.cli.client import DaemonClient, entries, holder
from sptls.cli.domain import Domain
from sptls.errors import ControlError, DaemonNotRunning, NotRevocable
from sptls.names import HostName
from sptls.precheck import Check
from tests.certs.stored import open_directory, read_only, stored
from tests.cli.daemon import answering, listening, saying
from tests.ops.web import FakeControls, issuing, valid

A, B = HostName("a.example"), HostName("b.example")


def _answered(state: Path, answer: bytes) -> Any:
    """
    Give the status that a daemon says which answers with these bytes.
    """

    def send(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with listening(state, send):
        return DaemonClient(state).status()


def test_whole_status_is_given(tmp_path: Path) -> None:
    """
    As the daemon writes it.
    """
    with answering(tmp_path, FakeControls(valid("a.example"))):
        assert {"valid": 1} == DaemonClient(tmp_path).status()["states"]


def test_names_are_told_and_asked_for(tmp_path: Path) -> None:
    """
    One that is not served comes with what is wrong with it.
    """
    controls = FakeControls(issuing("a.example"))
    with answering(tmp_path, controls):
        domains, errors = entries(DaemonClient(tmp_path).domains([A, B]))
        assert ((Domain("a.example", "issuing", "https://ca.example/dir"),), 1) == (domains, len(errors))
        assert domains == entries(DaemonClient(tmp_path).issue([A]))[0]
    assert ["a.example"] == controls.asked


def test_many_names_take_several_requests(tmp_path: Path) -> None:
    """
    Each within what the daemon takes at once, by number and by length.
    """
    short = [f"{number}.example" for number in range(1200)]
    long = [f"{number}.{'x' * 60}.{'y' * 60}.{'z' * 60}.example" for number in range(200)]
    controls = FakeControls(*(issuing(name) for name in (*short, *long)))
    names = [HostName(name) for name in (*short, *long)]
    with answering(tmp_path, controls):
        assert [name.text for name in names] == [one["name"] for one in DaemonClient(tmp_path).domains(names)]
        assert 1400 == len(DaemonClient(tmp_path).issue(names))
    assert [name.text for name in names] == controls.asked


def test_no_names_are_no_request(tmp_path: Path) -> None:
    """
    Nobody has to be there.
    """
    assert () == DaemonClient(tmp_path).domains([])


@pytest.mark.parametrize("left", [False, True])
def test_no_socket_and_a_dead_one_mean_that_no_daemon_runs(tmp_path: Path, left: bool) -> None:
    """
    A process that was killed leaves one at which nobody listens.
    """
    if left:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(DaemonNotRunning, match=str(tmp_path)):
        DaemonClient(tmp_path).status()


def test_other_users_are_told_who_may_ask() -> None:
    """
    The socket is its owner's.
    """
    with open_directory() as directory, answering(directory, FakeControls()):
        (directory / "control.sock").chmod(0o600)
        with read_only(directory):
            user = os.geteuid()
            if user == directory.stat().st_uid:
                pytest.skip("there is no other user to be")
            with pytest.raises(ControlError, match="root or as the daemon's user"):
                DaemonClient(directory).status()


def test_daemon_that_hangs_is_waited_for_no_longer_than_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that is stopped accepts, and says nothing.
    """
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "control.sock"))
        silent.listen()
        with pytest.raises(ControlError, match="it hangs, or it is stopped"):
            DaemonClient(tmp_path).status()


def test_answer_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By its length, and by how long it takes.
    """
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n         "
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 8)
    with pytest.raises(ControlError, match="over 8 bytes"):
        _answered(tmp_path, answer)
    monkeypatch.setattr(client, "ANSWER_SECONDS", -1)
    with pytest.raises(ControlError, match="no answer"):
        _answered(tmp_path, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "did it end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{  \r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "not what was asked for"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "another version"),
        (b'HTTP/1.1 413 Too Long\r\nContent-Length: 21\r\n\r\n{"error": "too many"}', "too many"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20000, "not what was asked for"),
        (b"SSH-2.0-OpenSSH\r\n", "broke off"),
    ],
)
def test_odd_answers_are_said_to_be_odd(tmp_path: Path, answer: bytes, said: str) -> None:
    """
    Never a traceback, and always what to do.
    """
    with pytest.raises(ControlError, match=said):
        _answered(tmp_path, answer)


@pytest.mark.parametrize("answer", [b'{"domains": 1}', b'{"domains": [1]}', b"{}"])
def test_answer_of_another_version_is_said_to_be_that(tmp_path: Path, answer: bytes) -> None:
    """
    A daemon that runs on after an upgrade may know other calls.
    """

    def send(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    with listening(tmp_path, send), pytest.raises(ControlError, match="another version"):
        DaemonClient(tmp_path).domains([A])


def _offers(*names: str, server: str = "") -> list[Offer]:
    return [Offer(HostName(name), stored().bundle, server) for name in names]


def test_certificates_are_sent_in_as_many_requests_as_it_takes(tmp_path: Path) -> None:
    """
    Each within what the daemon takes at once; none is no request.
    """
    controls = FakeControls()
    names = [f"{number}.example" for number in range(20)]
    with answering(tmp_path, controls):
        outcomes = list(DaemonClient(tmp_path).take_over(_offers(*names), is_trial=True))
        assert ["refused"] == [
            one.word for one in DaemonClient(tmp_path).take_over(_offers("a.example", server="bad"), is_trial=False)
        ]
    assert [Outcome("taken", "renewal soon")] * 20 == outcomes
    assert [f"{name}  True" for name in names] == controls.asked[:-1]
    assert [] == list(DaemonClient(tmp_path).take_over([], is_trial=False))


def test_certificates_of_great_length_are_sent_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two may be more than a request holds.
    """
    monkeypatch.setattr(client, "_CERTIFICATES_BYTES", 1)
    controls = FakeControls()
    with answering(tmp_path, controls):
        assert 2 == len(list(DaemonClient(tmp_path).take_over(_offers("a.example", "b.example"), is_trial=False)))


@pytest.mark.parametrize("outcomes", ["1", "[]", "[1]", '[{"word": "lost"}]'])
def test_outcome_of_another_version_is_said_to_be_that(tmp_path: Path, outcomes: str) -> None:
    """
    What became of the certificate isn't known then.
    """
    answer = f'{{"outcomes": {outcomes}}}'.encode()

    def send(connection: socket.socket) -> None:
        received = b""
        while b'"dry_run"' not in received:  # the end of the body
            received += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    with listening(tmp_path, send), pytest.raises(ControlError, match="another version"):
        list(DaemonClient(tmp_path).take_over(_offers("a.example"), is_trial=False))


def test_name_is_examined_where_something_is_looked_for(tmp_path: Path) -> None:
    """
    What the daemon saw is given as it came.
    """
    controls = FakeControls(valid("a.example"))
    with answering(tmp_path, controls):
        assert None is DaemonClient(tmp_path).examine(A)
        controls.check = Check()
        assert {"addresses": None, "answers": [], "findings": []} == DaemonClient(tmp_path).examine(A)


def test_revocation_is_done_or_its_problem_told(tmp_path: Path) -> None:
    """
    Nothing to tell is a success.
    """
    controls = FakeControls()
    with answering(tmp_path, controls):
        assert "" == DaemonClient(tmp_path).revoke(A, 4)
        controls.refusal = NotRevocable("nobody can")
        assert "nobody can" == DaemonClient(tmp_path).revoke(A, 4)
    assert ["a.example 4"] == controls.asked


@pytest.mark.parametrize("is_whole", [True, False])
def test_domain_that_can_not_be_read_is_another_versions(is_whole: bool) -> None:
    """
    It lacks what this one goes by; who only looks may take the rest, as long as it has a name.
    """
    told = [{"name": "a.example"}] if is_whole else [{"state": "valid"}]
    with pytest.raises(ControlError, match="another version"):
        entries(told, is_whole=is_whole)
    ((domain,), _) = entries([{"name": "a.example", "state": "valid"}], is_whole=False)
    assert ("a.example", "valid") == (domain.name, domain.state)


@pytest.mark.parametrize("told", [[], [{"name": "b.example"}], [{"name": "a.example"}] * 2, [{"error": "no"}]])
def test_answer_about_other_names_than_were_asked_for_is_another_versions(tmp_path: Path, told: object) -> None:
    """
    Nothing of it can be told apart then.
    """
    with saying(tmp_path, {"/domains": {"domains": told}}), pytest.raises(ControlError, match="another version"):
        DaemonClient(tmp_path).domains([A])


@pytest.mark.parametrize("status", [{}, {"domains": None}, {"domains": {"a.example": "valid"}}, {"domains": ["a"]}])
def test_status_without_domains_is_another_versions(tmp_path: Path, status: object) -> None:
    """
    Whoever wants all domains can't have them.
    """
    with saying(tmp_path, {"/status": status}), pytest.raises(ControlError, match="another version"):
        DaemonClient(tmp_path).every_domain()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (f"{os.getpid()}\n", os.getpid()),
        ("1\n", 1),
        ("", None),
        ("words", None),
        ("99999999999999999999", None),
        ("0\n", None),
        ("-1\n", None),
        (f"+{os.getpid()}\n", None),
    ],
)
def test_holder_of_the_lock_is_told_while_it_lives(tmp_path: Path, written: str, expected: int | None) -> None:
    """
    Another user's process too; what a killed one left says nothing.
    """
    (tmp_path / "lock").write_text(written)
    assert expected == holder(tmp_path)


def test_without_a_lock_there_is_no_holder(tmp_path: Path) -> None:
    """
    Nobody has ever been there.
    """
    assert None is holder(tmp_path)
