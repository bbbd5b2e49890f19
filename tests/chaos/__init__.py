"""The chaos run: a real site, real kills, and a ledger at the end. `python -m tests.chaos --help`.

What is real: the web processes and workers (each a process of its own, ended by SIGKILL at random
and aimed moments), HTTP between visitors, site and stand-in network, the database. What is not: a
killed process is made again by a fork of one that has the modules loaded already, because 200 starts
of Python would take longer than the rest; and the quarters of an hour after which the network's
records may be read pass by setting the clocks of site and network forward, while the site is down
for a clean stop. Before the first such step the site keeps the clock that it ships with.

The network's own ledger is the truth, held against the site's table of users: that is what was
committed. A visitor whose request broke off does not try again.
"""
