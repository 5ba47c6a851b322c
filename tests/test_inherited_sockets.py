"""
Tests for `sptls.inherited_sockets`, on real sockets; that systemd's get here is in tests/e2e/test_handover.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sptls.config import Address
from sptls.errors import StartError
from sptls.inherited_sockets import InheritedSocket, InheritedSockets, from_environment, put_back
from tests.tls.wire import logged

# Two descriptors in a row that nothing here has.
_FREE = 900


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """
    Give a stack for what has to be closed.
    """
    with ExitStack() as stack:
        yield stack


def _listening(stack: ExitStack, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return stack.enter_context(socket.create_server((host, port), family=family))


def _passed(monkeypatch: pytest.MonkeyPatch, descriptor: int, **more: str) -> dict[str, str]:
    """
    Give the environment in which *descriptor* is the first that systemd passed.
    """
    monkeypatch.setattr("twisted.python.systemd.ListenFDs._START", descriptor)
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "PATH": "/bin", **more}


def test_socket_is_taken_for_its_address_and_only_once(stack: ExitStack) -> None:
    """
    Another port's is left alone.
    """
    one, other = (InheritedSocket(_listening(stack)) for _ in range(2))
    inherited = InheritedSockets((one, other))
    address = Address(*one.socket.getsockname())
    assert (one,) == inherited.take(address)
    assert () == inherited.take(address)
    assert [other] == list(inherited)


def test_every_address_may_have_a_socket_for_each_family(stack: ExitStack) -> None:
    """
    With BindIPv6Only=ipv6-only systemd makes two.
    """
    four = _listening(stack, "0.0.0.0")  # noqa: S104 - that is the point
    port = four.getsockname()[1]
    six = _listening(stack, "::", port)
    inherited = InheritedSockets(map(InheritedSocket, (four, six)))
    assert {four, six} == {one.socket for one in inherited.take(Address("", port))}


def test_socket_that_nobody_minds_is_closed_in_the_end(stack: ExitStack) -> None:
    """
    The process that had it goes on listening there, or ends.
    """
    one = _listening(stack)
    InheritedSockets([InheritedSocket(one)]).finish()
    assert -1 == one.fileno()


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", "127.0.0.1:{port}"), ("::1", "[::1]:{port}")])
def test_socket_of_systemds_must_serve_an_address(stack: ExitStack, host: str, expected: str) -> None:
    """
    One that does not is named, with what to do.
    """
    one = _listening(stack, host)
    port = one.getsockname()[1]
    with pytest.raises(StartError, match="ListenStream=") as raised:
        InheritedSockets([InheritedSocket(one, is_kept=True, unit_name="sptls.socket")]).finish()
    assert f"{expected.format(port=port)} (sptls.socket)" in str(raised.value)
    assert -1 == one.fileno()


def test_several_origins_are_one() -> None:
    """
    None is an origin of none.
    """
    one: Any = object()
    assert [one, one] == list(InheritedSockets.of(None, [one], InheritedSockets([one])))


@pytest.mark.parametrize(("names", "expected"), [({}, "unknown"), ({"LISTEN_FDNAMES": "web"}, "web")])
def test_systemds_sockets_are_read_from_the_environment(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, names: dict[str, str], expected: str
) -> None:
    """
    They are kept by systemd, do not block, and no program that we start inherits them or hears of them.
    """
    original = _listening(stack)
    descriptor = os.dup(original.fileno())
    os.set_inheritable(descriptor, True)
    environment = _passed(monkeypatch, descriptor, **names)
    (one,) = from_environment(environment)
    stack.enter_context(one.socket)
    assert (True, expected, original.getsockname()) == (one.is_kept, one.unit_name, one.socket.getsockname())
    assert (False, False) == (one.socket.getblocking(), os.get_inheritable(descriptor))
    assert {"PATH": "/bin"} == environment


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (os.getpid(), {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "now"}),
        (1, {"LISTEN_FDNAMES": "now"}),
    ],
)
def test_what_was_taken_out_of_the_environment_is_put_back(
    tmp_path: Path, process: int, expected: dict[str, str]
) -> None:
    """
    If it was said to this process; nothing else comes back, and what is still there stays as it is.
    """
    started_with = tmp_path / "environ"
    started_with.write_bytes(b"PATH=/bin\0odd\xff\0LISTEN_PID=%d\0LISTEN_FDS=2\0LISTEN_FDNAMES=a:b\0" % process)
    environment = {"LISTEN_FDNAMES": "now"}
    put_back(environment, started_with)
    assert expected == environment


def test_without_proc_the_environment_stays_as_it_is(tmp_path: Path) -> None:
    """
    A container may have none.
    """
    environment: dict[str, str] = {}
    put_back(environment, tmp_path / "environ")
    assert {} == environment


def test_what_does_not_listen_ends_the_start(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The unit's fault is said; what was passed is closed.
    """
    descriptor = os.dup(stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)).fileno())
    with pytest.raises(StartError, match=rf"descriptor {descriptor} \(unknown\).* UDP socket; .*ListenStream="):
        from_environment(_passed(monkeypatch, descriptor))
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_sockets_before_the_one_that_is_wrong_are_closed(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    None is left open by a start that fails.
    """
    first, second = _FREE, _FREE + 1
    os.dup2(_listening(stack).fileno(), first)
    os.dup2(stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)).fileno(), second)
    with pytest.raises(StartError, match=f"descriptor {second}"):
        from_environment({**_passed(monkeypatch, first), "LISTEN_FDS": "2"})
    for descriptor in (first, second):
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)


def test_sockets_for_another_process_are_said_and_not_used() -> None:
    """
    A script between systemd and us keeps them from us; the log says so.
    """
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    with logged() as events:
        assert [] == list(from_environment(environment))
    assert {} == environment
    assert "exec" in str(events)


@pytest.mark.parametrize("count", ["9" * 20, "+1_000_000_000_000", "9" * 5000])
@pytest.mark.parametrize("names", [{}, {"LISTEN_FDNAMES": "a:b"}])
def test_more_sockets_than_there_can_be_end_the_start(count: str, names: dict[str, str]) -> None:
    """
    Instead of a list of them that no memory holds.
    """
    with pytest.raises(StartError, match="LISTEN_FDS"):
        from_environment({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, **names})


@pytest.mark.parametrize("count", ["", "0", "many"])
def test_without_sockets_there_are_none(count: str) -> None:
    """
    Neither where the environment says nothing, nor where what it says is no number.
    """
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count} if count else {}
    assert [] == list(from_environment(environment))
