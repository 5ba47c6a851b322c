"""
The demo: everything that sptls needs of the world, on this machine.

``tracking_service`` stands in for the service behind the proxy; ``pebble`` runs a real ACME CA with its mock DNS, and
``child`` sees to it that neither of its programs outlives us; ``service`` joins them to the daemon. ``stack`` is what
the containers' local stack runs of ours. Nothing but the command line imports from here.
"""
