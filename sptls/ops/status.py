"""
How the daemon fares, as plain values that JSON can hold: each domain's certificate and next step, upstreams, counters.

Pure: it is given what the parts know. Nothing secret is in what they give, and no tracking path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.proxy.counters import Counters


@attrs.frozen
class DomainStatus:
    """
    One domain: its *state* in a word, the certificate that is served (None: none), and what comes next.

    *source* is the ACME directory, "internal", or "own". *problem* is the last failure or fault, "" when all is well.
    """

    name: str
    state: str
    source: str
    bundle: CertificateBundle | None = None
    renew_at: datetime | None = None
    next_attempt_at: datetime | None = None
    problem: str = ""


def own_state(bundle: CertificateBundle, faults: tuple[str, ...], now: datetime) -> str:
    """
    Give the word for an own certificate: nobody but the operator can renew it.
    """
    if bundle.not_after <= now:
        return "expired"
    return "faulty" if faults else "valid"


def domain_json(domain: DomainStatus) -> dict[str, Any]:
    """
    Give what ``/status`` says of one domain.
    """
    bundle = domain.bundle
    return {
        "name": domain.name,
        "state": domain.state,
        "source": domain.source,
        "issuer": bundle.issuer if bundle else None,
        "serial": bundle.serial if bundle else None,
        "not_before": _moment(bundle.not_before) if bundle else None,
        "not_after": _moment(bundle.not_after) if bundle else None,
        "renew_at": _moment(domain.renew_at),
        "next_attempt_at": _moment(domain.next_attempt_at),
        "problem": domain.problem or None,
    }


def status_json(
    *, version: str, serving: bool, started_at: datetime, domains: Iterable[DomainStatus], **parts: Any
) -> dict[str, Any]:
    """
    Give the whole of ``/status``; *parts* are sections that hold plain values already.
    """
    listed = [domain_json(domain) for domain in domains]
    states: dict[str, int] = {}
    for domain in listed:
        states[domain["state"]] = states.get(domain["state"], 0) + 1
    return {
        "version": version,
        "serving": serving,
        "started_at": _moment(started_at),
        "states": states,
        "domains": listed,
        **parts,
    }


def http_json(counters: Counters) -> dict[str, Any]:
    """
    Give the proxy's counters; answers by class, as people say it (``4xx``).
    """
    told = attrs.asdict(counters)
    told["answers"] = {f"{digit}xx": count for digit, count in enumerate(counters.answers) if 1 <= digit <= 5}
    return told


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
