"""
How hypothesis works here: without deadlines of its own, and in CI with the same examples each time.

A busy machine makes an example slow, not wrong. New examples are for those who are there to look at what they find:
whoever runs `make test` or `make fuzz`.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("sptls", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("sptls")
