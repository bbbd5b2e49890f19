"""A deterministic simulation of the delivery engine.

The package's own modules run unchanged, on SQLite, in one thread: their clock, transport, jitter,
waker, thread pool and database connections are seams at which other processes may run, time may
pass, the database may fail, and the process may die. A history is a seed and a list of events; the
same history always plays alike. `python -m tests.simulation --help` tells how to run many.
"""
