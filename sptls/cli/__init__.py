"""
The ``sptls`` command: what an operator asks for at a terminal, from cron, or from a monitor.

`main` is the entry point and the end of every fault; `options` says which configuration and state directory are meant;
`client` reaches a running daemon over its socket, `stored` knows what can be said where none runs. A module a command:
`check`, `status`, `explain`, `issue` (with `issue_here` where no daemon runs), `renew`, `retry`, `revoke`, `take_over`
(``sptls import``; with `take_over_here` where no daemon runs, and `pem_files` for what it finds), `export`, `show`.
`domain`, `wording` and `tally` decide what is fine and how it is said; `follow` waits for it; `output` and `progress`
write it. Twisted is imported by the commands that need it alone, when they do: a monitor asks for the status every
minute.

Exit statuses: 0 fine, 1 something failed, 2 usage or configuration, 130 interrupted.
"""
