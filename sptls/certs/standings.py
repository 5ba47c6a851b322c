"""
The names that are taken care of; one that nothing is known of begins to cost something only when its turn comes.

Of 100,000 names most may have no certificate yet, after a start or a reload. To plan them all takes most of a second,
in which no client is served: so they come up a few at a time, and at once when somebody asks for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.certs.records import NO_HISTORY
from sptls.certs.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from sptls.certs.records import Loaded, StoredCertificate
    from sptls.names import HostName


def recalled(name: HostName, loaded: Loaded) -> Standing | None:
    """
    Tell how *name* stands by what was *loaded*, or give None when nothing is known of it.
    """
    certificate, history = loaded.certificates.get(name), loaded.histories.get(name, NO_HISTORY)
    if certificate is None and history is NO_HISTORY:
        return None
    found = Standing(name, certificate, history)
    advice = loaded.advices.get(name)
    if certificate is not None and advice is not None and advice.serial == certificate.bundle.serial:
        found.advice = advice
    found.is_resuming = history.attempt_started_at is not None and name in loaded.orders
    return found


class Standings:
    """
    How each name stands. *come_up* is called with each one that was put off, when it comes up.
    """

    def __init__(self, come_up: Callable[[Standing], None]) -> None:
        self._come_up = come_up
        self._here: dict[HostName, Standing] = {}
        self._put_off: dict[HostName, None] = {}

    def put(self, standing: Standing) -> None:
        """
        Take in a name of which something is known.
        """
        self._here[standing.name] = standing

    def put_off(self, names: Iterable[HostName]) -> None:
        """
        Take in *names* of which nothing is known, after those that were put off before.
        """
        self._put_off.update(dict.fromkeys(names))

    def get(self, name: HostName) -> Standing | None:
        """
        Tell how *name* stands, or give None when it is not taken care of; if it was put off, it comes up now.
        """
        found = self._here.get(name)
        if found is None and name in self._put_off:
            found = self._bring_up(name)
        return found

    def certificate(self, name: HostName) -> StoredCertificate | None:
        """
        Give *name*'s certificate, or None; one that was put off has none, and does not come up for it.
        """
        found = self._here.get(name)
        return None if found is None else found.certificate

    def bring_up(self, count: int) -> bool:
        """
        Let *count* of those that were put off come up, in their order; tell whether there are more.
        """
        for name in [name for _, name in zip(range(count), self._put_off, strict=False)]:
            self._bring_up(name)
        return bool(self._put_off)

    def keep(self, names: Container[HostName]) -> list[Standing]:
        """
        Let go of all but *names*; give how those stood that had come up.
        """
        for name in [name for name in self._put_off if name not in names]:
            del self._put_off[name]
        return [self._here.pop(name) for name in [name for name in self._here if name not in names]]

    def values(self) -> Iterable[Standing]:
        """
        Give those that have come up.
        """
        return self._here.values()

    def __contains__(self, name: HostName) -> bool:
        return name in self._here or name in self._put_off

    def _bring_up(self, name: HostName) -> Standing:
        del self._put_off[name]
        standing = self._here[name] = Standing(name, None, NO_HISTORY)
        self._come_up(standing)
        return standing
