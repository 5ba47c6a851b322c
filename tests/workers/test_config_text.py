"""
A configuration is the same on the other side of the pipe.
"""

from __future__ import annotations

import json

import pytest

from sptls.config import Config, DomainConfig
from sptls.names import HostName
from sptls.workers.config_text import config_as_json, config_from_json
from tests.full_config import FULL, loaded


@pytest.mark.parametrize("config", [loaded(FULL), Config((DomainConfig(HostName("a.example")),)), Config(())])
def test_configuration_arrives_as_it_was(config: Config) -> None:
    """
    With every key there is.
    """
    assert config == config_from_json(json.loads(json.dumps(config_as_json(config))))


def test_domains_that_are_alike_are_told_of_once() -> None:
    """
    100,000 of them are their names.
    """
    config = Config(tuple(DomainConfig(HostName(f"{at}.example")) for at in range(3)))
    told = config_as_json(config)["domains"]
    assert ([("0.example", 0), ("1.example", 0), ("2.example", 0)], 1) == (told["rows"], len(told["kinds"]))
