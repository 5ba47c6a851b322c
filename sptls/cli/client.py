"""
A running daemon, asked over its control socket. Every answer has a deadline and a limit.

Decides what counts as "no daemon": no socket, or one at which nobody listens. Imports nothing of Twisted.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from sptls.certs.lock import noted_process
from sptls.cli.domain import Domain
from sptls.errors import ControlError, DaemonNotRunning
from sptls.ops.control_address import CONTROL_SOCKET, address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sptls.certs.intake import Offer, Outcome
    from sptls.names import HostName

# A daemon answers between two turns of its reactor; one that is silent for so long hangs, or is stopped.
SILENT_SECONDS: Final = 10.0
# A CA has a minute to revoke (`acme.issue.REVOCATION_SECONDS`).
REVOCATION_SECONDS: Final = 75.0
# The status of 100,000 domains comes in two seconds.
ANSWER_SECONDS: Final = 60.0
# Ten times that status.
MAX_ANSWER_BYTES: Final = 512 * 1024 * 1024
# Twisted takes 16,384 bytes for a request line with its fields, and the daemon 500 names.
_QUERY_BYTES: Final = 12000
_MAX_NAMES: Final = 500
# It takes 8 certificates and 524,288 bytes; the ends of lines take two each.
_MAX_CERTIFICATES: Final = 8
_CERTIFICATES_BYTES: Final = 200_000
_READ_BYTES: Final = 1024 * 1024
_OTHER_VERSION: Final = "it is of another version; restart it, so that it is of the same as this command"


class _UnixConnection(http.client.HTTPConnection):
    """
    HTTP on the control socket in *state_dir*.
    """

    def __init__(self, state_dir: Path, silent_seconds: float) -> None:
        super().__init__("localhost", timeout=silent_seconds)
        self._state_dir, self._silent_seconds = state_dir, silent_seconds

    def connect(self) -> None:
        """
        Connect to the socket.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._silent_seconds)
        with address(self._state_dir) as where:
            self.sock.connect(where)


