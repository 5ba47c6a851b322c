"""
CPU per request, sptls beside its peers, in one run on one machine: ``python -m bench``.

origin.py and peers.py start real servers on loopback ports; load.py makes requests; measure.py reads what each server's
processes cost; __main__.py takes turns and prints the table. Never part of CI: figures are ratios within one run.
"""
