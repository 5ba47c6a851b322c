"""
Keeping certificates fresh; knows a CA only through `interfaces.IIssuer`.

``pem`` reads keys and certificates; ``bundle`` is a certificate with its key and chain, and every check of one;
``csr`` makes keys and requests. ``records`` is what is remembered about a name.

``renewer`` is the one loop that moves it all: schedule → attempt → store → served → schedule. ``agenda`` has its
queues (``pause``: when none of them moves), ``standing`` what it knows of a name (``standings`` of all), ``schedule``
judges it: obtain, or wait until when (``clock_steps``: when the clock was set). ``authority`` is a CA: ``limits`` are
its books (by ``registered_domain``), ``breaker`` knows outages; ``authorities`` has all CAs. ``attempts`` makes one
attempt and puts the next where the ``calendar`` is empty, ``diagnose`` says why it failed (``diagnosis``,
``refusal_words``), ``precheck_rules`` what could be seen of its DNS from here, ``reach_rules`` who answered there (by
``learnt_addresses``, who might). ``dns_watch`` has a name that failed tried again when its DNS changes
(``dns_watch_rules``).
``renewal_information`` asks CAs when they want a certificate renewed, ``renewal_windows`` judges it;
``warning_rules`` say what people are warned of; ``intake`` what an import takes over.

``store`` keeps the records in a thread: ``store_file`` has the transactions, ``store_contents`` reads all at a
start, ``schema`` and ``rows`` are how they lie in SQLite, ``pem_objects`` speaks txacme's language, ``store_reader``
only looks, ``batches`` have writes share a transaction. ``recorder`` writes anew what a full disk refused, ``copies``
makes the daily copy, ``pruning`` has dropped what is left of former names (``leftovers``), ``rescue`` says when and
what comes back, ``lock`` keeps a second process off.
``internal`` is an issuer of our own, for development and demos; ``own`` watches the certificates that the operator
brings, whose files ``own_files`` reads and compares.
"""
