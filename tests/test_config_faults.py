"""
Whatever is in a file, it is a configuration or has all its faults reported, each at its place.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.errors import ConfigError
from tests.full_config import FULL, loaded


@given(st.text())
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    """
    No other exception, and every fault is one line.
    """
    try:
        loaded(text, domains=(text,), contact=(text,), directory=text, upstream=text, https=(text,), state_dir=text)
        lines = []
    except ConfigError as error:
        lines = [str(fault) for fault in error.faults]
    assert all(line.isprintable() for line in lines)


def places_of_faults(text: str) -> list[str]:
    """
    Load what can't be used, and give the places of its faults.
    """
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return [fault.place for fault in caught.value.faults]


# For each key: a value that is not of its type or meaning.
BROKEN = {
    "domains[0]": "0",
    "domains[1].name": "'a b'",
    "domains[1].certificate": "'gone'",
    "domains[1].upstream.url": "'ftp://b'",
    "state_dir": "[]",
    "workers": "'two'",
    "listen.https[1]": "'x'",
    "listen.http[0]": "80",
    "listen.admin": "'x'",
    "listen.proxy_protocol[0]": "'10.0.0.1/8'",
    "listen.trusted_proxies[1]": "'::/129'",
    "tls.policy": "'old'",
    "handshake.hold_seconds": "0",
    "upstream.url": "1",
    "upstream.host": "''",
    "upstream.trust": "'gone'",
    "domains_file": "'gone'",
    "domains[1].redirect_http": "'yes'",
    "domains[2].hsts_seconds": "-1",
    "domains[2].hsts_subdomains": "1",
    "domains[3].passthrough": "'p.example'",
    "domains[3].passthrough_proxy_protocol": "'v2'",
    "deploy.directory": "0",
    "deploy.command[0]": "'gone'",
    "deploy.command_seconds": "0",
    "notify.command[0]": "'gone'",
    "notify.webhook": "'http://hook.example/'",
    "notify.command_seconds": "3601",
    "log.access": "'-'",
    "log.format": "1",
    "acme.directory": "'x'",
    "acme.contact[0]": "'x'",
    "acme.agree_to_terms": "false",
    "acme.trust": "'gone'",
    "acme.challenges[0]": "'dns-01'",
    "acme.key_type": "'dsa'",
    "acme.eab.kid": "''",
    "acme.limits.orders": "'300'",
    "limits.head_bytes": "1",
    "limits.body_bytes": "0.5",
    "limits.idle_seconds": "'1'",
    "limits.passthrough_idle_seconds": "0",
    "limits.connections_per_address": "-1",
    "limits.handshakes_per_address": "-1",
}


def broken(places: list[str]) -> str:
    """
    Give the full file with a broken value at each of *places*.
    """
    tree = tomllib.loads(FULL)
    for place in places:
        *parents, last = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", place)]
        holder: Any = tree
        for step in parents:
            holder = holder[step]
        holder[last] = tomllib.loads(f"value = {BROKEN[place]}")["value"]
    return "".join(f"{key} = {inline(value)}\n" for key, value in tree.items())


def inline(value: Any) -> str:
    """
    Write *value* in TOML on one line.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


@given(st.lists(st.sampled_from(sorted(BROKEN)), unique=True, max_size=4))
def test_every_fault_that_is_planted_is_reported_and_no_other(planted: list[str]) -> None:
    """
    However many there are, and wherever they are.
    """
    text = broken(planted)
    assert sorted(planted) == (sorted(places_of_faults(text)) if planted else [])
    if not planted:
        assert loaded(FULL) == loaded(text)
