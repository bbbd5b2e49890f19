"""Fixtures and hooks for every test, one module each."""

pytest_plugins = [
    "tests.garbage",
    "tests.loopback",
    "tests.once",
    "tests.requiring",
    "tests.services",
    "tests.table",
    "tests.private",  # last: it imports others, which are to be rewritten first
]

# Programs that print ratios, run by hand: a slow machine must not fail a test.
collect_ignore = ["benchmarks"]
