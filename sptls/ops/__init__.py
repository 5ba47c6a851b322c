"""
What an operator sees from outside, and can ask for.

`status` says in plain values how each domain fares, `report` gathers that from the parts, `traffic` adds up what the
processes that serve clients count. `admin` serves it over HTTP
to monitors; `control` answers the commands (`interventions` is what they do to certificates), at the socket that
`control_socket` makes where `control_address` says. `pages` is what both are made of.
"""
