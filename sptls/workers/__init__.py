"""
Worker processes: several that serve clients, and the one that keeps certificates, their parent.

The parent has the sockets, the store, the CAs and the operator; each worker has a reactor, the parts of `serving`, and
sockets of its own for each address, on which the kernel spreads the clients (SO_REUSEPORT). What a worker knows of
certificates and challenges its parent tells it, and what clients want it tells its parent, through two pipes.

Cores: `messages` are what is said (`config_text` how a configuration is), `frames` how it stands in a pipe, `sharing`
who gets what of sockets and limits, `restarts` when a worker that ended is started again, `silence` when one that says
nothing is hung, `descriptors` what a worker finds where.

Shells: `crew` is the parent's side, `place` has a worker there again and again, `process` is one as the parent sees it,
`pulse` as the kernel does, `everywhere` has challenges answered by all, `relay` puts what workers log into the parent's
log. `child` is the program that a worker is, `worker` what it does, `count` how many there are; in `turn` they write
the access log, which is one file for all.
"""
