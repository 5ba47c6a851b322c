"""
What a failure means, as plain values: its cause in plain words, who must act, what to do. Pure.

`diagnose` gives them for errors, `precheck_rules` for what a look at a name finds; `joined` puts the two together.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A CA's problem documents can be long, and so can what is put together of many; this much of each text is kept.
_MOST_CHARACTERS: Final = 600
# What to do about a CA's limits.
WAIT: Final = "nothing needs to be done: it is tried again when they allow it"


class Who(Enum):
    """
    Who must act so that the next attempt succeeds.
    """

    CUSTOMER = "customer-dns"
    CA_LIMITS = "ca-limits"
    HOST = "host"
    CA = "ca"
    OPERATOR = "operator"

    @property
    def words(self) -> str:
        """
        Name them as people do.
        """
        return _WHO_WORDS[self]


_WHO_WORDS: Final[Mapping[Who, str]] = {
    Who.CUSTOMER: "the customer (DNS)",
    Who.CA_LIMITS: "nobody, the CA's limits must refill",
    Who.HOST: "whoever runs this host",
    Who.CA: "the CA",
    Who.OPERATOR: "the operator of sptls",
}


@attrs.frozen
class Diagnosis:
    """
    What is wrong: a stable *code* for programs, the *cause* in plain words, *who* must act, and what to do (*advice*).
    """

    code: str
    who: Who
    cause: str
    advice: str


@attrs.frozen
class Finding:
    """
    What a look at the name from here found; *is_fatal* where no validation can succeed before it is mended.
    """

    diagnosis: Diagnosis
    is_fatal: bool


# A certificate of our own making that can't be served.
UNSERVABLE: Final = Diagnosis(
    "damaged",
    Who.OPERATOR,
    "the certificate that came can't be served",
    "report it as a fault of sptls, with the log; another one is ordered",
)


def waiting(because: str) -> Diagnosis:
    """
    Give what it means that a name waits with no failure of its own, *because* the CA's limits or its outage ask for it.
    """
    return Diagnosis("waiting", Who.CA_LIMITS, cut(because) or "the CA's limits allow no order yet", WAIT)


def of_own(words: str) -> Diagnosis:
    """
    Give what it means that a certificate which the operator brings has the faults that *words* tell.
    """
    advice = "put a certificate and its key that fit the name into the files; they are taken up by themselves"
    return Diagnosis("own-certificate", Who.OPERATOR, cut(words) or "its files can't be used", advice)


def unnamed(words: str) -> Diagnosis:
    """
    Give what can be said of a failure of which only the *words* were stored, by an older sptls.
    """
    return Diagnosis("unknown", Who.OPERATOR, cut(words) or "no cause was stored", "wait for the next attempt")


def joined(diagnosis: Diagnosis, findings: Sequence[Finding]) -> Diagnosis:
    """
    Give *diagnosis* with what a look from here found beside it; what explains the failure comes first.
    """
    fatal = [finding.diagnosis for finding in findings if finding.is_fatal]
    first = fatal[0] if fatal else diagnosis
    every = (*fatal, diagnosis, *(finding.diagnosis for finding in findings if not finding.is_fatal))
    return Diagnosis(
        first.code, first.who, cut(once(one.cause for one in every)), cut(once(one.advice for one in every))
    )


def once(texts: Iterable[str]) -> str:
    """
    Join *texts*, each of them once.
    """
    return "; ".join(dict.fromkeys(texts))


def cut(text: str) -> str:
    """
    Give as much of *text* as is kept.
    """
    return text.strip()[:_MOST_CHARACTERS]
