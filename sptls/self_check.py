"""
The self-check's parts and how they meet: the look at a name, the watch on the DNS of those that fail, what is learnt.

`precheck` looks, `reaching` asks for our answers, `certs.dns_watch` has a name tried again when its DNS has changed.
Decides nothing itself.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sptls.certs.dns_watch import DnsWatch
from sptls.certs.learnt_addresses import MOST_NAMES
from sptls.clock import wall_time
from sptls.precheck import Precheck
from sptls.reaching import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sptls.certs.records import Loaded
    from sptls.certs.renewer import Renewer
    from sptls.config import AcmeConfig
    from sptls.interfaces import IAcmeRecords
    from sptls.names import HostName
    from sptls.precheck import Check

# A name that was validated so recently may be expected to lead here still.
VALIDATED: Final = timedelta(days=30)


class SelfCheck:
    """
    Checks names for *cas*, with probes that *responders* answer; `precheck` is what the renewer looks by.

    *records* has the accounts at the CAs, *random* gives numbers in [0, 1).
    """

    def __init__(
        self,
        reactor: Any,
        records: IAcmeRecords,
        cas: Iterable[AcmeConfig],
        responders: Iterable[Any],
        random: Callable[[], float],
    ) -> None:
        self._reach = Reach(reactor, responders)
        self.precheck = Precheck(reactor, records, cas, self._reach)
        self._watch = DnsWatch(self.precheck, self._changed, reactor, random)
        self.precheck.failed = self._watch.failed
        self._renewer: Renewer | None = None

    def start(self, renewer: Renewer, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Watch those of *names* that fail, and have *renewer* try them; *loaded* is what was stored.
        """
        self._renewer = renewer
        since = wall_time() - VALIDATED
        recent = (name for name, one in loaded.certificates.items() if one.bundle.not_before > since)
        for name in islice(recent, MOST_NAMES):
            self.precheck.learnt.validated(name)
        self._watch.start(names, loaded.histories)

    async def stop(self) -> None:
        """
        Watch no more.
        """
        await self._watch.stop()

    def configure(self, cas: Iterable[AcmeConfig], responders: Iterable[Any]) -> None:
        """
        Check as *cas* say from now on, with probes that *responders* answer.
        """
        self.precheck.configure(cas)
        self._reach.answer_by(responders)

    def set_names(self, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Watch none but *names* from now on; *loaded* is what was stored of new ones.
        """
        self._watch.set_names(names, loaded.histories)

    def issued(self, name: HostName) -> None:
        """
        Take note that *name* has got a certificate: it fails no more, and leads here.
        """
        self._watch.forget(name)
        self.precheck.learnt.validated(name)

    async def examine(self, name: HostName) -> Check | None:
        """
        Give all that can be seen of *name* from here now; None where nothing is looked for.

        What the DNS says counts as a look of the watch: if it has changed, the name is tried at once.
        """
        directory = None if self._renewer is None else self._renewer.directory_of(name)
        check = None if directory is None else await self.precheck.examine(name, directory)
        if check is not None:
            self._watch.noticed(name, check.seen, check.findings)
        return check

    def _changed(self, name: HostName) -> None:
        if self._renewer is not None:
            self._renewer.dns_changed(name)
