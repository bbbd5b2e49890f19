"""Fixtures and hooks for every test, one module each."""

from hypothesis import HealthCheck, settings

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

# How long one example takes says how busy the machine is.
settings.register_profile(
    "busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")
