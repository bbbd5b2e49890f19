"""The costs of Flask-S2S, as ratios: `python -m tests.benchmarks [--check] [--json] [NAME ...]`.

How the figures are made:

- *Instructions, not time.* A program under `valgrind --tool=callgrind` counts the same on a busy
  machine as on an idle one, so a budget of one per cent can be kept. The kernel's work (an fsync, a
  socket) is not counted; wall time, measured without valgrind and with files in memory (not
  on a disk), stands beside each figure.
- *Ratios measured in one run.* What is compared and its bare baseline run in forks of one process,
  from the same state: each alone in its interpreter, as in a real site, so that neither spoils
  the other's inline caches.
- *Start-up cancels.* Each case runs N1 and then N2 times after a warm-up, and the difference is
  divided by N2 - N1. Callgrind writes its counter down at each call of `getloadavg`, which nothing
  but our own marks calls: no toggle inside of CPython is needed.
- *Three hash seeds* (PYTHONHASHSEED 1, 2, 3): the table shows the median, and a budget holds only
  if it holds for each. Garbage collection is on; what start-up left behind is frozen first.
- *Plain WSGI.* The app is called with a fixed environ, without a client or a server.
- *The worker is off* (`S2S_WORKER=external`) wherever a request or a call is measured; what one
  delivery costs the worker is a figure of its own, without a budget.

`python -m tests.benchmarks.pages` is a program of its own: it fills a database with a programme of any
size and prints the milliseconds of each page. It has no budget; what pages read has a test.

`instructions` and `seconds` in `--json` are per request, per row, per delivery or per import.
"""
