"""
sptls: a TLS proxy for e-mail tracking domains that gets its certificates by itself.

Three journeys, each in one direction:

*Configuration*, at start. ``tap`` reads the command line, ``config_source`` the file, ``config_load`` makes a frozen
`config.Config` of them or says all their faults, ``startup`` locks and binds while the rights of the user who started
it are there, ``service`` starts the ``parts`` after twistd's fork, and drains them in the end. At SIGHUP ``reloading``
reads again, ``config_change`` says what takes effect, and the parts go over to it together. A process that takes
over asks for this one's ``estate`` as ``predecessor`` says, and gets it by ``successor``, in the order of ``handover``.

*A request's bytes.* ``tls.listener`` accepts, ``tls.arrival`` peeks the ClientHello, ``tls.server`` decides with
``tls.served``: a context, a wait for a certificate on its way, or an alert. ``tls.transport`` is TLS on the socket;
on it ``proxy.http1`` or ``http2`` reads the request, ``proxy.route`` says where it goes, ``proxy.headers`` what
crosses, and ``proxy.upstream`` has the connections to the tracking service. The answer comes back by the same stream,
with back-pressure, and leaves one line in ``proxy.access_log``. Port 80 (``plain_port``) joins at ``proxy.http1``.
``serving`` has all of these together, once, or once in each process of ``workers``.

*A certificate*, in a circle. ``certs.renewer`` asks ``certs.schedule``: obtain, or wait; and ``certs.authority``
whether a CA allows it now: ``certs.limits`` are its books, ``certs.breaker`` knows outages. ``certs.attempts`` makes
the attempt with ``acme`` (RFC 8555) or ``certs.internal``. ``certs.store`` keeps what came, ``tls.served`` serves it
from the next handshake on, ``deploy`` puts it where another server reads it, ``alerts`` warns people where none comes,
and the renewer asks again; ``self_check`` looks from here at names that fail. ``keeping`` has all of these together.
``acme`` and ``proxy`` do not know each other.

Cores decide and do no I/O, shells do I/O and decide nothing; ``setup.cfg`` has the list of the cores. ``interfaces``
has the seams, ``errors`` every exception, ``names`` every host name, ``ops`` what an operator sees, ``cli`` the `sptls`
command, ``demo`` what `make run` starts.
"""
