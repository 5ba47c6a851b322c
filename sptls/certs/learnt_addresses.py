"""
The addresses that are known, for a while, to lead to this proxy, where nobody has said which they are. Pure.

Learnt from what names resolve to that were validated here, and from our own answers that came back. They word advice
and decide nothing: a proxy that has moved must not lock itself out. So they are kept in memory only; the first failure
after a restart learns them anew. Moments are monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sptls.names import HostName

# A name that was validated here may have moved a minute later; an hour is what a failure's advice may lag behind.
LEARNT_SECONDS: Final = 3600.0
# A proxy has one address of each family, or a few.
MOST_ADDRESSES: Final = 16
# So many names are looked up to learn from, the last ones that were validated.
MOST_NAMES: Final = 3


class LearntAddresses:
    """
    What was learnt, and the names to learn from.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        self._names: OrderedDict[HostName, None] = OrderedDict()
        self._asked_until = float("-inf")

    def validated(self, name: HostName) -> None:
        """
        Take note that *name* has got a certificate, so that it led here.
        """
        self._names[name] = None
        self._names.move_to_end(name)
        while len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)

    def failed(self, name: HostName) -> None:
        """
        Take note that *name* can't be learnt from any more.
        """
        self._names.pop(name, None)

    def names_to_ask(self, now: float) -> tuple[HostName, ...]:
        """
        Give the names whose addresses are to be looked up *now*; none where that was done within the hour.
        """
        if now < self._asked_until or not self._names:
            return ()
        self._asked_until = now + LEARNT_SECONDS
        return tuple(self._names)

    def lead_here(self, addresses: Iterable[str], now: float) -> None:
        """
        Take note that *addresses* lead to this proxy.
        """
        for address in addresses:
            self._until[address] = now + LEARNT_SECONDS
            self._until.move_to_end(address)
        while len(self._until) > MOST_ADDRESSES:
            self._until.popitem(last=False)

    def known(self, now: float) -> frozenset[str]:
        """
        Give what is known.
        """
        return frozenset(address for address, until in self._until.items() if now < until)
