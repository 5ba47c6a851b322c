"""
How the daemon fares, as plain values that JSON can hold: each domain's certificate and next step, upstreams, counters.

Pure: it is given what the parts know. Nothing secret is in what they give, and no tracking path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from sptls.certs.diagnosis import of_own, unnamed

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Diagnosis
    from sptls.certs.standing import NameState
    from sptls.deploy.plan import DeployState
    from sptls.names import HostName
    from sptls.precheck import Check
    from sptls.proxy.counters import Counters


@attrs.frozen
class DomainStatus:
    """
    One domain: its *state* in a word, the certificate that is served (None: none), and what comes next.

    *source* is where that certificate came from (without one: where it is to come from): an ACME directory's URL,
    "internal", "own", or "passthrough", where it is another server's and not known here. *problem* is the last failure
    or fault, "" when all is well. *deployment* tells of its files for another server, where there are any. *diagnosis*
    says what the problem of an order means.
    *explanation_url* is where the CA explains when it wants the certificate renewed, "" where it does not.
    *dns_changed_at* is when the DNS of a name that failed was seen to have changed, so that it is tried again.
    """

    name: str
    state: str
    source: str
    bundle: CertificateBundle | None = None
    renew_at: datetime | None = None
    next_attempt_at: datetime | None = None
    problem: str = ""
    deployment: DeployState | None = None
    diagnosis: Diagnosis | None = None
    explanation_url: str = ""
    dns_changed_at: datetime | None = None


@attrs.frozen
class Reading:
    """
    What came of reading the configuration: when, its *faults* (then the old one is in force), what waits for a restart.
    """

    read_at: datetime
    faults: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


def reading_json(reading: Reading) -> dict[str, Any]:
    """
    Give what ``/status`` says of the configuration.
    """
    return {
        "read_at": _moment(reading.read_at),
        "faults": list(reading.faults),
        "needs_restart": list(reading.needs_restart),
    }


def own_state(bundle: CertificateBundle, faults: tuple[str, ...], now: datetime) -> str:
    """
    Give the word for an own certificate: nobody but the operator can renew it.
    """
    if bundle.not_after <= now:
        return "expired"
    return "faulty" if faults else "valid"


def passed_through(name: HostName) -> DomainStatus:
    """
    Give the status of a *name* that another server has, certificate and all.
    """
    return DomainStatus(name.text, "passed through", "passthrough")


def ordered_state(state: str, source: str, directories: Container[str]) -> str:
    """
    Give the word for an ordered certificate, of which the renewer says *state*.

    One from another *source* than the *directories* that are configured now (staging, before production) is served
    until its successor comes, but never said to be good. A failure is the worse news, and stays.
    """
    return "replacing" if source not in directories and state in {"valid", "renewing"} else state


def ordered_status(
    name: HostName, state: NameState, bundle: CertificateBundle | None, directories: Sequence[str]
) -> DomainStatus:
    """
    Give the status of a *name* whose certificate is ordered, from one of *directories* as they are configured now.
    """
    source = state.directory or directories[0]
    word = ordered_state(state.state, source, directories)
    return DomainStatus(
        name.text,
        word,
        source,
        bundle,
        state.renew_at,
        state.next_attempt_at,
        state.last_error,
        diagnosis=state.diagnosis,
        explanation_url=state.explanation_url,
        dns_changed_at=state.dns_changed_at,
    )


def deployment_json(deployment: DeployState) -> dict[str, Any]:
    """
    Give what ``/status`` says of a domain's files for another server.
    """
    return {
        "state": deployment.state,
        "serial": deployment.serial or None,
        "next_attempt_at": _moment(deployment.next_attempt_at),
        "problem": deployment.last_error or None,
    }


def domain_json(domain: DomainStatus) -> dict[str, Any]:
    """
    Give what ``/status`` says of one domain.
    """
    bundle, diagnosis = domain.bundle, domain.diagnosis
    if diagnosis is None and domain.problem:
        diagnosis = of_own(domain.problem) if domain.source == "own" else unnamed(domain.problem)
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
        "code": diagnosis.code if diagnosis else None,
        "cause": diagnosis.cause if diagnosis else None,
        "who": diagnosis.who.value if diagnosis else None,
        "advice": diagnosis.advice if diagnosis else None,
        "explanation_url": domain.explanation_url or None,
        "dns_changed_at": _moment(domain.dns_changed_at),
        "deployment": None if domain.deployment is None else deployment_json(domain.deployment),
    }


def check_json(check: Check) -> dict[str, Any]:
    """
    Give what a self-check of a domain saw: where its DNS leads, who answers there, and what is wrong with that.
    """
    return {
        "addresses": None if check.seen is None else list(check.seen.addresses),
        "answers": [
            {"address": one.address, "port": one.port, "verdict": one.verdict, "words": one.words}
            for one in check.reached
        ],
        "findings": [
            {
                "code": one.diagnosis.code,
                "cause": one.diagnosis.cause,
                "who": one.diagnosis.who.value,
                "advice": one.diagnosis.advice,
                "is_fatal": one.is_fatal,
            }
            for one in check.findings
        ],
    }


def status_text(
    *, version: str, serving: bool, started_at: datetime | None, domains: Iterable[DomainStatus], **parts: Any
) -> Iterator[str]:
    """
    Give the whole of ``/status`` as JSON, in pieces of a domain each; *parts* are sections of plain values.

    The *domains* are asked for one by one, as the pieces are: 100,000 of them take a second. *started_at* is None
    where no daemon runs.
    """
    # No indent: with one, json leaves its C encoder.
    head = {"version": version, "serving": serving, "started_at": _moment(started_at), **parts}
    yield json.dumps(head)[:-1] + ', "domains": ['
    states: dict[str, int] = {}
    for index, domain in enumerate(domains):
        states[domain.state] = states.get(domain.state, 0) + 1
        yield (", " if index else "") + json.dumps(domain_json(domain))
    yield '], "states": ' + json.dumps(states) + "}\n"


def http_json(counters: Counters) -> dict[str, Any]:
    """
    Give the proxy's counters; answers by class, as people say it (``4xx``).
    """
    told = attrs.asdict(counters)
    told["answers"] = {f"{digit}xx": count for digit, count in enumerate(counters.answers) if 1 <= digit <= 5}
    return told


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
