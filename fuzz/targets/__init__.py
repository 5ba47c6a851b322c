"""
A module for each parser: `check` raises where a promise is broken, `SEEDS` are inputs to begin with.
"""
