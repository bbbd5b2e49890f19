"""What holds for every test, one module each."""

pytest_plugins = ["tests.loopback", "tests.requiring", "tests.services", "tests.table"]

# Programs that print ratios, run by hand: a slow machine must not fail a test.
collect_ignore = ["benchmarks"]
