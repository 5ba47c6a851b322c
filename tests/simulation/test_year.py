"""
A year of a hundred names in a few seconds; `tests/soak/test_simulation.py` has the thousand.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sptls.certs.limits import LETS_ENCRYPT, NO_LIMITS, Limits
from tests.simulation import rules
from tests.simulation.lets_encrypt import DAY
from tests.simulation.year import KILLS, Year, busy, kinds, violations

# Three days, as in the year, but early.
EARLY_OUTAGE = (18 * DAY, 21 * DAY)


def test_nothing_goes_wrong_in_a_year() -> None:
    """
    No name expires, the CA refuses nothing for its limits, no name fails too often, what is revoked is replaced at
    once; and the busiest day has less than twice the usual orders.
    """
    year = Year(100, 3)
    world = year.pass_by()
    assert [] == list(violations(year))
    assert (100, KILLS + 2) == (len(year.revoked), world.kills)
    assert busy(year, DAY).times <= 2


def test_short_year_is_fair_to_other_rules() -> None:
    """
    What others fail below, with our rules and books goes well.
    """
    year = Year(8, 1, days=30, outage=EARLY_OUTAGE)
    year.pass_by()
    assert [] == list(violations(year))


@pytest.mark.parametrize(
    ("replace_rules", "limits", "expected"),
    [
        (rules.fixed_thirty_days, NO_LIMITS, "429"),
        (rules.last_twelfth, LETS_ENCRYPT, "expired"),
        (rules.retry_every_minute, NO_LIMITS, "429"),
        (rules.retry_every_minute, NO_LIMITS, "failed authorizations"),
    ],
)
def test_rules_of_others_fail(
    monkeypatch: pytest.MonkeyPatch,
    replace_rules: Callable[[pytest.MonkeyPatch], None],
    limits: Limits,
    expected: str,
) -> None:
    """
    A threshold of thirty days orders a week's certificates again and again, one of a twelfth does not outlast an
    outage, and a retry every minute meets the limit.
    """
    replace_rules(monkeypatch)
    year = Year(8, 1, days=30 if expected == "expired" else 1, limits=limits, outage=EARLY_OUTAGE)
    year.pass_by()
    assert expected in kinds(year)
