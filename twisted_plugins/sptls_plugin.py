"""
What ``twistd --help`` lists: the plugin that names sptls's options and service maker.

Twistd imports it before anything else of ours, for its other programs too: where it is to run sptls, signals that come
during the start are remembered from here on.
"""

import sys

from twisted.application.service import ServiceMaker

from sptls import early_signals

if early_signals.is_for_us(sys.argv):
    early_signals.remember()

sptls = ServiceMaker(
    "sptls",
    "sptls.tap",
    "A TLS proxy for e-mail tracking domains that gets its certificates by itself.",
    "sptls",
)
