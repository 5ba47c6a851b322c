"""
Fuzzing of every parser. ``make fuzz`` runs it with atheris; the tests replay what it kept, without.

``python -m fuzz`` runs targets, ``python -m fuzz --replay TARGET FILE`` shows what an input does. ``targets`` has a
module for each parser: its `check` raises where a promise is broken, its `SEEDS` are where to begin. ``session`` fuzzes
them, each in processes of ``running``, and ``outcome`` says what came of it. ``corpus`` has a line for each input that
was kept, since it reaches what no shorter one does. ``crashes`` is where inputs are that broke a promise, or took too
long, or too much memory; git does not keep them.
"""
