"""
What all tests begin with: how hypothesis works here, and Ctrl-C that ends programs.

Hypothesis has no deadlines of its own, and in CI the same examples each time.

A busy machine makes an example slow, not wrong. New examples are for those who are there to look at what they find:
whoever runs `make test` or `make fuzz`.
"""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("sptls", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("sptls")

# A script's background job ignores SIGINT, and so would every program that a test starts and ends by it.
signal.signal(signal.SIGINT, signal.default_int_handler)
