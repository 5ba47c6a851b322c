"""
What ``twistd --help`` lists: the plugin that names sptls's options and service maker.
"""

from twisted.application.service import ServiceMaker

sptls = ServiceMaker(
    "sptls",
    "sptls.tap",
    "A TLS proxy for e-mail tracking domains that gets its certificates by itself.",
    "sptls",
)
