"""
Asking a CA for certificates (RFC 8555).

From the seam downwards, each calls only those below it:

- ``issue``: drives one order from a name to a checked certificate; provides `IIssuer`
- ``account``: our account at the CA: found in the store, registered once, found again when the CA lost it
- ``client``: one coroutine per operation of the RFC
- ``transport``: signed requests: nonces, tries, refusals as errors
- ``turns``: one order at a time asks for what all of them need
- ``exchange``: one HTTP request and its answer, bounded in time and size
- ``agent``: the HTTPS connections to the CA

These decide and do no I/O; the ones above ask them:

- ``steps``: what comes next of an order or an authorization, from what the CA said (§7.1.6 as a table)
- ``retry``: whether and when to try again, and how long to wait between two polls
- ``messages``: JSON to Directory, Order, Authorization, Challenge, problem, and the payloads we send
- ``members``: one JSON object, member by member
- ``jws``: account key, signatures, thumbprint, key authorization, external account binding
"""
