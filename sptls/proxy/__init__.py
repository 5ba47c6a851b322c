"""
The proxy: a client's request to the tracking service, and its answer back.

One direction, one owner a step::

    bytes -> head (fields, body: where it ends) -> route (forward it? to whom?) -> headers (what goes on) -> upstream
    bytes <- headers (what comes back) <- body <- head <- upstream ; one log_line into the access_log

Cores: ``head`` reads request and response heads, ``fields`` is what both share, ``body`` tells how long a body is and
takes the chunked coding off, ``route`` decides where a request goes, ``headers`` writes heads and our own answers,
``trailers`` says what goes on behind a body, ``log_line`` writes the access log's lines. Shells: ``http1`` and
``http2`` speak to clients, ``upstream`` to tracking services, ``access_log`` to the disk, and ``http01`` keeps the
challenges that ``route`` answers. ``http1_factory`` makes port 80's connections.

On the client's side ``client_connection`` is a connection whatever it speaks (``stream``: what it asks of a transport),
``http1_exchange`` one exchange on it, ``request_content`` its content; all have one ``gateway``, and end in
``exchange_log`` and ``counters``. ``held_content`` (a core) is the account of what both sides hold for slow clients. On
the other side ``upstream_origin`` has one upstream's connections: ``resolver`` knows the addresses, ``upstream_dial``
connects (``upstream_tcp`` where it is without TLS), ``upstream_http1`` is a connection, ``upstream_exchange`` a request
on it, ``response_reader`` its answer; ``upstream_health`` says when trouble is worth a line.

What stands before us: ``announced`` reads the PROXY header before a connection of port 80, ``forwarded`` (a core) what
a trusted proxy says of a request's client. ``passthrough`` joins clients with other TLS servers, byte for byte.

HTTP/2 joins at the same ``head``: ``http2`` has the connection, ``http2_session`` what the client says on it,
``http2_stream`` one exchange. Cores: ``http2_reader`` and ``http2_frames`` (bytes and frames), ``http2_hpack`` and
``http2_head`` (fields, and the request head they are), ``http2_flow`` (windows and turns), ``http2_budget`` (floods).
"""
