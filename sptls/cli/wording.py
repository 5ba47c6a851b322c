"""
How a domain's status reads: its issuer's name, how long its certificate lasts, what happens next. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sptls.certs.diagnosis import Who
from sptls.cli.domain import NOT_TOLD, UNDER_WAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sptls.cli.domain import Domain

# RFC 4514: a value ends at a comma that is not escaped.
_COMMON_NAME: Final = re.compile(r"(?:^|[,+])CN=((?:\\.|[^,+\\])*)")
_ESCAPED: Final = re.compile(r"\\(.)")
# C0 and C1 controls: a CA's words must not move the cursor of a terminal, nor begin a line.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# What a self-check's verdict says for itself; the others have words.
_VERDICTS: Final = {"ours": "this proxy answers"}
# By these the next step is known.
_WHEN: Final = frozenset({"state", "source", "renew_at", "next_attempt_at"})
_MORE: Final = "more, in words of another version that this command does not know"
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


def plain(text: str) -> str:
    """
    Give *text* on one line, with nothing in it that a terminal obeys.
    """
    return _CONTROLS.sub(" ", text).strip()


def issuer(domain: Domain) -> str:
    """
    Give the issuer's common name, or the whole of its name where it has none.
    """
    found = _COMMON_NAME.search(domain.issuer)
    return plain(_ESCAPED.sub(r"\1", found[1]) if found else domain.issuer) or "-"


def validity(domain: Domain, now: datetime) -> str:
    """
    Say until when the certificate is valid, and how long that is.
    """
    if domain.is_passed_through:
        return "the other server's"
    if domain.not_after is None:
        return NOT_TOLD if "not_after" in domain.unread else "no certificate"
    left = domain.not_after - now
    if left <= timedelta(0):
        return f"expired {domain.not_after:%Y-%m-%d %H:%M}, {span(-left)} ago"
    return f"{domain.not_after:%Y-%m-%d %H:%M} ({span(left)} left)"


def next_step(domain: Domain, now: datetime) -> str:
    """
    Say what happens next with the domain, or what has to.
    """
    if domain.is_own:
        return "yours to renew"
    if domain.is_passed_through:
        return "the other server's to renew"
    if domain.dns_changed_at is not None:
        waits = domain.next_attempt_at is not None and domain.next_attempt_at > now
        at = f" {_when(domain.next_attempt_at, now)}" if waits and domain.next_attempt_at else ""
        return f"DNS changed at {domain.dns_changed_at:%Y-%m-%d %H:%M} UTC, trying again{at}"
    if domain.next_attempt_at is not None and domain.next_attempt_at > now:
        return f"attempt {_when(domain.next_attempt_at, now)}"
    if not _WHEN.isdisjoint(domain.unread):
        return NOT_TOLD
    if domain.state in UNDER_WAY and domain.state != "waiting":
        return "order under way"
    if domain.renew_at is not None and domain.renew_at > now:
        return f"renewal {_when(domain.renew_at, now)}"
    return "order is due"


def problem(domain: Domain) -> str:
    """
    Say what is wrong with the certificate and who must act, and what is with its files for another server.
    """
    deployment = f"deployment: {domain.deploy_problem}" if domain.deploy_problem else ""
    must_act = f"to act: {who(domain)}" if domain.cause and domain.who else ""
    return "; ".join(filter(None, (domain.cause or domain.problem, must_act, deployment)))


def who(domain: Domain) -> str:
    """
    Say who must act.
    """
    try:
        return Who(domain.who).words
    except ValueError:  # a newer daemon's
        return domain.who


def explanation(
    domain: Domain,
    orders: Iterable[tuple[str, Sequence[str]]],
    now: datetime,
    check: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, str]]:
    """
    Give all that is known of the domain: what each line is about, and what it says.

    *orders* are the CAs that are configured, in their order, with the challenge types that are answered there; *check*
    is what the daemon saw of it just now, None where it did not look.
    """
    told = (
        ("state", domain.state),
        ("certificate", _certificate(domain, now)),
        ("cause", domain.cause),
        ("to act", who(domain)),
        ("what to do", domain.advice),
        ("in its own words", domain.problem if domain.problem != domain.cause else ""),
        ("deployment", domain.deploy_problem),
        *(() if check is None else _seen(check)),
        ("next", next_step(domain, now)),
        *(("will be asked", _order(directory, kinds)) for directory, kinds in orders if domain.is_ordered),
        ("the CA explains", domain.explanation_url),
    )
    return ((title, plain(words)) for title, words in told if words)


def _seen(check: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """
    Give what the daemon saw: where the DNS leads, who answers there, and what is wrong with that.

    A daemon of another version may say it in another way: that there is more than what is understood is said then.
    """
    lines: list[tuple[str, str] | None] = []
    match check:
        case {"addresses": None}:
            lines.append(("seen from here", "its DNS gave no answer in time"))
        case {"addresses": [*addresses]} if all(isinstance(address, str) for address in addresses):
            lines.append(("seen from here", f"leads to {', '.join(addresses) or 'no address'}"))
        case _:
            lines.append(None)
    for key, line in (("answers", _answer), ("findings", _finding)):
        told = check.get(key, [])
        lines.extend(map(line, told) if isinstance(told, list) else [None])
    yield from (line for line in lines if line is not None and line[1])
    if None in lines:
        yield "seen from here", _MORE


def _answer(told: object) -> tuple[str, str] | None:
    """
    Give what an address answers, "" where it was not asked; None where that is not understood.
    """
    match told:
        case {"address": str(address), "port": int(port), "verdict": str(verdict), **more}:
            said = _VERDICTS.get(verdict, "") or more.get("words", "")
            if not isinstance(said, str):
                return None
            return "", f"{address} port {port}: {said}" if said else ""
        case _:
            return None


def _finding(told: object) -> tuple[str, str] | None:
    match told:
        case {"cause": str(cause), "advice": str(advice)}:
            return "found", f"{cause}; {advice}"
    return None


def other_version(theirs: object, own: str, domains: Iterable[Domain]) -> str:
    """
    Say that the daemon is of another version, by its number or by what it says of *domains*; "" where it is not.
    """
    unread = list(dict.fromkeys(key for domain in domains for key in domain.unread))
    is_other = isinstance(theirs, str) and theirs != own
    if not is_other and not unread:
        return ""
    versions = f"sptls {theirs}; this command: {own}" if is_other else f"this command: sptls {own}"
    missing = f"; what it says of {', '.join(unread)} is not understood here" if unread else ""
    advice = "restart it, or use the sptls command that belongs to it"
    return plain(f"the daemon is of another version ({versions}){missing}; {advice}")


def _certificate(domain: Domain, now: datetime) -> str:
    by = f", by {issuer(domain)}, from {domain.source}" if domain.issuer else ""
    return f"{validity(domain, now)}{by}"


def _order(directory: str, kinds: Sequence[str]) -> str:
    return f"{directory} by {', then '.join(kinds)}" if kinds else directory


def count(domains: Iterable[Domain]) -> str:
    """
    Say how many domains there are, and how many in each state.
    """
    states = Counter(domain.state for domain in domains)
    total = sum(states.values())
    noun = "domain" if total == 1 else "domains"
    listed = ", ".join(f"{number} {state}" for state, number in states.most_common())
    return f"{total} {noun}: {listed}" if states else f"0 {noun}"


def span(length: timedelta) -> str:
    """
    Say how long *length* is, in its greatest unit, rounded down.
    """
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        number = length // unit
        if number:
            return f"{number} {name}" if number == 1 else f"{number} {name}s"
    return f"{int(length.total_seconds())} s"


def _when(moment: datetime, now: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC (in {span(moment - now)})"
