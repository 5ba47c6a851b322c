"""
What an operator sees from outside: `status` says in plain values how each domain fares, `admin` serves that over HTTP.
"""
