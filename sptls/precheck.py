"""
A look at a name's DNS, from here: before an order where the configuration makes it a gate, otherwise after a failure.

Asks for A, AAAA and CAA by twisted.names, which is imported when the first name is looked at; `certs.precheck_rules`
says what the answers mean. An order that succeeds costs no look unless ``acme.precheck`` is ``require``: what the DNS
says a second after a failure explains it as well. Nothing that goes wrong with a look hinders an order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from sptls.certs import precheck_rules as rules
from sptls.config import INTERNAL_DIRECTORY
from sptls.errors import IssuanceFailed, OrderCancelled, PrecheckFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sptls.certs.diagnosis import Finding
    from sptls.config import AcmeConfig
    from sptls.interfaces import IAcmeRecords
    from sptls.names import HostName

_log = Logger()

# For all questions together; less than a stop waits for what runs.
LOOK_SECONDS: Final = 4.0
# Each server is asked once with each of these.
_ASK_SECONDS: Final = (1, 2)
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
# RFC 8659 §4; twisted.names has no name for it.
_CAA: Final = 257


class Precheck:
    """
    Looks at names for *cas*, as each of them is configured; *records* has the accounts that CAA records may name.
    """

    def __init__(self, reactor: Any, records: IAcmeRecords, cas: Iterable[AcmeConfig]) -> None:
        self._reactor, self._records = reactor, records
        self._cas: dict[str, AcmeConfig] = {}
        self.configure(cas)

    def configure(self, cas: Iterable[AcmeConfig]) -> None:
        """
        Look as *cas* say from now on.
        """
        self._cas = {acme.directory: acme for acme in cas if acme.directory != INTERNAL_DIRECTORY}

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
            findings = await self._look(name, acme)
        except CancelledError:
            raise IssuanceFailed(OrderCancelled()) from None
        if any(finding.is_fatal for finding in findings):
            raise IssuanceFailed(PrecheckFailed(name.text, findings))

    async def explain(self, name: HostName, directory: str, error: BaseException) -> tuple[Finding, ...]:
        """
        Give what may explain that an order for *name* at *directory*'s CA ended with *error*.
        """
        acme = self._cas.get(directory)
        if acme is None or acme.precheck == "off" or not rules.concerns_name(error):
            return ()
        return await self._look(name, acme)

    async def _look(self, name: HostName, acme: AcmeConfig) -> tuple[Finding, ...]:
        """
        Look at *name*; without an answer in time, or with a fault here, nothing is found.
        """
        looking = Deferred.fromCoroutine(self._ask_all(name, acme))
        try:
            return await looking.addTimeout(LOOK_SECONDS, self._reactor)
        except CancelledError:
            raise
        except DeferredTimeoutError:
            return ()
        except Exception:  # noqa: BLE001 - advice only: whatever it is, the order goes on
            _log.failure("{name}: its DNS could not be looked at", name=name)
            return ()

    async def _ask_all(self, name: HostName, acme: AcmeConfig) -> tuple[Finding, ...]:
        account = await self._records.account(acme.directory)
        ours = rules.Ours(
            frozenset(acme.addresses),
            rules.ca_domains(acme.directory),
            "" if account is None else account.url,
            acme.challenges,
        )
        dns = Dns(self._reactor, _servers(acme))
        ipv4, ipv6, *caa = await dns.ask(
            [(name.text, "A"), (name.text, "AAAA"), *((each, "CAA") for each in rules.caa_names(name))]
        )
        return rules.judge(ipv4, ipv6, caa, ours)


class Dns:
    """
    Asks recursive *servers* (hosts and ports).
    """

    def __init__(self, reactor: Any, servers: Sequence[tuple[str, int]]) -> None:
        # Ten milliseconds and two megabytes that most restarts don't need.
        from twisted.names import client

        self._resolver: Any = client.Resolver(servers=list(servers), timeout=_ASK_SECONDS, reactor=reactor)

    async def ask(self, questions: Sequence[tuple[str, str]]) -> list[rules.Answer]:
        """
        Give the answer to each of *questions*, names and types.
        """
        try:
            asking = [Deferred.fromCoroutine(self._ask(name, kind)) for name, kind in questions]
            # Cancelled it cancels all of them; gatherResults would make another error of that.
            return [_given(*answer) for answer in await DeferredList(asking, consumeErrors=True)]
        finally:
            for connection in tuple(self._resolver.connections):
                connection.transport.loseConnection()

    async def _ask(self, name: str, kind: str) -> rules.Answer:
        from twisted.names import dns

        query = dns.Query(name, {"A": dns.A, "AAAA": dns.AAAA, "CAA": _CAA}[kind], dns.IN)
        try:
            message = await self._resolver.queryUDP([query])
            if message.trunc:
                message = await self._resolver.queryTCP([query], int(LOOK_SECONDS))
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - time is up, no route, nobody listens: it is all the same
            return rules.Answer("silent")
        return _answer(message)


def _given(is_given: bool, result: Any) -> rules.Answer:
    if not is_given:
        result.raiseException()
    answer: rules.Answer = result
    return answer


def _answer(message: Any) -> rules.Answer:
    """
    Give what a DNS *message* says.
    """
    from twisted.names import dns

    if message.rCode not in {dns.OK, dns.ENAME}:
        return rules.Answer("failed")
    addresses, aliases, caa = [], [], []
    for record in message.answers:
        if record.type in {dns.A, dns.AAAA}:
            payload: Any = record.payload
            addresses.append(payload.dottedQuad() if record.type == dns.A else _ipv6(payload.address))
        elif record.type == dns.CNAME:
            aliases.append(str(record.payload.name))
        elif record.type == _CAA:
            caa.append(rules.caa_of(record.payload.data))
    outcome: rules.Outcome = "nxdomain" if message.rCode == dns.ENAME else "found"
    return rules.Answer(outcome, tuple(addresses), tuple(aliases), tuple(one for one in caa if one is not None))


def _ipv6(packed: bytes) -> str:
    from ipaddress import IPv6Address

    return str(IPv6Address(packed))


def _servers(acme: AcmeConfig) -> tuple[tuple[str, int], ...]:
    """
    Give the servers to ask: the one that is configured, or the system's.
    """
    if acme.resolver is not None:
        return ((acme.resolver.host, acme.resolver.port),)
    try:
        text = _RESOLV_CONF.read_text("utf-8", "replace")  # a few lines
    except OSError:
        text = ""
    return rules.name_servers(text)
