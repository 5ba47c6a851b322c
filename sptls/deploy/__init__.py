"""
Certificates for other servers: files that they read, a command that tells them, and tokens that they answer with.

`plan` decides what is due and when to try again; `layout` keeps the directory; `command` runs the operator's program;
`deployer` owns the three, and `ledger` remembers in the store how far each name has come. `webroot` writes http-01
tokens to where another server, which owns port 80, answers them from.
"""