class DaemonClient:
    """
    The daemon whose state directory is *state_dir*.

    Every method may raise `DaemonNotRunning`, or `ControlError` when a daemon is there and can't be asked.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def status(self) -> dict[str, Any]:
        """
        Give the whole status.
        """
        return self._ask("GET", "/status")

    def every_domain(self) -> tuple[dict[str, Any], ...]:
        """
        Give what the daemon says of each domain that it serves.
        """
        return listed(self.status())

    def domains(self, names: Sequence[HostName]) -> tuple[dict[str, Any], ...]:
        """
        Give what the daemon says of each of *names*; one that it does not serve has an *error*.
        """
        told = (self._ask("GET", f"/domains?{urlencode([('name', name.text) for name in few])}") for few in _few(names))
        return _of_each(names, told)

    def issue(self, names: Sequence[HostName]) -> tuple[dict[str, Any], ...]:
        """
        Ask for certificates of *names*; gives how each stands at once.
        """
        told = (self._ask("POST", "/issue", {"names": [name.text for name in few]}) for few in _few(names))
        return _of_each(names, told)

    def renew(self, names: Sequence[HostName], *, is_at_once: bool) -> tuple[dict[str, Any], ...]:
        """
        Ask for other certificates than *names* have, *is_at_once* after failures too; gives how each stands at once.
        """
        asked = ({"names": [name.text for name in few], "now": is_at_once} for few in _few(names))
        return _of_each(names, (self._ask("POST", "/renew", body) for body in asked))

    def examine(self, name: HostName) -> dict[str, Any] | None:
        """
        Have *name* looked at from where the daemon is; gives what was seen, or None where nothing is looked for.
        """
        check = self._ask("POST", "/examine", {"name": name.text}).get("check")
        return check if isinstance(check, dict) else None

    def revoke(self, name: HostName, reason: int) -> str:
        """
        Have *name*'s certificate revoked for *reason* (RFC 5280 §5.3.1); gives why that failed, or "".
        """
        told = self._ask("POST", "/revoke", {"name": name.text, "reason": reason}, REVOCATION_SECONDS)
        return "" if told.get("revoked") is True else str(told.get("problem", _OTHER_VERSION))

    def take_over(self, offers: Iterable[Offer], *, is_trial: bool) -> Iterator[Outcome]:
        """
        Have certificates imported, or, on trial, judged; gives what came of each, as it comes.
        """
        from sptls.certs.intake import Outcome  # a tenth of a second, which a monitor doesn't need

        for certificates in _few_certificates(offers):
            body = {"certificates": certificates, "dry_run": is_trial}
            outcomes = self._ask("POST", "/import", body, ANSWER_SECONDS).get("outcomes")
            if not isinstance(outcomes, list) or len(outcomes) != len(certificates):
                raise ControlError(_OTHER_VERSION)
            for told in outcomes:
                if not isinstance(told, dict) or told.get("word") not in {"taken", "kept", "refused"}:
                    raise ControlError(_OTHER_VERSION)
                yield Outcome(told["word"], str(told.get("reason")))

    def _ask(
        self, method: str, target: str, body: object = None, silent_seconds: float | None = None
    ) -> dict[str, Any]:
        silent_seconds = silent_seconds or SILENT_SECONDS
        connection = _UnixConnection(self._state_dir, silent_seconds)
        try:
            connection.request(method, target, None if body is None else json.dumps(body).encode())
            response = connection.getresponse()
            return _read(response.status, _content(response))
        except (FileNotFoundError, ConnectionRefusedError):
            raise DaemonNotRunning(str(self._state_dir)) from None
        except PermissionError:
            path = self._state_dir / CONTROL_SOCKET
            raise ControlError(f"this user may not use {path}; run this as root or as the daemon's user") from None
        except TimeoutError:
            reason = f"no answer in {silent_seconds:.0f} s; it hangs, or it is stopped (look at its log)"
            raise ControlError(reason) from None
        except (http.client.HTTPException, OSError) as error:
            raise ControlError(f"the connection broke off ({error or type(error).__name__}); did it end?") from None
        finally:
            connection.close()


def entries(told: Iterable[dict[str, Any]], *, is_whole: bool = True) -> tuple[tuple[Domain, ...], tuple[str, ...]]:
    """
    Give the domains of an answer, and what is wrong with the names that it has none for.

    Who only looks may do without *is_whole*, and gets also domains of which a daemon of another version says less.

    Raises:
        ControlError: the answer is none.
    """
    told = tuple(told)
    try:
        domains = tuple(Domain.of(one) for one in told if "error" not in one)
    except ValueError:
        raise ControlError(_OTHER_VERSION) from None
    if is_whole and not all(domain.is_whole for domain in domains):
        raise ControlError(_OTHER_VERSION)
    return domains, tuple(str(one["error"]) for one in told if "error" in one)


def holder(state_dir: Path) -> int | None:
    """
    Give the process that has the lock on *state_dir* and lives, as far as this user can tell.
    """
    process = noted_process(state_dir)
    if process is None:
        return None
    try:
        os.kill(process, 0)
    except PermissionError:  # it lives, and is another user's
        return process
    except (OSError, OverflowError):
        return None
    return process


def _few(names: Sequence[HostName]) -> Iterator[list[HostName]]:
    """
    Give *names* in lists that one request can hold.
    """
    few: list[HostName] = []
    size = 0
    for name in names:
        length = len(name.text) + len("name=&")
        if few and (len(few) == _MAX_NAMES or size + length > _QUERY_BYTES):
            yield few
            few, size = [], 0
        few.append(name)
        size += length
    if few:
        yield few


def _few_certificates(offers: Iterable[Offer]) -> Iterator[list[dict[str, str]]]:
    """
    Give *offers* as the daemon reads them, in lists that one request can hold.
    """
    few: list[dict[str, str]] = []
    size = 0
    for offer in offers:
        key, chain = offer.bundle.key_pem().decode("ascii"), offer.bundle.chain_pem().decode("ascii")
        if few and (len(few) == _MAX_CERTIFICATES or size + len(key) + len(chain) > _CERTIFICATES_BYTES):
            yield few
            few, size = [], 0
        few.append({"name": offer.name.text, "key": key, "chain": chain, "server": offer.server})
        size += len(key) + len(chain)
    if few:
        yield few


def listed(answer: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """
    Give what *answer* says of each domain.

    Raises:
        ControlError: it has no such list.
    """
    domains = answer.get("domains")
    if not isinstance(domains, list) or not all(isinstance(domain, dict) for domain in domains):
        raise ControlError(_OTHER_VERSION)
    return tuple(domains)


def _of_each(names: Sequence[HostName], answers: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """
    Give what *answers* say, which must be of *names*, in their order.
    """
    told = tuple(domain for answer in answers for domain in listed(answer))
    if [domain.get("name") for domain in told] != [name.text for name in names]:
        raise ControlError(_OTHER_VERSION)
    return told


def _content(response: http.client.HTTPResponse) -> bytes:
    """
    Read all of *response*.
    """
    until, pieces, size = time.monotonic() + ANSWER_SECONDS, [], 0
    while piece := response.read1(_READ_BYTES):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > until:
            raise TimeoutError
        if size > MAX_ANSWER_BYTES:
            raise ControlError(f"its answer is over {MAX_ANSWER_BYTES} bytes")
    return b"".join(pieces)


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and status == http.client.OK:
        return answer
    if isinstance(answer, dict) and "error" in answer:
        raise ControlError(str(answer["error"]))
    if status == http.client.NOT_FOUND:
        raise ControlError(_OTHER_VERSION)
    raise ControlError(f"its answer (status {status}) is cut off, or not what was asked for; look at its log")
