"""
Asking a CA for certificates (RFC 8555), and when it wants them renewed (RFC 9773).

From the seam downwards, each calls only those below it:

- ``issue``: certificates obtained and revoked, what it cost, what an operator sees of a failure; provides `IIssuer`
- ``ordering``: carries an attempt through its orders: takes one up or orders, finalizes, downloads, checks
- ``validation``: proves control of a name: presents the answer to a challenge and withdraws it
- ``under_way``: the orders that a restart goes on with
- ``account``: our account at the CA: found in the store, registered once, found again when the CA lost it
- ``client``: one coroutine per operation of the RFC
- ``transport``: signed requests: nonces, tries, refusals as errors
- ``turns``: one order at a time asks for what all of them need
- ``exchange``: one HTTP request and its answer, bounded in time and size
- ``agent``: the HTTPS connections to the CA
- ``ca_hosts``: the addresses of the CA's hosts, looked up in threads that nobody waits for at the end

These decide and do no I/O; the ones above ask them:

- ``attempt``: what one attempt wants until when, tried, and cost
- ``take_up``: whether an order of an earlier attempt is worth going on with
- ``refusals``: which key of the configuration is wrong, or what a person must do at the CA
- ``concern``: what a refusal is about: the name, its registered domain, our account, or everybody
- ``renewal``: a certificate's identifier for renewal information, and which suggested windows make sense
- ``steps``: what comes next of an order or an authorization, from what the CA said (§7.1.6 as a table)
- ``retry``: whether and when to try again, and how long to wait between two polls
- ``messages``: JSON to Directory, Order, Authorization, Challenge, problem, and the payloads we send
- ``members``: one JSON object, member by member
- ``jws``: account key, signatures, thumbprint, key authorization, external account binding
"""
