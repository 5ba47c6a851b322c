"""
When a failing name's DNS is looked at again, and when what is seen there is a reason to try at once. Pure.

A look that gets no complete answer changes nothing. A change that certainly does not help is noted only; any other is
a reason once: what was tried already is not tried again before its moment, so that a name whose addresses rotate (a
CDN's, a load balancer's) costs the CA no more than a few attempts. Says nothing of the CA's limits: they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sptls.certs.diagnosis import Diagnosis, Finding
    from sptls.certs.precheck_rules import Caa, Seen

# Five minutes at first: a customer who is being helped waits for it. An hour in the end: some names are dead for good.
FIRST_PAUSE_SECONDS: Final = 300.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
# ±10 %, so that names which failed together are not looked at together.
_JITTER: Final = 0.1
_MOST_DOUBLINGS: Final = 4
# So many different answers are tried out of turn, until a certificate comes.
MOST_TRIED: Final = 12
# What our own look finds, and nothing but the DNS can mend; where it is found no more, the DNS has changed.
_SEEN_IN_DNS: Final = frozenset({"dns-nxdomain", "dns-no-address", "dns-elsewhere", "caa-forbids"})
# Diagnoses of what happens at the name's addresses, with whoever has to act.
_AT_ITS_ADDRESSES: Final = ("connection", "wrong-", "tls", "unreached")
_OF_CAA: Final = "caa"
_MOST_SHOWN: Final = 4


@attrs.frozen
class Print:
    """
    What tells one state of a name's DNS from another: the addresses, its last alias ("": none), the CAA that counts.
    """

    addresses: frozenset[str]
    alias: str
    caa: frozenset[Caa]

    @property
    def words(self) -> str:
        """
        Say where it leads.
        """
        told = ", ".join(sorted(self.addresses)[:_MOST_SHOWN]) or "no address"
        more = len(self.addresses) - _MOST_SHOWN
        return f"{told} and {more} more" if more > 0 else told


@attrs.frozen
class Watched:
    """
    What is remembered of a failing name: at which CA (*directory*) it failed, what of its DNS was *tried* there (None:
    not known, as after a restart), how many *looks* came since, and what the failure was (*code*).
    """

    directory: str
    code: str = ""
    tried: frozenset[Print] | None = None
    looks: int = 0

    @property
    def is_of_caa(self) -> bool:
        """
        Tell whether CAA records matter, which cost a question for each domain above the name.
        """
        return self.code.startswith(_OF_CAA)


@attrs.frozen
class Same:
    """
    Nothing new that could help.
    """

    watched: Watched


@attrs.frozen
class Changed:
    """
    A reason to try at once.
    """

    watched: Watched
    found: Print


def concerns_dns(diagnosis: Diagnosis | None) -> bool:
    """
    Tell whether a stored failure with this *diagnosis* may end by a change in the name's DNS.
    """
    return diagnosis is not None and (
        diagnosis.code.startswith(("dns", _OF_CAA, *_AT_ITS_ADDRESSES)) or diagnosis.code == "unauthorized"
    )


def pause_seconds(looks: int, fraction: float) -> float:
    """
    Give how long to wait before the look that follows *looks* others; a *fraction* is a random number in [0, 1).
    """
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(looks, _MOST_DOUBLINGS), LONGEST_PAUSE_SECONDS)
    return pause * (1 - _JITTER + 2 * _JITTER * fraction)


def printed(seen: Seen, *, is_of_caa: bool) -> Print | None:
    """
    Give what tells what was *seen* from other answers, or None where an answer is missing.
    """
    outcomes = [seen.ipv4.outcome, seen.ipv6.outcome, *(one.outcome for one in seen.caa if is_of_caa)]
    if not {"failed", "silent"}.isdisjoint(outcomes):
        return None
    aliases = seen.ipv4.aliases or seen.ipv6.aliases
    caa = frozenset(seen.closest_caa) if is_of_caa else frozenset()
    return Print(frozenset(seen.addresses), aliases[-1] if aliases else "", caa)


def failed(before: Watched | None, directory: str, code: str, seen: Seen | None) -> Watched:
    """
    Give what is remembered after an attempt failed while this was *seen* (None: nothing was).
    """
    watched = Watched(directory, code)
    is_same = before is not None and (before.directory, before.is_of_caa) == (directory, watched.is_of_caa)
    if before is not None and is_same:
        watched = attrs.evolve(before, code=code)
    if seen is None:
        return watched
    found = printed(seen, is_of_caa=watched.is_of_caa)
    return attrs.evolve(watched, tried=(watched.tried or frozenset()) | (frozenset() if found is None else {found}))


def compared(watched: Watched, seen: Seen | None, findings: Iterable[Finding]) -> Same | Changed:
    """
    Judge what a look has *seen*, and what is to be found in that.
    """
    looked = attrs.evolve(watched, looks=watched.looks + 1)
    found = None if seen is None else printed(seen, is_of_caa=watched.is_of_caa)
    if found is None:
        return Same(looked)
    is_in_vain = any(finding.is_fatal for finding in findings)
    if watched.tried is None:
        looked = attrs.evolve(looked, tried=frozenset({found}))
        is_news = watched.code in _SEEN_IN_DNS
    else:
        is_news = found not in watched.tried and len(watched.tried) < MOST_TRIED
    if is_in_vain or not is_news:
        return Same(looked)
    return Changed(attrs.evolve(looked, tried=(watched.tried or frozenset()) | {found}, looks=0), found)
