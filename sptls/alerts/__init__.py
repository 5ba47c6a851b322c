"""
Warning people of certificates that fail or expire: by a command of the operator's, and by a webhook.

What is due is `certs.warning_rules`' to say. `watch` looks, remembers what was told, and delivers; `channels` are the
ways to people: a program that is run, and `webhook`, which has `posting` POST. What can't be delivered is kept and
tried again.
"""
