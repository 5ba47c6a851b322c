"""
The self-check: a name seen from here, before an order where the configuration makes it a gate, else after a failure.

Looks at A, AAAA and CAA (`dns_questions`), then asks for our own challenge answers at the addresses that came
(`reaching`); `certs.precheck_rules` and `certs.reach_rules` say what it means. An order that succeeds costs no look
unless ``acme.precheck`` is ``require``: what is seen a second after a failure explains it as well. Nothing that goes
wrong with a look hinders an order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from sptls.certs import precheck_rules as rules
from sptls.certs import reach_rules
from sptls.certs.diagnose import diagnose
from sptls.certs.diagnosis import joined
from sptls.certs.learnt_addresses import LearntAddresses
from sptls.config import INTERNAL_DIRECTORY
from sptls.dns_questions import QUESTIONS_SECONDS, Dns, servers
from sptls.errors import IssuanceFailed, OrderCancelled, PrecheckFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from sptls.certs.diagnosis import Finding
    from sptls.config import AcmeConfig
    from sptls.interfaces import IAcmeRecords
    from sptls.names import HostName
    from sptls.reaching import Reach

    # Told of a failure: the name, the CA's directory, the diagnosis' code, and what was seen.
    Failed = Callable[[HostName, str, str, rules.Seen | None], object]

T = TypeVar("T")

_log = Logger()

# For a whole look, DNS and answers; less than a stop waits for what runs.
LOOK_SECONDS: Final = QUESTIONS_SECONDS


@attrs.frozen
class Check:
    """
    What a look saw (None: nothing in time), what each address answered, and what is wrong.
    """

    seen: rules.Seen | None = None
    reached: tuple[reach_rules.Reached, ...] = ()
    findings: tuple[Finding, ...] = ()


class Precheck:
    """
    Looks at names for *cas*, as each of them is configured; *records* has the accounts that CAA records may name.

    *reach* asks for our answers; `failed` hears of each failure that was looked into.
    """

    def __init__(
        self,
        reactor: Any,
        records: IAcmeRecords,
        cas: Iterable[AcmeConfig],
        reach: Reach,
    ) -> None:
        self._reactor, self._records, self._reach = reactor, records, reach
        self.failed: Failed = lambda *_: None
        self.learnt = LearntAddresses()
        self._cas: dict[str, AcmeConfig] = {}
        self.configure(cas)

    def configure(self, cas: Iterable[AcmeConfig]) -> None:
        """
        Look as *cas* say from now on.
        """
        looked_for = (acme for acme in cas if acme.directory != INTERNAL_DIRECTORY and acme.precheck != "off")
        self._cas = {acme.directory: acme for acme in looked_for}

    async def gate(self, name: HostName, directory: str) -> None:
        """
        Let an order for *name* at *directory*'s CA begin, unless it is known to be in vain.

        Raises:
            IssuanceFailed: it is, by `PrecheckFailed`; or the order was cancelled meanwhile.
        """
        acme = self._cas.get(directory)
        if acme is None or acme.precheck != "require":
            return
        try:
            findings = (await self._check(name, acme)).findings
        except CancelledError:
            raise IssuanceFailed(OrderCancelled()) from None
        if any(finding.is_fatal for finding in findings):
            raise IssuanceFailed(PrecheckFailed(name.text, findings))

    async def explain(self, name: HostName, directory: str, error: BaseException) -> tuple[Finding, ...]:
        """
        Give what may explain that an order for *name* at *directory*'s CA ended with *error*.
        """
        acme = self._cas.get(directory)
        if acme is None or not rules.concerns_name(error):
            return ()
        self.learnt.failed(name)
        check = await self._check(name, acme)
        self.failed(name, directory, joined(diagnose(error), check.findings).code, check.seen)
        return check.findings

    async def examine(self, name: HostName, directory: str) -> Check | None:
        """
        Give all that can be seen of *name* now, for people; None where *directory*'s CA is none that is looked for.
        """
        acme = self._cas.get(directory)
        return None if acme is None else await self._check(name, acme)

    async def look(
        self, name: HostName, directory: str, *, with_caa: bool
    ) -> tuple[rules.Seen, Sequence[Finding]] | None:
        """
        Give what the DNS says of *name* now, and what that means for an order at *directory*'s CA; None for nothing.
        """
        acme = self._cas.get(directory)
        if acme is None:
            return None
        seen = await self._bounded(name, self._see(name, acme, with_caa=with_caa))
        return None if seen is None else (seen, rules.judge(seen, await self._ours(acme)))

    async def _check(self, name: HostName, acme: AcmeConfig) -> Check:
        """
        Look at *name*; without an answer in time, or with a fault here, nothing is found.
        """
        until = self._reactor.seconds() + LOOK_SECONDS
        seen = await self._bounded(name, self._see(name, acme, with_caa=True))
        if seen is None:
            return Check()
        left = until - self._reactor.seconds()
        reached = await self._reach.ask(name, seen.addresses, acme.challenges, left, acme.addresses)
        here = reach_rules.came_back(reached)
        self.learnt.lead_here(here, self._reactor.seconds())
        ours = await self._bounded(name, self._ours(acme, here))
        if ours is not None and reach_rules.is_telling(reached):
            ours = attrs.evolve(ours, learnt=frozenset())
        found = () if ours is None else rules.judge(seen, ours)
        return Check(seen, reached, (*found, *reach_rules.findings(reached, acme.addresses)))

    async def _bounded(self, name: HostName, work: Coroutine[Deferred[Any], Any, T]) -> T | None:
        """
        Give what *work* comes to, or None.
        """
        try:
            return await Deferred.fromCoroutine(work).addTimeout(LOOK_SECONDS, self._reactor)
        except CancelledError:
            raise
        except DeferredTimeoutError:
            return None
        except Exception:  # noqa: BLE001 - advice only: whatever it is, the order goes on
            _log.failure("{name}: it could not be looked at", name=name)
            return None

    async def _see(self, name: HostName, acme: AcmeConfig, *, with_caa: bool) -> rules.Seen:
        """
        Ask for *name*'s records; and, where nobody has said which addresses are ours, for those of names that were.
        """
        caa_names = rules.caa_names(name) if with_caa else ()
        learning = () if acme.addresses or not with_caa else self.learnt.names_to_ask(self._reactor.seconds())
        ipv4, ipv6, *others = await Dns(self._reactor, servers(acme)).ask(
            [
                (name.text, "A"),
                (name.text, "AAAA"),
                *((each, "CAA") for each in caa_names),
                *((each.text, kind) for each in learning for kind in ("A", "AAAA")),
            ]
        )
        caa, known = others[: len(caa_names)], others[len(caa_names) :]
        self.learnt.lead_here((address for one in known for address in one.addresses), self._reactor.seconds())
        return rules.Seen(ipv4, ipv6, tuple(caa))

    async def _ours(self, acme: AcmeConfig, here: frozenset[str] = frozenset()) -> rules.Ours:
        """
        Give what answers are compared with; *here* are addresses at which this proxy has just answered.
        """
        account = await self._records.account(acme.directory)
        return rules.Ours(
            frozenset((*acme.addresses, *here)) if acme.addresses else frozenset(),
            rules.ca_domains(acme.directory),
            "" if account is None else account.url,
            acme.challenges,
            self.learnt.known(self._reactor.seconds()),
        )
