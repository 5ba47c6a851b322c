"""
What the front knows of a request: operation, name, the readable parts of its signature; and what the CA did with it.

A signed request is not encrypted (RFC 8555 §6.2), so its header and payload can be read on the way; the name that an
order, authorization, challenge or certificate is about is learnt from the CA's answers.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from josepy.json_util import decode_b64jose

from tests.acme_front.faults import OPERATIONS, Answer

# Pebble validates and issues within milliseconds when it does not sleep.
LONGEST_WORK_SECONDS = 5.0
# Whose answers name other resources.
_TELLING = {"newOrder", "order", "authorization", "challenge", "finalize"}


@attrs.frozen
class Asked:
    """
    A request; *protected* and *payload* are empty where it has no signature, *names* those it is about.
    """

    method: bytes
    target: bytes
    operation: str
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes
    names: tuple[str, ...] = ()
    protected: dict[str, Any] = attrs.field(factory=dict)
    payload: dict[str, Any] = attrs.field(factory=dict)

    @property
    def path(self) -> str:
        """
        Give the path.
        """
        return self.target.decode()

    @property
    def name(self) -> str:
        """
        Give the names it is about, joined by commas.
        """
        return ",".join(self.names)

    @property
    def nonce(self) -> str:
        """
        Give its nonce, which nobody has used until the CA sees it, or "".
        """
        return str(self.protected.get("nonce", ""))

    @property
    def account(self) -> str:
        """
        Give the account's URL, or "".
        """
        return str(self.protected.get("kid", ""))

    def csr(self) -> x509.CertificateSigningRequest:
        """
        Give the signing request of a finalize.
        """
        return x509.load_der_x509_csr(decode_b64jose(self.payload["csr"]))


def operation_of(path: str) -> str:
    """
    Give the operation that *path* stands for; "" for none that the front knows.
    """
    return OPERATIONS.get(path.lstrip("/").partition("/")[0], "")


@attrs.define
class Register:
    """
    Which resources of the CA's are about which names, and what the CA is busy with, as its log tells.
    """

    log: Path
    _names: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    _work: dict[str, float] = attrs.field(factory=dict)
    _read_bytes: int = 0

    def read(self, method: bytes, target: bytes, fields: tuple[tuple[bytes, bytes], ...], content: bytes) -> Asked:
        """
        Read a request.
        """
        path = target.decode()
        asked = Asked(method, target, operation_of(path), fields, content, self._names.get(path, ()))
        try:
            signed = json.loads(content)
            protected, payload = (decode_b64jose(signed[name]) for name in ("protected", "payload"))
            asked = attrs.evolve(asked, protected=json.loads(protected), payload=json.loads(payload or b"{}"))
        except (ValueError, KeyError, TypeError):
            return asked
        identifiers = asked.payload.get("identifiers", ())
        return attrs.evolve(asked, names=tuple(each["value"] for each in identifiers)) if identifiers else asked

    def learn(self, asked: Asked, answer: Answer) -> None:
        """
        Take note of what the CA's own answer says of other resources, and of what the CA does from now on.
        """
        if asked.operation not in _TELLING or not 200 <= answer.status < 300:
            return
        members = answer.json()
        urls = [answer.field("location"), members.get("finalize", ""), members.get("certificate", "")]
        urls += members.get("authorizations", [])
        urls += [each["url"] for each in members.get("challenges", ())]
        for url in filter(None, urls):
            self._names[urlsplit(url).path] = asked.names
        if asked.operation in ("challenge", "finalize"):
            self._work[asked.path.rpartition("/")[2]] = time.monotonic() + LONGEST_WORK_SECONDS

    def is_ca_at_work(self) -> bool:
        """
        Tell whether the CA has yet to finish a validation or a certificate that it was asked for.
        """
        if self._work:
            with self.log.open("rb") as log:
                log.seek(self._read_bytes)
                self._finish(log.read())
        return bool(self._work)

    def _finish(self, text: bytes) -> None:
        lines = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(lines)
        for line in lines.decode(errors="replace").splitlines():
            if "by completed challenge" in line or "Issued certificate" in line:
                self._work.pop(line.rpartition(" ")[2], None)
        now = time.monotonic()
        self._work = {number: end for number, end in self._work.items() if end > now}
