"""
The store's rows: what is stored of names and accounts (`records`) looks like as SQL values, and back again.

Rows hold a certificate's names and validity beside its DER, so that loading 5,000 of them parses none; a checksum over
all of it finds a damaged row instead. Moments are integers, microseconds since 1970 in UTC. Pure.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from sptls.certs.bundle import CertificateBundle
from sptls.certs.diagnosis import Diagnosis, Who
from sptls.certs.records import (
    AccountRecord,
    Deployment,
    History,
    OrderRecord,
    RenewalAdvice,
    StoredCertificate,
    Warned,
)
from sptls.names import HostName

Row = tuple[Any, ...]

CERTIFICATE_COLUMNS: Final = ", ".join(
    (
        *("name", "directory", "renew_at", "names", "not_before", "not_after", "issuer", "serial"),
        *("private_key", "end_entity", "issuers", "checksum"),
    )
)
HISTORY_COLUMNS: Final = (
    "name, directory, consecutive_failures, next_attempt_at, failed_authorizations, last_error, attempt_started_at, "
    "diagnosis, elsewhere"
)
DEPLOYMENT_COLUMNS: Final = "name, serial, is_command_owed, consecutive_failures, next_attempt_at, last_error"
ADVICE_COLUMNS: Final = "name, serial, window_start, window_end, ask_again_at, explanation_url"
WARNING_COLUMNS: Final = "name, serial, days, is_failing, told_at"
LIMIT_COLUMNS: Final = "directory, entry, moment"
ACCOUNT_COLUMNS: Final = "directory, url, private_key, checksum"
ORDER_COLUMNS: Final = (
    "name, directory, account_url, url, created_at, expires, is_replacement, private_key, checksum, failed_types, "
    "is_counted"
)

# How many of a row's values come before its bytes.
_CERTIFICATE_TEXTS: Final = 8
_ACCOUNT_TEXTS: Final = 2
_ORDER_TEXTS: Final = 7

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class DamagedRowError(ValueError):
    """
    A row is not as it was written.
    """


def certificate_row(certificate: StoredCertificate) -> Row:
    """
    Give the row of *certificate*, in the order of `CERTIFICATE_COLUMNS`.
    """
    bundle = certificate.bundle
    row = (
        certificate.name.text,
        certificate.directory,
        microseconds(certificate.renew_at),
        " ".join(name.text for name in bundle.names),
        microseconds(bundle.not_before),
        microseconds(bundle.not_after),
        bundle.issuer,
        bundle.serial,
        bundle.key,
        bundle.chain[0],
        b"".join(bundle.chain[1:]),
    )
    return (*row, _checksum(row, _CERTIFICATE_TEXTS))


class CertificateRows:
    """
    Makes certificates of rows. Remembers the issuers' certificates: thousands of chains share a few of them.
    """

    def __init__(self) -> None:
        self._issuers: dict[bytes, tuple[bytes, ...]] = {}
        self._text: dict[str, str] = {}

    def certificate(self, row: Row) -> StoredCertificate:
        """
        Give the certificate that *row* holds.

        Raises:
            DamagedRowError: the checksum does not fit the rest.
        """
        _verify(row, _CERTIFICATE_TEXTS)
        name_text, directory, renew_at, names, not_before, not_after, issuer, serial, key, end_entity, issuers, _ = row
        name = HostName(name_text)
        bundle = CertificateBundle(
            key=key,
            chain=(end_entity, *self._issuers_of(issuers)),
            names=(name,) if names == name_text else tuple(map(HostName, names.split(" "))),
            not_before=_moment(not_before),
            not_after=_moment(not_after),
            issuer=self._text.setdefault(issuer, issuer),
            serial=serial,
        )
        return StoredCertificate(name, bundle, self._text.setdefault(directory, directory), _moment(renew_at))

    def _issuers_of(self, joined: bytes) -> tuple[bytes, ...]:
        issuers = self._issuers.get(joined)
        if issuers is None:
            issuers = self._issuers[joined] = _split_der(joined)
        return issuers


def history_row(name: HostName, history: History) -> Row:
    """
    Give the row of *name*'s *history*, in the order of `HISTORY_COLUMNS`.
    """
    elsewhere = json.dumps([_history_values(one) for one in history.elsewhere]) if history.elsewhere else ""
    return (name.text, *_history_values(history), elsewhere)


def history_of(row: Row) -> tuple[HostName, History]:
    """
    Give the name and the history that *row* holds.

    Raises:
        DamagedRowError: it does not hold one.
    """
    try:
        name, *values, elsewhere = row
        others = tuple(_history(*one) for one in json.loads(elsewhere)) if elsewhere else ()
        return HostName.parse(name), attrs.evolve(_history(*values), elsewhere=others)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedRowError(f"it holds no history ({type(error).__name__})") from None


def _history_values(history: History) -> Row:
    return (
        history.directory,
        history.consecutive_failures,
        _optional_microseconds(history.next_attempt_at),
        " ".join(str(microseconds(moment)) for moment in history.failed_authorizations),
        history.last_error,
        _optional_microseconds(history.attempt_started_at),
        _diagnosis_text(history.diagnosis),
    )


def _history(
    directory: Any,
    failures: Any,
    next_attempt_at: Any,
    failed: Any,
    last_error: Any,
    attempt_started_at: Any,
    diagnosis: Any = "",  # of another CA's history that an older sptls wrote
) -> History:
    return History(
        consecutive_failures=int(failures),
        next_attempt_at=_optional_moment(next_attempt_at),
        failed_authorizations=tuple(_moment(int(digits)) for digits in failed.split()),
        last_error=str(last_error),
        attempt_started_at=_optional_moment(attempt_started_at),
        directory=str(directory),
        diagnosis=_diagnosis(diagnosis),
    )


def _diagnosis_text(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None:
        return ""
    return json.dumps([diagnosis.code, diagnosis.who.value, diagnosis.cause, diagnosis.advice])


def _diagnosis(text: Any) -> Diagnosis | None:
    if text == "":
        return None
    code, who, cause, advice = json.loads(text)
    return Diagnosis(str(code), Who(who), str(cause), str(advice))


def limit_of(row: Row) -> tuple[str, str, float]:
    """
    Give the directory, the entry and the moment (epoch seconds) of a ledger's *row*.

    Raises:
        DamagedRowError: it holds none.
    """
    directory, entry, moment = row
    if not (isinstance(directory, str) and isinstance(entry, str) and isinstance(moment, float)):
        raise DamagedRowError("it holds no entry of a ledger")
    return directory, entry, moment


def deployment_row(name: HostName, deployment: Deployment) -> Row:
    """
    Give the row of *name*'s *deployment*, in the order of `DEPLOYMENT_COLUMNS`.
    """
    return (
        name.text,
        deployment.serial,
        int(deployment.is_command_owed),
        deployment.consecutive_failures,
        _optional_microseconds(deployment.next_attempt_at),
        deployment.last_error,
    )


def deployment_of(row: Row) -> tuple[HostName, Deployment]:
    """
    Give the name and the deployment that *row* holds.

    Raises:
        DamagedRowError: it does not hold one.
    """
    try:
        name, serial, is_command_owed, failures, next_attempt_at, last_error = row
        return HostName.parse(name), Deployment(
            serial=str(serial),
            is_command_owed=bool(int(is_command_owed)),
            consecutive_failures=int(failures),
            next_attempt_at=_optional_moment(next_attempt_at),
            last_error=str(last_error),
        )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedRowError(f"it holds no deployment ({type(error).__name__})") from None


def advice_row(name: HostName, advice: RenewalAdvice) -> Row:
    """
    Give the row of the *advice* on *name*'s certificate, in the order of `ADVICE_COLUMNS`.
    """
    moments = tuple(map(microseconds, (advice.start, advice.end, advice.ask_again_at)))
    return (name.text, advice.serial, *moments, advice.explanation_url)


def advice_of(row: Row) -> tuple[HostName, RenewalAdvice]:
    """
    Give the name and the advice on its certificate that *row* holds.

    Raises:
        DamagedRowError: it does not hold one.
    """
    try:
        name, serial, start, end, ask_again_at, explanation_url = row
        moments = (_moment(start), _moment(end), _moment(ask_again_at))
        return HostName.parse(name), RenewalAdvice(str(serial), *moments, str(explanation_url))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedRowError(f"it holds no renewal information ({type(error).__name__})") from None


def warning_row(name: HostName, warned: Warned, told_at: datetime) -> Row:
    """
    Give the row of what people were *warned* of about *name*, in the order of `WARNING_COLUMNS`.
    """
    return (name.text, warned.serial, warned.days, int(warned.is_failing), microseconds(told_at))


def warning_of(row: Row) -> tuple[HostName, Warned]:
    """
    Give the name and what people were warned of that *row* holds.

    Raises:
        DamagedRowError: it does not hold it.
    """
    try:
        name, serial, days, is_failing, _ = row
        return HostName.parse(name), Warned(str(serial), int(days), bool(int(is_failing)))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedRowError(f"it holds no warning ({type(error).__name__})") from None


def account_row(directory: str, account: AccountRecord) -> Row:
    """
    Give the row of the *account* at *directory*, in the order of `ACCOUNT_COLUMNS`.
    """
    row = (directory, account.url, account.key)
    return (*row, _checksum(row, _ACCOUNT_TEXTS))


def account_of(row: Row) -> AccountRecord:
    """
    Give the account that *row* holds.

    Raises:
        DamagedRowError: the checksum does not fit the rest.
    """
    _verify(row, _ACCOUNT_TEXTS)
    _, url, key, _ = row
    return AccountRecord(key=key, url=url)


def order_row(order: OrderRecord) -> Row:
    """
    Give the row of an *order* under way, in the order of `ORDER_COLUMNS`.
    """
    row = (
        order.name.text,
        order.directory,
        order.account_url,
        order.url,
        microseconds(order.created_at),
        microseconds(order.expires),
        int(order.is_replacement),
        order.key,
    )
    return (*row, _checksum(row, _ORDER_TEXTS), ",".join(order.failed_types), int(order.is_counted))


def order_of(row: Row) -> OrderRecord:
    """
    Give the order under way that *row* holds.

    Raises:
        DamagedRowError: the checksum does not fit the rest.
    """
    # Not under the checksum, which orders have that an older sptls stored; damage to these loses no order.
    *checked, failed_types, is_counted = row
    _verify(tuple(checked), _ORDER_TEXTS)
    name, directory, account_url, url, created_at, expires, is_replacement, key, _ = checked
    return OrderRecord(
        name=HostName(name),
        directory=directory,
        account_url=account_url,
        url=url,
        key=key,
        created_at=_moment(created_at),
        expires=_moment(expires),
        is_replacement=bool(is_replacement),
        failed_types=tuple(filter(None, str(failed_types).split(","))),
        is_counted=bool(is_counted),
    )


def _checksum(row: Row, texts: int) -> bytes:
    """
    Give SHA-256 over *row*: its first *texts* values, then bytes. It tells damage; it is no defence against a forger.
    """
    text = repr(row[:texts]).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text + b"".join(row[texts:])).digest()


def _verify(row: Row, texts: int) -> None:
    """
    Make sure that *row* ends with the checksum of the rest.

    Raises:
        DamagedRowError: it does not.
    """
    try:
        checksum = _checksum(row[:-1], texts)
    except TypeError:  # text where bytes were written
        checksum = b""
    if checksum != row[-1]:
        raise DamagedRowError("its checksum is wrong")


def _split_der(joined: bytes) -> tuple[bytes, ...]:
    """
    Split certificates that were joined: each is one DER SEQUENCE that states its own length (X.690 §8.1.3).

    Raises:
        DamagedRowError: they are not.
    """
    certificates = []
    position = 0
    while position < len(joined):
        end = _der_end(joined, position)
        if end > len(joined):
            raise DamagedRowError("its chain is cut off")
        certificates.append(joined[position:end])
        position = end
    return tuple(certificates)


def _der_end(joined: bytes, position: int) -> int:
    header = joined[position : position + 2]
    if len(header) < 2:
        return position + 2
    length_of_length = header[1] & 0x7F if header[1] & 0x80 else 0
    content = position + 2 + length_of_length
    length = int.from_bytes(joined[position + 2 : content], "big") if length_of_length else header[1]
    return content + length


def microseconds(moment: datetime) -> int:
    """
    Give *moment* in microseconds since 1970, exactly.
    """
    return (moment - _EPOCH) // _MICROSECOND


def _moment(since_1970: int) -> datetime:
    return _EPOCH + timedelta(microseconds=since_1970)


def _optional_microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def _optional_moment(since_1970: int | None) -> datetime | None:
    return None if since_1970 is None else _moment(since_1970)
