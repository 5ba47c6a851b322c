"""
What several processes count adds up.
"""

from __future__ import annotations

from sptls.ops.traffic import Traffic, left_behind, total

ONE = Traffic(
    2,
    {"accepted": 5, "open": 2, "holding": 1, "passing_through": 1},
    {"requests": 4, "answers": {"2xx": 3}},
    ({"url": "https://a", "connections": 1, "addresses": ("192.0.2.1",), "trouble": None},),
    1,
)
OTHER = Traffic(
    1,
    {"accepted": 6, "open": 1, "held": 9},
    {"requests": 1, "answers": {"2xx": 1, "5xx": 2}, "lists": [1, 2]},
    (
        {"url": "https://a", "connections": 2, "addresses": ("192.0.2.2",), "trouble": "refused"},
        {"url": "https://b", "connections": 7, "addresses": (), "trouble": None},
    ),
)


def test_counts_of_all_are_added() -> None:
    """
    Sections, upstreams and what is below them by their keys; what only one has stays.
    """
    assert {
        "connections": {"open": 3},
        "tls": {"accepted": 11, "open": 3, "holding": 1, "passing_through": 1, "held": 9},
        "http": {"requests": 5, "answers": {"2xx": 4, "5xx": 2}, "lists": [1, 2]},
        "upstreams": [
            {"url": "https://a", "connections": 3, "addresses": ("192.0.2.1",), "trouble": "refused"},
            {"url": "https://b", "connections": 7, "addresses": (), "trouble": None},
        ],
        "access_log": {"dropped_lines": 1},
    } == total((ONE, OTHER)).sections


def test_lists_are_added_one_by_one() -> None:
    """
    Counters by index.
    """
    assert {"lists": [3, 5]} == total((Traffic(http={"lists": [1, 2]}), Traffic(http={"lists": [2, 3]}))).http


def test_one_who_has_ended_leaves_counts_and_nothing_open() -> None:
    """
    Counters never go back when a process ends.
    """
    left = left_behind(ONE)
    assert {"accepted": 5, "open": 0, "holding": 0, "passing_through": 0} == left.tls
    assert (0, (), ONE.http, 1) == (left.connections, left.upstreams, left.http, left.dropped_lines)


def test_nobody_counts_nothing() -> None:
    """
    Before the first worker serves.
    """
    assert Traffic() == total(())
