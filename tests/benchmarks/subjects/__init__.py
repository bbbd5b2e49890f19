"""The programs that are measured, one process each: `python -m tests.benchmarks.subjects.NAME`."""
