"""
TLS on both sides: from an accepted socket to a protocol that runs on it, and from an upstream's address to one.

- `client_hello`: bytes to server name and ALPN names, before OpenSSL sees the connection.
- `served`: what a server name gets: a context, a wait, an alert, or another server.
- `contexts`: certificates to OpenSSL contexts; the one place that knows versions, cipher suites and options.
- `alpn_challenge`: the certificates that answer tls-alpn-01.
- `transport`: a Twisted transport on the socket, driven by OpenSSL itself.
- `openssl`: the calls into OpenSSL that every click takes, at the price of the call.
- `descriptor`: what of it the reactor sees: when to read, when to write, how it ends (`reasons`, `lingering`).
- `sockets`: listening sockets, and the addresses of a socket's two ends.
- `listener`: accept, while there is room.
- `arrival`: peek the ClientHello, and wait where that must be.
- `server`: hold, refuse, hand over; `counts` is what it counts.
- `client`: connections of ours to upstreams, on the same transport, verified.

The order is that of a connection: `listener` accepts, `arrival` peeks, `client_hello` parses, `alpn_challenge` and
`served` answer, `transport` runs. Nothing here orders a certificate or reads a file in a handshake.
"""
