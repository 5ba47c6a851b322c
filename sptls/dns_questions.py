"""
Asks DNS servers for a few records of a name, by twisted.names, which is imported with the first question.

What the answers mean is `certs.precheck_rules`' to say. A question that gets no answer is answered so: no error leaves
this module but a cancellation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError

from sptls.asking import all_of
from sptls.certs import precheck_rules as rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.config import AcmeConfig

# For all questions together; less than a stop waits for what runs.
QUESTIONS_SECONDS: Final = 4.0
# Each server is asked once with each of these.
_ASK_SECONDS: Final = (1, 2)
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
# RFC 8659 §4; twisted.names has no name for it.
_CAA: Final = 257


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
            return await all_of(self._ask(name, kind) for name, kind in questions)
        finally:
            for connection in tuple(self._resolver.connections):
                connection.transport.loseConnection()

    async def _ask(self, name: str, kind: str) -> rules.Answer:
        from twisted.names import dns

        query = dns.Query(name, {"A": dns.A, "AAAA": dns.AAAA, "CAA": _CAA}[kind], dns.IN)
        try:
            message = await self._resolver.queryUDP([query])
            if message.trunc:
                message = await self._resolver.queryTCP([query], int(QUESTIONS_SECONDS))
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - time is up, no route, nobody listens: it is all the same
            return rules.Answer("silent")
        return answer_in(message)


def answer_in(message: Any) -> rules.Answer:
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
            aliases.append(record.payload.name.name.decode("ascii", "backslashreplace"))
        elif record.type == _CAA:
            caa.append(rules.caa_of(record.payload.data))
    outcome: rules.Outcome = "nxdomain" if message.rCode == dns.ENAME else "found"
    return rules.Answer(outcome, tuple(addresses), tuple(aliases), tuple(one for one in caa if one is not None))


def _ipv6(packed: bytes) -> str:
    from ipaddress import IPv6Address

    return str(IPv6Address(packed))


def servers(acme: AcmeConfig) -> tuple[tuple[str, int], ...]:
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
