"""
The configuration file: loaded, or refused with all its faults, each on a line with its place.
"""

from __future__ import annotations

import json
from typing import Final

from sptls.errors import ConfigError
from sptls.workers.config_text import config_as_json, config_from_json
from tests.full_config import FULL, loaded

SEEDS: Final = (
    FULL.encode(),
    *(line.strip().encode() for line in FULL.splitlines() if " = " in line),
    b'domains = ["a.example"]\nacme = [{directory = "https://a/"}, {directory = "internal"}]',
    b'domains = "a"\n[acme]\nlimits.orders = "x"\n[tls]\npolicy = 1',
    b"a = [",
)


def check(data: bytes) -> None:
    """
    See that nothing but faults comes of what is wrong, and that a worker process is told the same that is right.
    """
    text = data.decode("utf-8", "replace")
    try:
        config = loaded(text)
    except ConfigError as error:
        assert error.faults
        assert all(fault.message for fault in error.faults)
        assert str(error).encode()
    else:
        assert config == config_from_json(json.loads(json.dumps(config_as_json(config))))
