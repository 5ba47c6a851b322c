"""
Sockets and limits are shared out so that none is left over.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sptls.config import AcmeConfig, Config, DeployConfig, DomainConfig, LimitsConfig, NotifyConfig
from sptls.names import HostName
from sptls.workers.sharing import for_worker, share, share_of


def test_each_gets_one_socket_for_each_address() -> None:
    """
    The first the first of each, and so on.
    """
    addresses = ["a", "a", "b", "b"]
    assert [(0, 2), (1, 3)] == [share(addresses, index, 2) for index in range(2)]


def test_too_few_are_shared_and_too_many_shared_out() -> None:
    """
    One from systemd is everybody's; those of a predecessor with more workers have somebody each.
    """
    assert [(0,), (0,), (0,)] == [share(["a"], index, 3) for index in range(3)]
    assert [(0, 2), (1, 3)] == [share(["a"] * 4, index, 2) for index in range(2)]


@given(addresses=st.lists(st.sampled_from("abc"), max_size=12), count=st.integers(1, 6))
def test_every_socket_has_somebody_and_everybody_every_address(addresses: list[str], count: int) -> None:
    """
    Whatever there is.
    """
    shares = [share(addresses, index, count) for index in range(count)]
    assert set(range(len(addresses))) == {position for mine in shares for position in mine}
    assert all(set(addresses) == {addresses[position] for position in mine} for mine in shares)


def test_worker_knows_its_share_of_the_limits_and_no_secret() -> None:
    """
    What is for all is divided; CAs, copies and warnings are the parent's.
    """
    config = Config(
        (DomainConfig(HostName("a.example")),),
        limits=LimitsConfig(connections=10, upstream_connections=2, upstream_waiting=0),
        acme=AcmeConfig(directory="https://ca.example/"),
        more_cas=(AcmeConfig(),),
        deploy=DeployConfig(directory=Path("/live")),
        notify=NotifyConfig(webhook="https://hook.example/token"),
        workers=3,
    )
    for index, connections in enumerate((4, 3, 3)):
        limits = LimitsConfig(connections=connections, upstream_connections=1, upstream_waiting=0)
        assert Config(config.domains, limits=limits, workers=3) == for_worker(config, index, 3)


@given(limit=st.integers(0, 10_000), count=st.integers(1, 256))
def test_shares_add_up_to_the_limit(limit: int, count: int) -> None:
    """
    None is more than one above another.
    """
    shares = [share_of(limit, index, count) for index in range(count)]
    assert (limit, True) == (sum(shares), max(shares) - min(shares) <= 1)


def test_each_has_a_connection_to_serve() -> None:
    """
    Where there are more workers than connections allowed; nobody need be able to wait.
    """
    limits = LimitsConfig(connections=1, upstream_connections=2, upstream_waiting=1)
    told = [for_worker(Config((), limits=limits), index, 3).limits for index in range(3)]
    assert [(1, 1, 1), (1, 1, 0), (1, 1, 0)] == [
        (each.connections, each.upstream_connections, each.upstream_waiting) for each in told
    ]
