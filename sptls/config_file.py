"""
The configuration file's shape: which tables and keys it has, and of which type each is.

Decides whether TOML text has that shape, and nothing about what the values mean (`config_load` does). Strict: an
integer is not a string, ``"false"`` not a boolean, a string not an array, and an unknown key is a fault. TOML has no
null, so None stands for "not given, or given and faulty": `read` reports a fault, takes the value out, and the
rest of the file can still be judged.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from sptls.config import (
    ChallengeType,
    DeployConfig,
    HandshakeConfig,
    KeyType,
    LimitsConfig,
    LogConfig,
    NotifyConfig,
    PrecheckMode,
    TlsConfig,
)
from sptls.errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Hook = Callable[[Any, Any], Any]

Steps = tuple[str | int, ...]
Strings = tuple[str | None, ...]

# Longer values and keys are cut in messages: a whole certificate pasted into the wrong key is no help there.
_SHOWN_CHARACTERS: Final = 60
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_POSITION: Final = re.compile(r" \(at (?P<position>[^()]+)\)\Z")

_MEND: Final = (
    'mend that: text stands in "quotes", a list in [brackets], and so does a table\'s name, on a line of its own '
    "(https://toml.io); then run sptls check"
)


@attrs.frozen
class ListenTable:
    """
    ``[listen]``: addresses still as text.
    """

    https: Strings | None = None
    http: Strings | None = None
    admin: str | None = None
    default_name: str | None = None
    proxy_protocol: Strings = ()
    trusted_proxies: Strings = ()


@attrs.frozen
class EabTable:
    """
    ``acme.eab``: both or none.
    """

    kid: str | None = None
    hmac_key_file: str | None = None


@attrs.frozen
class CaLimitsTable:
    """
    ``acme.limits``: rates still as text.
    """

    orders: str | None = None
    certificates_per_domain: str | None = None
    certificates_per_name: str | None = None


@attrs.frozen
class AcmeTable:
    """
    ``[acme]``, or one table of ``[[acme]]``.
    """

    directory: str | None = None
    contact: Strings | None = None
    agree_to_terms: bool | None = None
    trust: str | None = None
    challenges: tuple[ChallengeType | None, ...] | None = None
    key_type: KeyType | None = None
    eab: EabTable = EabTable()
    profile: str = ""
    limits: CaLimitsTable = CaLimitsTable()
    precheck: PrecheckMode | None = None
    resolver: str | None = None
    addresses: Strings | None = None


@attrs.frozen
class UpstreamTable:
    """
    ``[upstream]``, and a domain's own ``upstream`` that overrides parts of it.
    """

    url: str | None = None
    host: str | None = None
    trust: str | None = None


@attrs.frozen
class DomainTable:
    """
    One table of ``[[domains]]``.
    """

    name: str | None = None
    upstream: UpstreamTable = UpstreamTable()
    certificate: str | None = None
    key: str | None = None
    redirect_http: bool | None = None
    passthrough: str | None = None
    passthrough_proxy_protocol: bool | None = None
    hsts_seconds: int | None = None
    hsts_subdomains: bool | None = None


@attrs.frozen
class DeployTable:
    """
    ``[deploy]``.
    """

    directory: str | None = None
    webroot: str | None = None
    command: Strings = ()
    command_seconds: float = DeployConfig().command_seconds


@attrs.frozen
class NotifyTable:
    """
    ``[notify]``.
    """

    command: Strings = ()
    webhook: str | None = None
    command_seconds: float = NotifyConfig().command_seconds


Workers = int | Literal["auto"] | None
Domain = str | DomainTable | None
CaTables = AcmeTable | tuple[AcmeTable | None, ...]


@attrs.frozen
class File:
    """
    The whole file.
    """

    state_dir: str | None = None
    workers: Workers = None
    domains: tuple[Domain, ...] = ()
    domains_file: str | None = None
    listen: ListenTable = ListenTable()
    tls: TlsConfig = attrs.Factory(TlsConfig)
    acme: CaTables = AcmeTable()
    handshake: HandshakeConfig = attrs.Factory(HandshakeConfig)
    upstream: UpstreamTable = UpstreamTable()
    limits: LimitsConfig = attrs.Factory(LimitsConfig)
    log: LogConfig = attrs.Factory(LogConfig)
    deploy: DeployTable = DeployTable()
    notify: NotifyTable = NotifyTable()


def read(text: str, found_in: str = "") -> tuple[File, tuple[Fault, ...]]:
    """
    Give the file that *text* spells, less what is faulty in it, and those faults.

    Raises:
        ConfigError: *text* is not TOML, so nothing can be said about the rest; says in which line of *found_in*.
    """
    tree, faults = _parse(text, found_in), list[Fault]()
    while True:
        try:
            return _CONVERTER.structure(tree, File), tuple(faults)
        except ClassValidationError as error:
            found = list(_leaves(error, ()))
        for path, message in found:
            # Once more where something was put right: what is in it has not been looked at yet.
            _put_right(tree, path, message)
            faults.append(Fault(_place(path), message))


def shown(text: str, most_characters: int = _SHOWN_CHARACTERS) -> str:
    """
    Give *text* quoted for a message, its control characters escaped, and cut where it is long.
    """
    return repr(text) if len(text) <= most_characters else f"{text[:most_characters]!r}..."


def did_you_mean(text: str, known: Sequence[str]) -> str:
    """
    Give a question to put after a message when *text* is nearly one of *known*, else "".
    """
    near = difflib.get_close_matches(text[:_SHOWN_CHARACTERS], known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _parse(text: str, found_in: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _not_toml(found_in, "not TOML that can be read: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one; a number of 5,000 digits raises a bare one
        message = str(error)
        position = _POSITION.search(message)
        place = ", ".join(filter(None, (found_in, position["position"] if position else "")))
        raise _not_toml(place, f"not TOML: {_POSITION.sub('', message)}") from None


def _not_toml(place: str, message: str) -> ConfigError:
    return ConfigError((Fault(place, f"{message}; {_MEND}"),))


def _leaves(error: Exception, path: Steps) -> Iterator[tuple[Steps, str]]:
    """
    Walk cattrs' group of errors down to each fault, with its path from the top of the file.
    """
    if isinstance(error, ClassValidationError):
        noted, plain = error.group_exceptions()
        for inner, note in noted:
            yield from _leaves(inner, (*path, note.name))
        for inner in plain:
            yield from _leaves(inner, path)
    elif isinstance(error, IterableValidationError):
        for element, position in error.group_exceptions()[0]:
            yield from _leaves(element, (*path, position.index))
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield (*path, key), _unknown_key(key, error.cl)
    else:
        yield path, str(error)


def _unknown_key(key: str, table: type) -> str:
    known = _keys(table)
    near = did_you_mean(key, known)
    if not near and key in _keys(File):
        return "unknown key here; at the top of the file it is known: put it there, before the first [table]"
    return f"unknown key{near}" if near else f"unknown key; known here: {', '.join(known)}"


def _keys(table: Any) -> list[str]:
    return [field.name for field in attrs.fields(table)]


def _put_right(tree: Any, path: Steps, message: str) -> None:
    """
    Remove the value at *path*; an array keeps its length, so that the places of its other elements stay true.

    One that has brackets too many, or too few, is taken for what it was meant to be, so that its own faults are found.
    """
    *parents, last = path
    holder = functools.reduce(operator.getitem, parents, tree)
    match holder.get(last) if isinstance(holder, dict) else None:
        case [dict() as table] if message == _ARRAY_FOR_TABLE:
            holder[last] = table
            return
        case dict() as table if path == ("domains",):
            holder[last] = [table]
            return
    if isinstance(last, int):
        holder[last] = None
    else:
        del holder[last]


def _place(path: Steps) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) and len(key) <= _SHOWN_CHARACTERS else shown(key)


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


_ARRAY_FOR_TABLE: Final = f"expected {_KINDS[dict]}, not {_KINDS[list]}"


def _expect(value: object, *kinds: type) -> None:
    # `type` rather than isinstance: a bool is an int.
    if type(value) not in kinds:
        found = "a number with a point" if isinstance(value, float) else _KINDS.get(type(value), "a date or time")
        raise TypeError(f"expected {_KINDS[kinds[0]]}, not {found}")


def _only(*kinds: type) -> Hook:
    def structure(value: Any, _: Any) -> Any:
        _expect(value, *kinds)
        return value

    return structure


def _array(kind: Any, converter: cattrs.Converter) -> Hook:
    inner = homogenous_tuple_structure_factory(kind, converter)

    def structure(value: Any, kind: Any) -> Any:
        _expect(value, list)
        return inner(value, kind)

    return structure


def _table(kind: Any, converter: cattrs.Converter) -> Hook:
    inner = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def structure(value: Any, kind: Any) -> Any:
        _expect(value, dict)
        return inner(value, kind)

    return structure


def _choice(value: Any, kind: Any) -> Any:
    _expect(value, str)
    choices = get_args(kind)
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{shown(value)} is none of {known}{did_you_mean(value, choices)}")
    return value


def _workers(value: Any, _: Any) -> Any:
    if type(value) is not int and value != "auto":
        raise TypeError("expected a whole number or 'auto'")
    return value


def _domain(value: Any, _: Any) -> Any:
    if value is None or type(value) is str:
        return value
    if type(value) is not dict:
        raise TypeError("expected a name, or a table with a name")
    return _CONVERTER.structure(value, DomainTable)


def _cas(value: Any, _: Any) -> Any:
    if type(value) is dict:
        return _CONVERTER.structure(value, AcmeTable)
    if type(value) is not list:
        raise TypeError("expected a table, or an array of tables")
    return _CONVERTER.structure(value, tuple[AcmeTable | None, ...])


def _ca(value: Any, _: Any) -> Any:
    return None if value is None else _CONVERTER.structure(value, AcmeTable)


def _has_origin(origin: object) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _strict_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _only(kind))
    converter.register_structure_hook(float, _only(float, int))
    converter.register_structure_hook_func(_has_origin(Literal), _choice)
    converter.register_structure_hook_func(lambda kind: kind == Workers, _workers)
    converter.register_structure_hook_func(lambda kind: kind == Domain, _domain)
    converter.register_structure_hook_func(lambda kind: kind == CaTables, _cas)
    converter.register_structure_hook_func(lambda kind: kind == AcmeTable | None, _ca)
    converter.register_structure_hook_factory(_has_origin(tuple), _array)
    converter.register_structure_hook_factory(attrs.has, _table)
    return converter


_CONVERTER: Final = _strict_converter()
