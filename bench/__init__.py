"""
What sptls costs, beside its peers, in one run on one machine. Never part of CI: figures are ratios within a run.

``python -m bench``: CPU per request. ``python -m bench.start``: from exec to the first handshake with thousands of
stored certificates. ``python -m bench.idle``: memory of idle connections. ``python -m bench.latency``: p99 at half of
saturation. ``python -m bench.names``: what 100,000 names cost a new connection. stage.py has what a measurement needs:
peers.py configures and servers.py starts real servers on loopback ports, stored.py fills a store without a CA, load.py
and open_loop.py make the requests, report.py says what was found and conditions.py on what.
"""
