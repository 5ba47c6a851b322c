from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.agenda import Agenda


def drained(agenda: Agenda[str]) -> list[str]:
    """
    Take everything that is ready, the wanted ones first.
    """
    taken = []
    while (item := agenda.take_wanted() or agenda.take_ready()) is not None:
        taken.append(item)
    return taken


def test_ready_items_come_by_urgency_then_age() -> None:
    """
    The least comes first; equal ones in the order in which they came.
    """
    agenda = Agenda[str]()
    for item, urgency in [("b", 2.0), ("c", 2.0), ("a", 1.0)]:
        agenda.ready(item, urgency)
    assert ["a", "b", "c"] == drained(agenda)


def test_item_is_ready_until_it_waits_or_is_taken() -> None:
    """
    Whether somebody wants it or not.
    """
    agenda = Agenda[str]()
    seen = [agenda.is_ready("a")]
    agenda.ready("a", 1.0)
    agenda.want("a")
    seen.append(agenda.is_ready("a"))
    agenda.wait("a", 5.0)
    seen.append(agenda.is_ready("a"))
    assert [False, True, False] == seen


def test_wanted_items_come_first() -> None:
    """
    Those that somebody waits for come before all others, in the order of the asking, once each.
    """
    agenda = Agenda[str]()
    for item in "abcd":
        agenda.ready(item, 0.0)
    for item in "cac":
        agenda.want(item)
    assert ["c", "a", "b", "d"] == drained(agenda)


def test_only_ready_items_can_be_wanted() -> None:
    """
    Who wants an item that waits, or that is not here, changes nothing.
    """
    agenda = Agenda[str]()
    agenda.wait("a", 5.0)
    agenda.want("a")
    agenda.want("b")
    assert [] == drained(agenda)


def test_items_become_due_at_their_moment() -> None:
    """
    An item is due once, from its moment on; the earliest moment is known.
    """
    agenda = Agenda[str]()
    for item, until in [("late", 9.0), ("soon", 3.0)]:
        agenda.wait(item, until)
    assert (3.0, [], ["soon"], 9.0) == (agenda.next_moment(), agenda.due(2.9), agenda.due(3.0), agenda.next_moment())
    assert (["late"], None) == (agenda.due(10.0), agenda.next_moment())


def test_the_last_word_counts() -> None:
    """
    What was said of an item before is forgotten: it waits or it is ready, never both.
    """
    agenda = Agenda[str]()
    agenda.wait("a", 1.0)
    agenda.wait("a", 7.0)
    assert [] == agenda.due(1.0)
    agenda.ready("a", 0.0)
    assert (True, []) == (agenda.is_anything_ready, agenda.due(8.0))
    agenda.wait("a", 9.0)
    assert (False, []) == (agenda.is_anything_ready, drained(agenda))


def test_dropped_items_do_not_come() -> None:
    """
    A dropped item comes neither when its moment does nor when it was wanted.
    """
    agenda = Agenda[str]()
    agenda.ready("a", 0.0)
    agenda.want("a")
    agenda.wait("b", 1.0)
    for item in "abc":
        agenda.drop(item)
    assert ([], [], None) == (drained(agenda), agenda.due(2.0), agenda.next_moment())


@given(st.lists(st.tuples(st.sampled_from("rwxd"), st.integers(0, 5), st.integers(0, 9))))
def test_agrees_with_a_table(steps: list[tuple[str, int, int]]) -> None:
    """
    After any steps the items that are ready or wait are those of a plain table.
    """
    agenda, ready, waiting = Agenda[int](), dict[int, int](), dict[int, int]()
    for step, item, number in steps:
        if step == "r":
            waiting.pop(item, None)
            ready[item] = number
            agenda.ready(item, number)
        elif step == "w":
            ready.pop(item, None)
            waiting[item] = number
            agenda.wait(item, number)
        elif step == "x":
            agenda.drop(item)
            ready.pop(item, None)
            waiting.pop(item, None)
        else:
            due = {one for one, until in waiting.items() if until <= number}
            assert due == set(agenda.due(number))
            waiting = {one: until for one, until in waiting.items() if one not in due}
    assert min(waiting.values(), default=None) == agenda.next_moment()
    taken = [agenda.take_ready() for _ in ready]
    assert (sorted(ready.values()), None) == ([ready[one] for one in taken if one is not None], agenda.take_ready())
