"""
When a worker that says nothing is hung, and when it is merely slow.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.workers.silence import Pulse, Silence

AT_REST = Pulse("S", 10.0, 2.0, 7)


def looked_at(*pulses: Pulse | None) -> list[str]:
    """
    Give what each look at a worker tells that says nothing.
    """
    silence = Silence()
    return [silence.look(pulse) for pulse in pulses]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("T", "it was stopped (SIGSTOP, or a debugger)"),
        ("t", "it was stopped (SIGSTOP, or a debugger)"),
        ("S", "it is blocked in a system call (state S)"),
        ("D", "it is blocked in a system call (state D)"),
    ],
)
def test_one_that_neither_runs_nor_wants_to_is_hung(state: str, expected: str) -> None:
    """
    Three seconds after its last word: the first of them shows only that it is silent, and its pulse is taken then.
    """
    pulse = attrs.evolve(AT_REST, state=state)
    assert ["", "", "", f"it says nothing any more: {expected}"] == looked_at(None, pulse, pulse, pulse)


def test_one_that_runs_is_hung_when_it_has_run_for_long() -> None:
    """
    However long that takes on a busy machine: half a second of CPU in each.
    """
    pulses = [Pulse("R", 10 + at / 2, 2 + at / 2, 7) for at in range(11)]
    *before, last = looked_at(None, *pulses)
    assert {""} == set(before)
    assert "it says nothing any more, and has run for 5 s of CPU (an endless loop)" == last


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Pulse("R", 0, 0, 0), id="wants to run, and the kernel does not count for how long"),
        pytest.param(Pulse("S", 0.01, 0.5, 0), id="another of its threads waited for a CPU"),
        pytest.param(Pulse("D", 0, 0, 1), id="waits for its own memory"),
    ],
)
def test_one_that_is_starved_is_left_alone(step: Pulse) -> None:
    """
    For as long as that lasts: a successor would fare no better.
    """
    pulses = [Pulse(step.state, at * step.ran_seconds, at * step.waited_seconds, at * step.faults) for at in range(300)]
    assert {""} == set(looked_at(None, *pulses))


def test_one_that_was_starved_for_a_while_and_then_blocks_is_hung() -> None:
    """
    Only what it did since it last wanted to run counts.
    """
    starved = attrs.evolve(AT_REST, state="R")
    told = looked_at(None, AT_REST, AT_REST, starved, AT_REST, AT_REST)
    assert (["", "", "", "", ""], True) == (told[:5], "blocked" in told[5])


def test_word_ends_the_silence() -> None:
    """
    All counts from the next one on.
    """
    silence = Silence()
    for _ in range(10):
        assert (False, "") == (silence.is_noticed, silence.look(None))
        assert (True, False, "") == (silence.is_noticed, silence.is_certain, silence.look(AT_REST))
        assert silence.is_certain
        assert "" == silence.look(AT_REST)
        silence.end()


def test_one_of_which_nothing_is_known_has_half_a_minute() -> None:
    """
    Without /proc, or before it has a reactor.
    """
    *before, last = looked_at(*[None] * 31)
    assert ({""}, "it says nothing any more") == (set(before), last)


@given(st.lists(st.tuples(st.sampled_from("RSDTt"), st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=8))
def test_nobody_is_hung_within_two_seconds(steps: list[tuple[str, float, float, bool]]) -> None:
    """
    Whatever it does; nor one that says something at every third look.
    """
    silence, now = Silence(), AT_REST
    for at, (state, ran, waited, has_faulted) in enumerate(steps):
        now = Pulse(state, now.ran_seconds + ran, now.waited_seconds + waited, now.faults + has_faulted)
        assert "" == silence.look(now if silence.is_noticed else None)
        if at % 3 == 2:
            silence.end()
