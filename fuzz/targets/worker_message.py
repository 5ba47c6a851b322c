"""
What a worker process and its parent say to each other: a message, or none, of which nothing is told but its length.
"""

from __future__ import annotations

import re
from typing import Final

from fuzz.targets.pem import CERTIFICATE, KEY
from sptls.certs.bundle import CertificateBundle
from sptls.errors import MalformedMessage
from sptls.workers.messages import Answer, Answers, decode, encode
from tests.workers.examples import EXAMPLES, FAILING, NAME

_REASON: Final = re.compile(r"[a-z ]+: [0-9]+ bytes that are no message \([A-Za-z]+\)")

SEEDS: Final = (
    # Certificates of the examples are made anew each time.
    *(encode(message) for message in EXAMPLES if not isinstance(message, Answers)),
    encode(Answers((Answer(NAME, CertificateBundle.from_pem(KEY, CERTIFICATE)), FAILING, Answer(NAME)))),
    b'["Done", {"turn": 1e400}]',
    b"[" * 2000,
)


def check(data: bytes) -> None:
    """
    See that a message is the same once it was sent on, and that what is none is told without what is in it.
    """
    try:
        message = decode(data)
    except MalformedMessage as error:
        assert _REASON.fullmatch(str(error))
        return
    text = encode(message)
    # As text: a number in it may be none, which equals nothing.
    assert text == encode(decode(text))
